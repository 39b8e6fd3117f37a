import Testing

/// What becomes of a root when a layer does not have the digest that was expected.
private let zeros = "sha256:" + String(repeating: "0", count: 64)

@Suite struct DigestTests {
    /// A tree, its layer `x` and the layer compressed, `x.gz`; `$D` and `$I` are digest and DiffID.
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree()
        try scratch.make("$L diff t -o x --quiet; $L diff t -o x.gz --compress gzip --quiet")
        return scratch
    }

    private static let sums = """
        D=sha256:$(sha256sum x.gz | cut -c1-64); I=sha256:$(sha256sum x | cut -c1-64)

        """

    @Test(arguments: ["file", "pipe", "occupied", "occupied pipe"])
    func `expected digests are accepted`(way: String) throws {
        let scratch = try scratch()
        let input = way.hasSuffix("pipe") ? "cat x.gz | $L apply - r" : "$L apply x.gz r"
        let root = way.hasPrefix("occupied") ? "mkdir r; cp -a t/plain r/plain;" : ""
        let outcome = try scratch.make(
            "\(Self.sums)\(root) \(input) --expect-digest $D --expect-diff-id $I; $L apply x s --expect-digest $I --quiet"
        )
        #expect(outcome.errorLines.count == 1)
        let (expected, found) = (try TreeListing.ofLayer("t", in: scratch), try TreeListing.ofLayer("r", in: scratch))
        #expect(found == expected, "\(TreeListing.difference(expected, found))")
    }

    @Test(arguments: ["--expect-digest", "--expect-diff-id"], ["$L apply x.gz r", "cat x.gz | $L apply - r"])
    func `a mismatch leaves a missing or empty root as it was`(flag: String, input: String) throws {
        let scratch = try scratch()
        let missing = try scratch.run("\(input) \(flag) \(zeros)")
        #expect(missing.status == 65, "\(missing)")
        #expect(missing.errorLines.count == 1)
        #expect(missing.errors.contains("not the expected sha256:0000"))
        #expect(!(try scratch.names().contains("r")))
        let empty = try scratch.run("mkdir -p r/lost+found; \(input) \(flag) \(zeros)")
        #expect(empty.status == 65, "\(empty)")
        #expect(try scratch.names(in: "r") == ["lost+found"])
    }

    @Test(arguments: ["--expect-digest", "--expect-diff-id"])
    func `a mismatch of a file does not touch a root that holds something`(flag: String) throws {
        let scratch = try scratch()
        try scratch.make("mkdir r; echo mine > r/plain")
        let before = try TreeListing.ofLayer("r", in: scratch)
        let outcome = try scratch.run("$L apply x.gz r \(flag) \(zeros)")
        #expect(outcome.status == 65, "\(outcome)")
        #expect(outcome.errorLines.count == 1)
        #expect(!outcome.errors.contains("partly"))
        #expect(try TreeListing.ofLayer("r", in: scratch) == before)
    }

    @Test func `a mismatch from a pipe says that the root is partly changed`() throws {
        let scratch = try scratch()
        let outcome = try scratch.run("mkdir r; echo mine > r/plain; cat x.gz | $L apply - r --expect-diff-id \(zeros)")
        #expect(outcome.status == 65, "\(outcome)")
        #expect(outcome.errors.contains("r holds a partly applied layer"))
    }

    @Test func `a damaged layer leaves a missing root missing`() throws {
        let scratch = try scratch()
        for damage in [
            "head -c 200000 x > y", "head -c -20 x.gz > y", "(head -c 3000 x; cat /dev/urandom | head -c 9000) > y",
        ] {
            let outcome = try scratch.run("\(damage); $L apply y r")
            #expect(outcome.status == 65, "\(damage)\n\(outcome)")
            #expect(outcome.errorLines.count == 1)
            #expect(!(try scratch.names().contains("r")))
        }
    }

    @Test func `a size limit stops an apply`() throws {
        let scratch = try scratch()
        let outcome = try scratch.run("$L apply x r --max-size 100K")
        #expect(outcome.status == 65, "\(outcome)")
        #expect(!(try scratch.names().contains("r")))
        try scratch.make("$L apply x r --max-size 1G --quiet")
    }
}
