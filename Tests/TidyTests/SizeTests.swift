import Testing

/// The longest a file may be, and a function's body with its braces.
private let longestFile = 450
private let longestFunction = 90

/// A function's first line (from 1), the number of its lines, and its first line's text.
struct FunctionExtent: Equatable {
    var line: Int
    var length: Int
    var head: String
}

/// The functions, initialisers and subscripts with a body, nested ones too.
func functions(in file: SourceFile) throws -> [FunctionExtent] {
    let (lines, code) = (file.lines, file.code)
    let declaration = try Regex(
        #"^\s*(?:@[A-Za-z_]+(?:\([^)]*\))?\s+)*(?:[a-z]+(?:\([a-z]+\))?\s+)*(?:func\s|init[?(<]|deinit\b|subscript[(<])"#
    )
    var found: [FunctionExtent] = []
    let words = ["func ", "init", "subscript"]  // the second is in deinit, too
    for (index, line) in code.enumerated() where words.contains(where: line.contains) {
        guard line.firstMatch(of: declaration) != nil else { continue }
        if let end = endOfBody(code, from: index) {
            found.append(
                FunctionExtent(
                    line: index + 1, length: end - index + 1,
                    head: lines[index].trimmingPrefix(while: { $0 == " " }).description))
        }
    }
    return found
}

/// The index of the line that closes the body which a declaration opens; nil for a requirement without a body.
private func endOfBody(_ code: [String], from start: Int) -> Int? {
    var parentheses = 0
    var braces = 0
    for index in start..<code.count {
        for character in code[index] {
            switch character {
            case "(", "[": parentheses += 1
            case ")", "]": parentheses -= 1
            case "{" where parentheses == 0 || braces > 0: braces += 1
            case "}":
                // One that nothing opened ends the type around a requirement; one inside a default value is not counted.
                if braces == 0, parentheses == 0 { return nil }
                if braces > 0 { braces -= 1 }
                if braces == 0, parentheses == 0 { return index }
            default: break
            }
        }
        let next = index + 1 < code.count ? code[index + 1].trimmingPrefix(while: { $0 == " " }) : ""
        let continues = ["{", "->", "throws", "async", "where", ")"].contains { next.hasPrefix($0) }
        if braces == 0, parentheses == 0, !continues { return nil }
    }
    return nil
}

@Suite struct SizeTests {
    @Test func `no file is longer than a reader keeps in mind`() throws {
        let files = try SourceTree.files(in: ["Sources", "Tests"], extensions: ["swift", "c", "h"])
        #expect(files.count > 20)
        let violations = files.filter { $0.lines.count > longestFile }.map { "\($0.path): \($0.lines.count) lines" }
        expectNone(violations, "more than \(longestFile) lines")
    }

    @Test func `no function is longer than two screens`() throws {
        let files = try SourceTree.swift("Sources", "Tests")
        let violations = try files.flatMap { file in
            try functions(in: file).filter { $0.length > longestFunction }
                .map { "\(file.path):\($0.line): \($0.length) lines: \($0.head)" }
        }
        expectNone(violations, "more than \(longestFunction) lines")
    }

    @Test func `the measure finds each body's end`() throws {
        let source = [
            "protocol P {", "    func required(a: Int) throws(E)", "    init?(x: Int)", "}", "struct S {",
            "    public static func one() { }", "    @inlinable init(", "        a: Int = { 1 }()", "    ) {",
            "        // }", "        let s = \"}\"", "        func inner() {", "        }", "    }", "    deinit {",
            "    }", "}",
        ]
        let found = try functions(in: SourceFile(path: "Sample.swift", lines: source))
        #expect(found.map(\.line) == [6, 7, 12, 15])
        #expect(found.map(\.length) == [1, 8, 2, 2])
    }
}
