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
        #expect(check["tarSplit"] as? Bool == true)
    }

    @Test func `eStargz: an ordinary archive with a landmark and a table, or the table apart`() throws {
        let scratch = try Scratch()
        try scratch.make(
            Self.tree + """

                $L diff t -o plain.tar --quiet
                $L diff t -o layer --compress estargz --annotations-out a --digest --quiet
                tar tzf layer | head -1 | grep -qx .no.prefetch.landmark; tar tzf layer | tail -1 | grep -qx stargz.index.json
                $L toc layer --annotations a --check --quiet --json | grep -q '"tarSplit":false'
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
