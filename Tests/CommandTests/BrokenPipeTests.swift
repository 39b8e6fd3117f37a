import Testing

/// Verbs that write more than a pipe holds, or after their reader has gone.
private let talkers = [
    "diff big", "diff big --compress zstd", "diff big --compress gzip --digest", "changes big", "changes big -0",
    "changes big --json", "compare big empty", "compare big empty --json", "layer diff a --home overlay2",
    "layer changes a --home overlay2", "layer changes a --home overlay2 --json", "assemble meta big",
    "image pack - --layer big", "toc chunked --json", "toc chunked",
]

/// Verbs whose few lines come at the end, after what they did.
private let reporters = [
    "size big --json", "size big", "apply one.tar new --json", "layer list --home overlay2",
    "layer status --home overlay2",
    "layer metadata a --home overlay2", "layer exists a --json --home overlay2", "layer check --home overlay2 --json",
    "image list i.tar", "image inspect i.tar --json", "diff big -o new.tar --json",
    "pack one.tar -o new --json", "layer migrate --from-home overlay2 --home new.store --to overlay2 --dry-run --json",
]

@Suite struct BrokenPipeTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir big empty
            for i in $(seq 3000); do echo $i > big/a-file-with-a-name-that-takes-some-room-in-a-pipe-$i; done
            head -c 300000 /dev/urandom > big/large
            $L diff big -o one.tar --quiet --tar-split meta
            $L diff big -o chunked --quiet --compress zstd:chunked
            $L image pack i.tar --layer empty --quiet
            $L layer apply a one.tar --home overlay2 --driver overlay2 --quiet
            """)
        return scratch
    }

    /// Runs a verb whose output nobody reads: the reader is gone before anything is written.
    private func alone(_ arguments: String, in scratch: Scratch) throws -> Outcome {
        try scratch.run(
            "rm -rf new* p; mkfifo p; exec 8<> p; exec 9> p; exec 8<&-; $L \(arguments) >&9; s=$?; rm p; exit $s",
            limit: 30)
    }

    @Test func `a reader that goes ends a verb as the signal does, without a word`() throws {
        let scratch = try scratch()
        let before = try scratch.names()
        for arguments in talkers {
            let outcome = try alone(arguments + " --progress never", in: scratch)
            #expect(outcome.status == 141, "\(arguments)\n\(outcome)")
            #expect(outcome.errors.isEmpty, "\(arguments)\n\(outcome)")
            #expect(try scratch.names() == before, "\(arguments)")
        }
        let piped = try scratch.run("set -o pipefail; $L diff big | head -c 1")
        #expect(piped.status == 141 && piped.errors.isEmpty && piped.output.count == 1, "\(piped)")
    }

    @Test func `a report that nobody reads is no error to tell, and what was done stays`() throws {
        let scratch = try scratch()
        for arguments in reporters {
            let outcome = try alone(arguments, in: scratch)
            #expect(outcome.status == 141, "\(arguments)\n\(outcome)")
            #expect(outcome.errors.isEmpty, "\(arguments)\n\(outcome)")
        }
        let written = try scratch.run(
            "mkfifo p; exec 8<> p; exec 9> p; exec 8<&-; $L diff big -o new.tar --json >&9; cmp new.tar one.tar")
        #expect(written.status == 0, "\(written)")
    }

    @Test func `what is begun elsewhere is taken back`() throws {
        let scratch = try scratch()
        try scratch.make("rm meta; mkfifo p; (head -c 1 p > /dev/null) & :")
        let outcome = try scratch.run("(sleep 0.1; head -c 1 p > /dev/null) & $L diff big -o p --tar-split meta")
        #expect(outcome.status == 141 && outcome.errors.isEmpty, "\(outcome)")
        #expect(!(try scratch.names().contains("meta")))
        let unpigz = try scratch.run(
            "ln -s $L unpigz; gzip -c one.tar > one.gz; set -o pipefail; ./unpigz -d -c < one.gz | head -c 1 > /dev/null"
        )
        #expect(unpigz.status == 141 && unpigz.errors.isEmpty, "\(unpigz)")
    }
}
