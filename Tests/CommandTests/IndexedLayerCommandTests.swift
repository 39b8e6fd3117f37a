import Foundation
import Testing

/// Layers of which parts can be read alone, as one makes and looks at them from a shell.
@Suite struct IndexedLayerCommandTests {
    /// A tree that an index can carry.
    private static let tree = """
        mkdir -p t/d; seq 200000 > t/d/long; head -c 3000 /dev/urandom > t/d/random; echo hello > t/hello; : > t/empty
        (echo x; head -c 5000 /dev/zero; echo y) > t/holes; ln t/hello t/hard; ln -s hello t/link; mkfifo t/fifo
        setfattr -n user.x -v abc t/hello; chmod 4755 t/d/random; chown 12:34 t/empty
        """

    @Test func `two outputs, or an input and an output, are not one file`() throws {
        let scratch = try Scratch()
        let done = try scratch.make(
            """
            mkdir -p t d; echo hello > t/f; echo mine > old; ln -s old link; ln -s d dd; $L diff t -o x.tar.gz --compress gzip --quiet
            cp x.tar.gz before
            fails() { if "$@" 2> said; then echo "$* was done"; else echo "$?" $(grep -c 'is named twice' said); fi; }
            fails $L diff t -o a --compress zstd:chunked --annotations-out a
            fails $L diff t -o d/a --tar-split ./dd/../d/a
            fails $L diff t -o link --tar-split old
            fails $L diff t -o toc --compress estargz --toc toc
            fails $L apply x.tar.gz new --tar-split x.tar.gz
            fails $L layer apply base x.tar.gz --driver overlay2 --home home --tar-split ./x.tar.gz
            fails $L bench diff --input t --runs 1 --json figures --report figures
            $L diff t -o z --compress zstd:chunked --annotations-out za --quiet; cp za zb
            fails $L apply z parts --annotations za --verify index --tar-split za; cmp za zb
            cmp before x.tar.gz; cat old; ls -A d; test ! -e a -a ! -e toc -a ! -e new
            $L diff t -o /dev/null --tar-split /dev/null --quiet && echo fine
            """)
        let refused = Array(repeating: "64 1", count: 8)
        #expect(done.text.split(separator: "\n").map(String.init) == refused + ["mine", "fine"], "\(done)")
    }

    @Test func `zstd colon chunked: the same tar, an index that a check finds right, and the annotations`() throws {
        let scratch = try Scratch()
        try scratch.make(
            Self.tree + """

                $L diff t -o plain.tar --digest --json --quiet > plain.json
                for n in 1 2 7; do
                    $L diff t -o layer$n --compress zstd:chunked --annotations-out a$n --digest --workers $n --json > $n.json
                    cmp layer1 layer$n; cmp a1 a$n
                done
                zstd -dcq layer1 | cmp - plain.tar
                $L apply layer1 r --quiet; $L diff r | cmp - plain.tar
                $L toc layer1 --annotations a1 --check --json > check.json
                $L toc layer1 > list; grep -qx 'reg 0644 0:0 6 1 hard' list; grep -qx 'hardlink 0644 0:0 0 0 hello -> hard' list
                grep -q 'reg 0644 0:0 5004 3 holes' list; $L toc layer1 --json | python3 -m json.tool > /dev/null
                """)
        let plain = try object(scratch, "plain.json")
        let written = try object(scratch, "1.json")
        #expect(written["diffID"] as? String == plain["diffID"] as? String)
        #expect(written["chunked"] as? Bool == true)
        #expect(written["mediaType"] as? String == "application/vnd.oci.image.layer.v1.tar+zstd")
        let annotations = try #require(written["annotations"] as? [String: String])
        let beside = try object(scratch, "a1") as? [String: String]
        #expect(beside == annotations && annotations.count == 3)
        let check = try object(scratch, "check.json")
        #expect(check["diffID"] as? String == plain["diffID"] as? String)
        #expect(check["hasTarSplit"] as? Bool == true)
    }

    @Test func `a store's own files are used, and what was hashed of them is kept in its home`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir v1; head -c 3000000 /dev/urandom > v1/large; head -c 70000 /dev/urandom > v1/other; echo 1 > v1/small
            cp -a v1 v2; echo 2 > v2/small
            for n in 1 2; do
                $L diff v$n --compress zstd:chunked --annotations-out a$n --digest --json -o l$n > r$n
                grep -o '"diffID":"[^"]*' r$n | cut -c11- > id$n
            done
            apply() { $L layer apply $1 l$2 --annotations a$2 --expect-diff-id $(cat id$2) --home overlay2 --json "${@:3}"; }
            apply one 1 --reuse-store > one.json; test ! -e overlay2/contents.idx
            apply two 2 --reuse-store > two.json; grep -q '"reusedFiles":2,' two.json
            head -c 8 overlay2/contents.idx | grep -qx ldiffci1
            apply three 2 --reuse-store > three.json; grep -q '"reusedFiles":3,' three.json
            $L layer list --home overlay2 | tr '\n' ' ' | grep -qx 'one three two '; $L layer check --home overlay2
            # Its words are no proof: a file that has changed behind it is noticed.
            printf x | dd of=overlay2/one/diff/large conv=notrunc status=none
            apply four 2 --reuse-store > four.json; cmp overlay2/four/diff/large v2/large
            # A file of somebody's stays.
            echo mine > overlay2/contents.idx; ! apply five 2 --reuse-store 2> said; grep -q contents.idx said
            grep -qx mine overlay2/contents.idx; test ! -e overlay2/five
            apply five 2 --reuse-store --index elsewhere > five.json; test -s elsewhere
            """)
    }

    @Test func `eStargz: an ordinary archive with a landmark and a table, or the table apart`() throws {
        let scratch = try Scratch()
        try scratch.make(
            Self.tree + """

                $L diff t -o plain.tar --quiet
                $L diff t -o layer --compress estargz --annotations-out a --digest --quiet
                tar tzf layer | head -1 | grep -qx .no.prefetch.landmark; tar tzf layer | tail -1 | grep -qx stargz.index.json
                $L toc layer --annotations a --check --quiet --json | grep -q '"hasTarSplit":false'
                grep -q containerd.io/snapshot/stargz/toc.digest a
                $L diff t -o small --compress estargz --chunk-size 64K --min-chunk-size 1M --quiet; $L toc small --check --quiet
                $L diff t -o kept --compress estargz --toc table --quiet
                gzip -dcq kept | cmp - plain.tar; tar tzf table | grep -qx stargz.index.json
                """)
        // What lies elsewhere cannot be shown.
        #expect(try scratch.run("$L toc kept").status == 69)
    }

    @Test(arguments: ["zstd:chunked", "estargz"])
    func `F12 a tree that an index cannot carry becomes a plain layer, or an error`(format: String) throws {
        let scratch = try Scratch()
        try scratch.make(Self.tree + "\necho n > t/$'n\\xff'; $L diff t -o plain.tar --quiet")
        let plain = try scratch.run("$L diff t -o layer --compress \(format) --annotations-out a --json > r.json")
        #expect(plain.status == 0, "\(plain)")
        #expect(try object(scratch, "r.json")["chunked"] as? Bool == false)
        #expect(
            try scratch.run("$L diff t -o layer --compress \(format)").errors.contains(
                "the layer has no index: the name"))
        let names = try scratch.names()
        #expect(!names.contains("a"))
        if format == "zstd:chunked" { try scratch.make("zstd -dcq layer | cmp - plain.tar") }
        #expect(try scratch.run("$L toc layer").status == 66)
        let refused = try scratch.run("$L diff t -o other --compress \(format) --require-index --annotations-out b")
        #expect(refused.status == 69, "\(refused)")
        let left = try scratch.names()
        #expect(!left.contains("other") && !left.contains("b"))
    }

    @Test(arguments: [
        "--annotations-out a", "--require-index --compress gzip", "--compress zstd:chunked --toc x",
        "--compress estargz --chunk-size 0", "--compress estargz --chunk-size 5M", "--compress zstd:chunked --level 20",
        "--compress estargz --level 10",
    ])
    func `flags that make no sense are usage errors`(flags: String) throws {
        let scratch = try Scratch()
        try scratch.make("mkdir t")
        #expect(try scratch.run("$L diff t -o x \(flags)").status == 64)
    }

    @Test func `an index that is spoilt is found out in one line`() throws {
        let scratch = try Scratch()
        try scratch.make(Self.tree + "\n$L diff t -o layer --compress zstd:chunked --annotations-out a --quiet")
        try scratch.make("cp layer bad; printf 'x' | dd of=bad bs=1 seek=3000 conv=notrunc status=none")
        let checked = try scratch.run("$L toc bad --check")
        #expect(checked.status == 65 && checked.errorLines.count == 1, "\(checked)")
        try scratch.make("sed 's/manifest-checksum\":\"sha256:./manifest-checksum\":\"sha256:g/' a > b")
        #expect(try scratch.run("$L toc layer --annotations b").status == 65)
        #expect(try scratch.run("$L toc missing").status == 66)
        #expect(try scratch.run("head -c 100 /dev/urandom > x; $L toc x").status == 66)
    }

    private func object(_ scratch: Scratch, _ name: String) throws -> [String: Any] {
        let data = try Data(contentsOf: URL(filePath: scratch.path + "/" + name))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }
}
