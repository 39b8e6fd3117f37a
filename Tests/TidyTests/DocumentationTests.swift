import Foundation
import Testing

private let catalogue = "Sources/LayerKit/LayerKit.docc"

private func text(_ path: String) throws -> [String] {
    try #require(try SourceTree.files(in: [path]).first, "\(path) is not there").lines
}

/// What may cite a rule: not this folder, which shows what a citation looks like.
private func writtenFiles() throws -> [SourceFile] {
    let articles = try SourceTree.files(in: ["Sources", "Tests"], extensions: ["md"]).filter {
        !$0.path.contains(".docc/")
    }
    return try articles + SourceTree.swift("Sources", "Tests").filter { !$0.path.hasPrefix("Tests/TidyTests/") }
}

/// The first group of each match.
private func words(_ pattern: Regex<AnyRegexOutput>, in line: String) -> [String] {
    line.matches(of: pattern).compactMap { $0.output[1].substring.map(String.init) }
}

/// What looks like the number of a rule or of a case: a capital, with `S-R` for one of them, and one to three digits, which no
/// letter, digit or sign of a path stands beside. By bytes, because every line of the project is looked at.
private func citations(in line: String) -> [String] {
    let bytes = Array(line.utf8)
    func isDigit(_ index: Int) -> Bool { index < bytes.count && bytes[index] >= 0x30 && bytes[index] <= 0x39 }
    func isWord(_ index: Int) -> Bool {
        guard index >= 0, index < bytes.count else { return false }
        let byte = bytes[index]
        return isDigit(index) || byte == 0x5f || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a)
    }
    var found: [String] = []
    for index in bytes.indices where bytes[index] >= 0x41 && bytes[index] <= 0x5a && isDigit(index + 1) {
        var end = index + 1
        while isDigit(end) { end += 1 }
        guard end - index <= 4, !isWord(end) else { continue }
        let isSecond = index >= 2 && bytes[index - 1] == UInt8(ascii: "-") && bytes[index - 2] == UInt8(ascii: "S")
        let start = isSecond ? index - 2 : index
        if start > 0, isWord(start - 1) || "-$%./".utf8.contains(bytes[start - 1]) { continue }
        found.append(String(decoding: bytes[start..<end], as: UTF8.self))
    }
    return found
}

/// A declaration that other packages see.
private let publicDeclaration =
    #"^\s*(?:@[A-Za-z_]+(?:\([^)]*\))?\s+)*public\s+(?:internal\(set\)\s+|static\s+|mutating\s+|consuming\s+|convenience\s+|final\s+|indirect\s+)*"#
    + #"(?:struct|class|enum|protocol|typealias|func|var|let|init|subscript)\b"#

/// What needs no words of its own: the requirements of the standard library's protocols.
private let wellKnown =
    #"\bvar description: String|\bstatic func [=<]+ \(|\bvar (?:start|end)Index\b|\bsubscript\(position:|\binit\(stringLiteral|\binit\(from decoder:|\bfunc encode\(to encoder:"#

/// Lines of public declarations, and of cases and requirements of public types, without a comment above or a well-known name.
private func undocumented(_ file: SourceFile) throws -> [String] {
    let declaration = try Regex(publicDeclaration)
    let known = try Regex(wellKnown)
    let member = try Regex(#"^\s*(?:case\s+\w|(?:mutating\s+)?func\s)"#)
    var found: [String] = []
    // The indentation of the public enumeration or protocol around a line.
    var around: Int?
    for (index, line) in file.lines.enumerated() {
        let code = file.code[index]
        let indentation = code.prefix { $0 == " " }.count
        if let outer = around, !code.allSatisfy({ $0 == " " }), indentation <= outer { around = nil }
        if code.contains(/\bpublic\s+(?:indirect\s+)?(?:enum|protocol)\s/), !code.contains("}") { around = indentation }
        let isMember = around.map { indentation == $0 + 4 } == true && code.firstMatch(of: member) != nil
        guard isMember || code.firstMatch(of: declaration) != nil, code.firstMatch(of: known) == nil else { continue }
        var above = index - 1
        while above >= 0, file.lines[above].contains(/^\s*@/) { above -= 1 }
        if above < 0 || !file.lines[above].contains(/^\s*\/\/\//) { found.append("\(file.path):\(index + 1): \(line)") }
    }
    return found
}

@Suite struct DocumentationTests {
    @Test func `every public declaration of the library says what it is`() throws {
        let values = [
            "Digest", "DriverName", "IDMap", "IOMode", "LayerError", "LayerError+Text", "LayerID", "LayerKitVersion",
            "LayerProfile", "WhiteoutDialect",
        ].map { "Sources/LayerModel/\($0).swift" }
        let files = try SourceTree.swift("Sources/LayerKit", "Sources/LayerModel").filter {
            $0.target == "LayerKit" || values.contains($0.path)
        }
        #expect(files.count > 15)
        expectNone(try files.flatMap(undocumented), "public declarations without a comment")
    }

    @Test func `what has no comment is found`() throws {
        let source = [
            "/// Said.", "public struct S {", "    public var a = 1", "    /// Said.", "    @inlinable",
            "    public init() {}",
            "    public static func == (l: S, r: S) -> Bool { true }", "    package var b = 1", "}", "/// Said.",
            "public enum E {", "    case one", "    /// Said.", "    case two", "}", "case three",
        ]
        let found = try undocumented(SourceFile(path: "Sample.swift", lines: source))
        #expect(found == ["Sample.swift:3:     public var a = 1", "Sample.swift:12:     case one"])
    }

    /// A reader who meets A11 or K3 finds it in this repository.
    @Test func `every rule that is cited is in the article of the rules`() throws {
        let rule = try Regex(#"\*\*((?:S-)?[A-Z][0-9]{1,2})\.?\*\*"#)
        let rules = Set(try text("\(catalogue)/TheRules.md").flatMap { words(rule, in: $0) })
        #expect(rules.count > 140)
        // Of the other letters none is a rule's; P50 and P99 are percentiles.
        let letters = Set("ACDGKPRSTVW")
        var cited: Set<String> = []
        var missing: [String] = []
        for file in try writtenFiles() {
            for (index, line) in file.lines.enumerated() {
                for name in citations(in: line) where name.count <= 3 || name.hasPrefix("S-") {
                    guard let letter = name.first, letters.contains(letter), name != "P50", name != "P99" else {
                        continue
                    }
                    cited.insert(name)
                    if !rules.contains(name) { missing.append("\(file.path):\(index + 1): \(name)") }
                }
            }
        }
        #expect(cited.count > 100)
        expectNone(missing, "rules that nobody explains")
    }

    @Test func `every case that is cited is a test`() throws {
        let isCase = { (name: String) in name.hasPrefix("T") && name.count == 4 }
        var tests: Set<String> = []
        var cited: [(String, String)] = []
        for file in try writtenFiles() {
            for line in file.lines {
                let cases = citations(in: line).filter(isCase)
                if file.path.hasPrefix("Tests/"), line.contains("\"") || line.contains("func `") {
                    tests.formUnion(cases)
                } else {
                    cited += cases.map { (file.path, $0) }
                }
            }
        }
        #expect(tests.count > 150)
        expectNone(cited.filter { !tests.contains($0.1) }.map { "\($0.0): \($0.1)" }, "cases without a test")
    }

    @Test func `citations are told from other words`() {
        let line = "A3, (V33)–R11: S-R3 `T129` but not x86, A3x, -T2, $L2, %A1, UTF8, 0xA7 or T12345"
        #expect(citations(in: line) == ["A3", "V33", "R11", "S-R3", "T129"])
    }

    @Test func `the articles lead to each other, and every step is shown`() throws {
        let files = try SourceTree.files(in: [catalogue], extensions: ["md", "tutorial"])
        let link = try Regex(#"(?:<|")doc:([\w-]+)[>"]"#)
        let code = try Regex(#"file: "([^"]+)""#)
        let names = Set(files.map { String($0.name.prefix { $0 != "." }) })
        var dangling: [String] = []
        var steps: Set<String> = []
        var linked: Set<String> = []
        for file in files {
            for line in file.lines {
                let articles = words(link, in: line)
                linked.formUnion(articles)
                dangling += articles.filter { !names.contains($0) }.map { "\(file.path): doc:\($0)" }
                steps.formUnion(words(code, in: line))
            }
        }
        expectNone(dangling, "links to nothing")
        expectNone(names.subtracting(linked).subtracting(["LayerKit"]).sorted(), "articles that nothing leads to")
        let there = Set(try SourceTree.files(in: ["\(catalogue)/Resources"], extensions: ["swift"]).map(\.name))
        #expect(steps == there)
    }
}

@Suite struct ReadmeTests {
    @Test func `README is short`() throws {
        let lines = try text("README.md")
        #expect(lines.count < 150)
        expectNone(lines.filter { $0.count > 140 }, "lines that are too long")
        expectNone(lines.filter { $0.contains("most correct") }, "claims without a figure")
    }

    @Test func `README leads only to what is there`() throws {
        let link = try Regex(##"(?:\]\(|^\[[^\]]+\]: )([^)"# ]+)"##)
        var missing: [String] = []
        for line in try text("README.md") {
            for path in words(link, in: line) where !path.hasPrefix("https://") {
                if try SourceTree.paths(under: path).isEmpty { missing.append(path) }
            }
        }
        expectNone(missing, "links to nothing")
    }

    /// What is shown is what is compiled and run.
    @Test func `README's Swift is a step of the tutorials`() throws {
        let steps = try SourceTree.files(in: ["\(catalogue)/Resources"]).map(\.lines)
        var shown: [[String]] = []
        var block: [String]?
        for line in try text("README.md") {
            if line == "```swift" {
                block = []
            } else if line == "```", let code = block {
                shown.append(code)
                block = nil
            } else {
                block?.append(line)
            }
        }
        #expect(!shown.isEmpty)
        for code in shown { #expect(steps.contains(code), "\(code.joined(separator: "\n"))") }
    }
}
