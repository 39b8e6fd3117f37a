import Foundation
import TestSupport
import Testing

/// `--progress json`, and what a bar says of the rest.
@Suite struct ProgressTests {
    /// The lines of standard error that tell how far a job is.
    private func lines(_ outcome: Outcome) throws -> [[String: Any]] {
        try outcome.errorLines.filter { $0.hasPrefix("{\"progress\":") }.map { line in
            #expect(try ReportSchema().faults(of: line.utf8, "progress") == [], "\(line)")
            return try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
    }

    private static let jobs: [(verb: String, script: String)] = [
        ("diff", "$L diff t -o x"), ("diff", "$L diff t > x"), ("apply", "$L apply l.tar r1"),
        ("pack", "$L pack l.tar -o p1"), ("changes", "$L changes t"), ("size", "$L size t"),
        ("compare", "$L compare l.tar l.tar"), ("assemble", "$L assemble meta t -o x"),
        ("apply", "$L layer apply a l.tar --home overlay2 --driver overlay2"),
        ("diff", "$L layer diff a -o x --home overlay2"), ("changes", "$L layer changes a --home overlay2"),
        ("size", "$L layer size a --home overlay2"), ("verify", "$L layer check --verify --home overlay2"),
        ("migrate", "$L layer migrate --from-home overlay2 --home $PWD/new --from overlay2 --to overlay"),
        ("pack", "$L image pack i.tar --layer t --ref t:1"), ("unpack", "$L image unpack i.tar --root r2"),
        ("rebase", "$L image rebase i.tar i2.tar --from i.tar --onto i.tar"),
        ("rebase", "$L image rebase i.tar layout --from i.tar --onto i.tar"),
        ("rebase", "$L image rebase i.tar - --from i.tar --onto i.tar > piped"),
        ("check", "$L toc chunked --check"),
    ]

    @Test func `every long job tells programs how far it is, to its end`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            $L diff t -o l.tar --quiet --tar-split meta
            mkdir n; echo x > n/f; $L diff n -o chunked --compress zstd:chunked --quiet
            """)
        for job in Self.jobs {
            let outcome = try scratch.make(job.script + " --quiet --progress json")
            let lines = try lines(outcome)
            #expect(lines.count == outcome.errorLines.count, "\(outcome)")
            #expect(lines.allSatisfy { $0["progress"] as? String == job.verb }, "\(outcome)")
            #expect(lines.map { $0["done"] as? Bool ?? false } == lines.indices.map { $0 == lines.count - 1 })
        }
    }

    @Test func `a diff's total is the layer's size in the end`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        let last = try #require(try lines(scratch.make("$L diff t -o x --quiet --progress json")).last)
        let size = Int(try scratch.make("stat -c %s x").text.dropLast()) ?? 0
        #expect(last["bytes"] as? Int == size && last["totalBytes"] as? Int == size, "\(last), \(size)")
        #expect(last["remainingSeconds"] == nil)
    }

    @Test func `a diff knows its total before it has written it`() throws {
        let scratch = try Scratch()
        // Whoever reads takes his time, so that all is planned long before all is written.
        let outcome = try scratch.make(
            """
            mkdir t; for i in $(seq 40); do head -c 2000000 /dev/zero > t/$i; done
            { $L diff t --quiet --progress json | { head -c 1000000; sleep 2; cat; } | wc -c; } > size
            """)
        let (lines, size) = (try lines(outcome), Int(try scratch.make("cat size").text.dropLast()) ?? 0)
        let early = try #require(lines.first { $0["totalBytes"] != nil && $0["done"] as? Bool == false }, "\(lines)")
        let (done, total) = (early["bytes"] as? Int ?? .max, early["totalBytes"] as? Int ?? 0)
        #expect(done < size / 2 && abs(total - size) <= size / 100, "\(early), \(size)")
        let bytes = lines.compactMap { $0["bytes"] as? Int }
        #expect(bytes == bytes.sorted() && bytes.last == size)
    }

    @Test func `an apply tells rate and rest with two digits`() throws {
        let scratch = try Scratch()
        let outcome = try scratch.make(
            """
            mkdir t; head -c 30000000 /dev/urandom > t/a; head -c 30000000 /dev/urandom > t/b; $L diff t -o x --quiet
            { head -c 40000000 x; sleep 2; tail -c +40000001 x; } | $L apply - r --quiet --progress json
            """)
        let lines = try lines(outcome)
        #expect(lines.count > 3, "\(lines)")
        for line in lines {
            for name in ["bytesPerSecond", "remainingSeconds"] {
                guard let number = line[name] as? Int else { continue }
                let digits = number.description.reversed().drop { $0 == "0" }
                #expect(digits.count <= 2, "\(line)")
            }
            // Nobody knows how much comes from a pipe.
            #expect(line["totalBytes"] == nil && line["remainingSeconds"] == nil)
        }
        #expect(lines.last?["bytesPerSecond"] as? Int ?? 0 > 1_000_000)
    }

    @Test func `what is copied or compared is told to its last byte`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir t; head -c 3000000 /dev/urandom > t/a; $L diff t -o chunked --compress zstd:chunked --quiet
            $L image pack i.tar --layer t --ref t:1 --quiet
            """)
        for script in ["$L toc chunked --check", "$L image rebase i.tar i2.tar --from i.tar --onto i.tar"] {
            let last = try #require(try lines(scratch.make(script + " --quiet --progress json")).last)
            let (bytes, total) = (last["bytes"] as? Int ?? -1, last["totalBytes"] as? Int ?? 0)
            #expect(bytes == total && bytes > 3_000_000, "\(last)")
        }
    }

    @Test func `the end is told where a job fails, too`() throws {
        let scratch = try Scratch()
        let outcome = try scratch.run("head -c 3000 /dev/urandom > x; $L apply x r --progress json")
        #expect(outcome.status != 0)
        #expect(try lines(outcome).last?["done"] as? Bool == true, "\(outcome)")
    }
}
