import Foundation
import LayerModel
import Testing

@Suite struct ChangesTests {
    private func scratch() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeTree("old")
        try scratch.make(
            #"""
            cp -a old new; cd new
            echo more >> dir/sub/deep/file; rm empty; rm -r empty-dir; echo n > 'added file'; echo n > $'a\tb\xff"\xc3\xa4'
            rm zz-hard; mkdir zz-hard; chmod 700 sticky; ln -sf elsewhere symlink
            """#)
        return scratch
    }

    private static let expected = [
        "A /added file", #"A /a\x09b\xff"ä"#, "C /dir", "C /dir/sub", "C /dir/sub/deep", "C /dir/sub/deep/file",
        "D /empty", "D /empty-dir", "C /sticky", "C /symlink", "C /zz-hard",
    ]

    /// A change of the JSON list as the line that a person is shown.
    private static func line(_ change: [String: String]) -> String {
        let letters = ["added": "A", "changed": "C", "deleted": "D"]
        let path =
            change["path"].map { PathBytes($0) }
            ?? PathBytes(Array(Data(base64Encoded: change["pathBytes"] ?? "") ?? Data()))
        return "\(letters[change["change"] ?? ""] ?? "?") \(path)"
    }

    @Test func `changes of two trees are listed by path bytes`() throws {
        let scratch = try scratch()
        let outcome = try scratch.make("$L changes new --lower old")
        let lines = outcome.text.split(separator: "\n").map(String.init)
        let interesting = lines.filter { !$0.hasPrefix("C /dir") || Self.expected.contains($0) }
        #expect(Set(Self.expected).subtracting(lines).isEmpty, "\(outcome)")
        #expect(Set(interesting).subtracting(Self.expected).isEmpty, "\(outcome)")
        let raw = try scratch.make("$L changes new --lower old -0")
        let paths = raw.output.split(separator: 0).map { Array($0.dropFirst(2)) }
        #expect(paths.count == lines.count)
        #expect(paths == paths.sorted { $0.lexicographicallyPrecedes($1) })
        #expect(paths.contains(Array("/a\tb".utf8) + [0xff] + Array("\"ä".utf8)))
    }

    @Test func `the JSON list says the same`() throws {
        let scratch = try scratch()
        let lines = try scratch.make("$L changes new --lower old").text.split(separator: "\n").map(String.init)
        let outcome = try scratch.make("$L changes new --lower old --json")
        let report = try JSONSerialization.jsonObject(with: outcome.output) as? [String: Any]
        let changes = try #require(report?["changes"] as? [[String: String]])
        #expect(changes.map { Self.line($0) } == lines)
        #expect(report?["entries"] as? Int == lines.count)
        #expect(report?["deleted"] as? Int == 2)
    }

    @Test func `two equal trees have no changes, and an empty layer`() throws {
        let scratch = try Scratch()
        try scratch.makeTree("old")
        try scratch.make(
            """
            cp -a old new
            test -z "$($L changes new --lower old)"
            test "$($L size new --lower old)" = 0
            $L diff new --lower old -o x --quiet; test -z "$(tar -tf x)"
            """)
    }

    @Test func `the layer between two trees makes one of the other`() throws {
        let scratch = try scratch()
        try scratch.make("$L diff new --lower old -o x --quiet; $L apply x old --quiet")
        let (expected, found) = (
            try TreeListing.ofLayer("new", in: scratch), try TreeListing.ofLayer("old", in: scratch)
        )
        #expect(found == expected, "\(TreeListing.difference(expected, found))")
    }

    @Test(arguments: ["overlay", "aufs", "fuse-overlayfs"])
    func `a layer becomes an upper directory and a layer again`(dialect: String) throws {
        let scratch = try scratch()
        try scratch.make(
            """
            $L diff new --lower old -o x --quiet
            mkdir upper; $L apply x upper --dialect \(dialect) --lower old --quiet
            $L diff upper --lower old --dialect \(dialect) -o y --quiet
            $L changes upper --lower old --dialect \(dialect) > found; $L changes new --lower old > expected
            $L size upper --lower old --dialect \(dialect) > size
            cp -a old merged; $L apply y merged --quiet
            """)
        #expect(try scratch.make("diff expected found || true").text == "")
        let (expected, found) = (
            try TreeListing.ofLayer("new", in: scratch), try TreeListing.ofLayer("merged", in: scratch)
        )
        #expect(found == expected, "\(TreeListing.difference(expected, found))")
    }
}
