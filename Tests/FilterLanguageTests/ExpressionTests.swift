import Foundation
import Testing

@testable import FilterLanguage

/// A line of `Fixtures/expressions/go.json`: what Go's `regexp` says.
private struct Line: Decodable {
    let expression: String
    let valid: Bool
    let texts: [String]
    let found: [Bool]
}

@Suite struct ExpressionTests {
    @Test func `expressions mean what they mean to Go`() throws {
        let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fixtures/expressions/go.json")
        let lines = try String(contentsOf: path, encoding: .utf8).split(separator: "\n")
        #expect(lines.count > 600)
        for text in lines {
            let line = try JSONDecoder().decode(Line.self, from: Data(text.utf8))
            let expression = try FilterExpression(line.expression)
            #expect(expression.isValid == line.valid, "\(line.expression)")
            for (text, isFound) in zip(line.texts, line.found) {
                #expect(expression.isFound(in: text) == isFound, "\(line.expression) in \(text)")
            }
        }
    }

    /// A backtracking engine takes longer for each of these than the universe has been there.
    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            "(a+)+$", "(.*)(.*)(.*)x", "(a|aa)+$", "(x+x+)+y", "(a*)*b", "^([a-zA-Z]+)*$", "(.*?,){11}P",
            "(?:a?){500}a{500}$", "^(a?a?a?a?){100}$", "^(([a-z])+.)+[A-Z]([a-z])+$",
        ])
    func `no expression takes more time than its length times the value's`(text: String) throws {
        let expression = try FilterExpression(text)
        let value = String(repeating: "a", count: 2000) + "!"
        let start = ContinuousClock.now
        #expect(expression.isValid && !expression.isFound(in: value))
        // A debug build takes a second for the longest of them.
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    @Test(arguments: [
        String(repeating: "a{1000}", count: 11), String(repeating: "(", count: 1500),
        "(?:(?:\\pL{1000})|\\w){3}\\d{9001}",
        String(repeating: "[^a]", count: 10_001),
    ])
    func `what asks for more than is matched is an error that says so`(text: String) throws {
        do throws(ExpressionTooLarge) {
            #expect(try !FilterExpression(text).isValid)
            // Go says that the third is none.
            #expect(text.hasSuffix("{9001}"))
        } catch {
            #expect(error.reason.contains("steps") || error.reason.contains("deeply"))
        }
        var parser = FilterParser("name~=/\(text)/")
        if !text.hasSuffix("{9001}") { #expect(throws: FilterSyntaxError.self) { try parser.selectors() } }
    }

    @Test func `cases are grouped as Unicode folds them`() {
        #expect(CaseFolding.group(0x4b) == [0x4b, 0x6b, 0x212a])
        #expect(CaseFolding.group(0x3c3) == [0x3a3, 0x3c2, 0x3c3])
        #expect(CaseFolding.group(0xdf) == [0xdf, 0x1e9e])
        // The dotless and the dotted i of Turkish are letters of their own.
        #expect(CaseFolding.group(0x131) == nil && CaseFolding.group(0x130) == nil)
        #expect(CaseFolding.group(0x69) == [0x49, 0x69])
        #expect(CaseFolding.groups.allSatisfy { 2...4 ~= $0.count })
    }
}
