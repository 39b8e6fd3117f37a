import Foundation
import Testing

/// Targets that are safe Swift over spans throughout.
private let safeTargets = ["TarCodec", "LayerRules", "LayerPacking", "LayerEngine"]
/// How far above an `unsafe` outside a function, in an accessor or an initial value, its reason may stand.
private let reasonReach = 6

private func isUnsafe(_ line: String) -> Bool { line.contains("unsafe") && line.contains(/\bunsafe\b/) }

/// Lines that say `unsafe` as an expression without a reason: in the function around them or right above it, once for the
/// file's rest with "Reason, here and below:", or a few lines above.
private func unreasoned(_ file: SourceFile) throws -> [Int] {
    let extents = try functions(in: file)
    return file.code.enumerated().compactMap { index, line in
        guard line.contains("unsafe"), line.contains(/(?:^|[^@\w])unsafe\b/) else { return nil }
        let around = extents.filter { $0.line - 1 <= index && index < $0.line - 1 + $0.length }
        let from = (around.map(\.line).max() ?? index + 1) - 1 - reasonReach
        let near = file.lines[max(0, from)...index].contains { $0.contains("Reason:") }
        let before = file.lines[..<index].contains { $0.contains("Reason, here and below:") }
        return near || before ? nil : index
    }
}

/// Lines of code that say `unsafe`, counted as `scripts/unsafe-budget` counts them.
private func unsafeCounts() throws -> [String: Int] {
    var counts: [String: Int] = [:]
    for file in try SourceTree.swift("Sources") {
        let count = file.code.filter(isUnsafe).count
        if count > 0 { counts[file.path] = count }
    }
    return counts
}

@Suite struct SafetyTests {
    @Test func `unsafe code stays where it was counted`() throws {
        let url = SourceTree.top.appending(path: "Tests/TidyTests/unsafe-budget.txt")
        var budget: [String: Int] = [:]
        for line in try String(contentsOf: url, encoding: .utf8).split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ")
            budget[String(words[1])] = Int(words[0])
        }
        let counts = try unsafeCounts()
        let violations = Set(budget.keys).union(counts.keys).sorted().compactMap { path in
            let (now, noted) = (counts[path] ?? 0, budget[path] ?? 0)
            return now == noted ? nil : "\(path): \(now) lines say unsafe, \(noted) are noted"
        }
        expectNone(violations, "look at each, then run scripts/unsafe-budget")
    }

    @Test func `the codec and the engine are safe throughout`() throws {
        let counts = try unsafeCounts().keys.filter { path in safeTargets.contains { path.hasPrefix("Sources/\($0)/") }
        }
        expectNone(counts.sorted(), "files that say unsafe")
    }

    @Test func `every unsafe has its reason above it`() throws {
        var violations: [String] = []
        for file in try SourceTree.swift("Sources") {
            violations += try unreasoned(file).map { "\(file.path):\($0 + 1): \(file.lines[$0])" }
        }
        expectNone(violations, "no `Reason:` in the function above it, nor `Reason, here and below:` in the file")
    }

    @Test func `libraries do not print`() throws {
        let programs = ["ldiff", "docker-ldiff-graphdriver", "containerd-ldiff-grpc"]
        let libraries = try SourceTree.swift("Sources").filter { !programs.contains($0.target) }
        #expect(libraries.count > 10)
        let violations = try libraries.flatMap {
            try matches(of: #"(?:^|[^.\w])(?:print|debugPrint|dump|NSLog)\("#, in: $0)
        }
        expectNone(violations, "libraries that print")
    }

    /// Release builds of Swift 6.3 leave it out where the struct lies in another one: an export that failed hung for ever.
    @Test func `no generic struct relies on a deinit`() throws {
        var violations: [String] = []
        for file in try SourceTree.swift("Sources") {
            var type = ""
            for (index, line) in file.code.enumerated() {
                if line.first?.isLetter == true || line.first == "@" { type = line }
                guard line.hasPrefix("    deinit"), type.contains(/struct\s+\w+</) else { continue }
                violations.append("\(file.path):\(index + 1): put what ends with it into a class")
            }
        }
        expectNone(violations, "deinits of generic structs")
    }

    @Test func `no try that traps`() throws {
        let violations = try SourceTree.swift("Sources", "Tests").flatMap { try matches(of: #"\btry!"#, in: $0) }
        expectNone(violations, "tries that trap")
    }
}
