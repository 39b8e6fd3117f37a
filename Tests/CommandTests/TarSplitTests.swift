import Foundation
import Testing

@Suite struct TarSplitTests {
    private static let fixtures = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures").path

    @Test(arguments: ["none", "gzip", "zstd"])
    func `P4 a layer is assembled from what diff and apply wrote`(compression: String) throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make(
            """
            $L diff t -o plain.tar --quiet
            $L diff t -o layer --compress \(compression) --digest --tar-split diff.json.gz --quiet
            $L apply layer r --digest --tar-split apply.json.gz --quiet
            $L apply - piped --tar-split pipe.json.gz --quiet < <(cat layer)
            zcat diff.json.gz > lines; zcat apply.json.gz | cmp lines -; zcat pipe.json.gz | cmp lines -
            for root in t r piped; do $L assemble diff.json.gz $root | cmp plain.tar -; done
            $L assemble - r -o again.tar --quiet < lines; cmp plain.tar again.tar
            """)
    }

    @Test func `T206 a changed file leaves no output`() throws {
        let scratch = try Scratch()
        try scratch.makeTree()
        let outcome = try scratch.run(
            "$L diff t -o x --tar-split s --quiet && echo hullo | head -c 5 > t/plain && $L assemble s t -o y")
        #expect(outcome.status == 65, "\(outcome)")
        #expect(outcome.errors.contains("file integrity checksum failed for \""))
        #expect(try scratch.names() == ["s", "t", "x"])
    }

    @Test func `T207 names that come twice, from a file and from a pipe`() throws {
        let scratch = try Scratch()
        try scratch.make(
            """
            mkdir -p u/d; echo first > u/f; tar -C u --no-recursion -cf x d f
            echo second one > u/f; tar -C u --no-recursion -rf x ./f d
            $L apply x a --tar-split a.json.gz --quiet; $L assemble a.json.gz a | cmp x -
            cat x | $L apply - b --tar-split b.json.gz --quiet; $L assemble b.json.gz b | cmp x -
            """)
        #expect(try scratch.names() == ["a", "a.json.gz", "b", "b.json.gz", "u", "x"])
    }

    @Test func `a layer that is refused leaves no metadata`() throws {
        let scratch = try Scratch()
        let outcome = try scratch.run("head -c 2000 /dev/urandom > x; $L apply x r --tar-split s")
        #expect(outcome.status == 65, "\(outcome)")
        #expect(try scratch.names() == ["x"])
    }

    @Test(arguments: ["gnu-long", "python-pax", "v7", "gnu-base256"])
    func `T209 the metadata that tar-split itself wrote is read, and ours says the same`(name: String) throws {
        let scratch = try Scratch()
        let (tar, metadata) = ("\(Self.fixtures)/tar/\(name).tar", "\(Self.fixtures)/tar-split/\(name).json.gz")
        try scratch.make(
            """
            $L apply \(tar) r --tar-split s --quiet; $L assemble \(metadata) r | cmp \(tar) -
            """)
        // The global header has an object there; here it is part of the segment.
        guard name != "python-pax" else { return }
        // Tar-split ends with an empty segment, which says nothing.
        try scratch.make(#"cmp <(zcat s) <(zcat \#(metadata) | grep -v '"payload":"","position"')"#)
    }
}
