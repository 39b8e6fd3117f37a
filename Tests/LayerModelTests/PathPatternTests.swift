import LayerModel
import Testing

@Suite struct PathPatternTests {
    static let cases: [(pattern: String, full: [String], above: [String], none: [String])] = [
        ("usr/lib", ["usr/lib", "usr/lib/a", "usr/lib/a/b"], ["usr"], ["usr/lib64", "us", "lib", "usr/li"]),
        ("/usr//lib/", ["usr/lib", "usr/lib/a"], ["usr"], ["usr/bin"]),
        ("*.pyc", ["a.pyc", ".pyc"], [], ["a/b.pyc", "a.pyc2"]),
        ("**/*.pyc", ["a.pyc", "a/b/c.pyc", "x.pyc/y"], ["a", "a/b"], []),
        ("var/cache/**", ["var/cache/x", "var/cache/x/y"], ["var", "var/cache"], ["var/lib"]),
        ("**", ["a", "a/b"], [], []),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/z"], ["a", "a/x"], ["b"]),
        ("a/**/**/b", ["a/b", "a/x/b"], ["a"], ["c"]),
        ("?", ["a", "\u{1}", "a/b"], [], ["ab", "ä"]),
        ("??", ["ab", "ä"], [], ["a", "abc"]),
        ("a*b*c", ["abc", "aXbYc", "abbcc"], [], ["ab", "acb", "abcd"]),
        (#"\*/\?"#, ["*/?"], ["*"], ["a", "*/a"]),
        (#"a\"#, [#"a\"#], [], ["a"]),
        ("[a]/{b}", ["[a]/{b}"], ["[a]"], ["a"]),
        ("**a", ["a", "xa"], [], ["b/a"]),
    ]

    @Test(arguments: cases)
    func `patterns match whole paths`(_ pattern: String, full: [String], above: [String], none: [String]) throws {
        let made = try PathPattern(pattern)
        for path in full { #expect(made.match(Array(path.utf8).rawBytes) == .full, "\(path)") }
        for path in above { #expect(made.match(Array(path.utf8).rawBytes) == .above, "\(path)") }
        for path in none { #expect(made.match(Array(path.utf8).rawBytes) == .none, "\(path)") }
        #expect(made.description == escapedText(Array(pattern.utf8)))
    }

    @Test(arguments: ["", "/", "//", "a/../b", "./a", "..", "a\0b", String(repeating: "a/", count: 61)])
    func `what no path can match is refused`(pattern: String) {
        #expect { try PathPattern(pattern) } throws: { ($0 as? LayerError)?.code == .invalidArgument }
    }

    @Test func `many stars cost no more than their product`() throws {
        let pattern = try PathPattern(String(repeating: "*a", count: 100) + "b")
        let name = [UInt8](repeating: UInt8(ascii: "a"), count: 255)
        #expect(pattern.match(name.rawBytes) == .none)
    }
}
