import Foundation
import Testing

/// A text file of the project, with its path from the project's top.
struct SourceFile {
    let path: String
    let lines: [String]
    /// The same lines with comments and the text of string literals blanked out, so that rules see only code. Swift only.
    let code: [String]

    init(path: String, lines: [String]) {
        self.path = path
        self.lines = lines
        code = path.hasSuffix(".swift") ? blanked(lines) : []
    }

    var name: String { String(path.split(separator: "/").last ?? "") }
    /// `LinuxIO` of `Sources/LinuxIO/Ring/Ring.swift`.
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
}

/// The project's files, read from where this file was compiled.
enum SourceTree {
    static let top = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Built or fetched on this machine, and so no part of the project.
    private static let left = [
        "perf/cache/", "perf/peers/bin/", ".build/", "Benchmarks/.build/", "Sources/ContainerdAPI/Generated/",
    ]

    /// Every readable text file under the folders, sorted by path; `extensions` empty takes all.
    static func files(in folders: [String], extensions: Set<String> = []) throws -> [SourceFile] {
        var found: [SourceFile] = []
        for folder in folders {
            for path in try paths(under: folder).sorted() {
                let url = top.appending(path: path)
                guard extensions.isEmpty || extensions.contains(url.pathExtension) else { continue }
                guard let text = try? String(contentsOf: url, encoding: .utf8) else { continue }
                var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
                if lines.last?.isEmpty == true { lines.removeLast() }
                found.append(SourceFile(path: path, lines: lines))
            }
        }
        return found
    }

    /// Paths of the plain files under a folder, or the path itself when it is a file; none when it is not there.
    static func paths(under folder: String) throws -> [String] {
        let start = top.appending(path: folder)
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: start.path, isDirectory: &isDirectory) else { return [] }
        guard isDirectory.boolValue else { return [folder] }
        return try FileManager.default.subpathsOfDirectory(atPath: start.path)
            .map { folder + "/" + $0 }
            .filter { path in
                var isDirectory: ObjCBool = false
                let exists = FileManager.default.fileExists(
                    atPath: top.appending(path: path).path, isDirectory: &isDirectory)
                return exists && !isDirectory.boolValue && !left.contains { path.hasPrefix($0) }
                    && !path.contains("__pycache__")
            }
    }

    /// The Swift files of Sources and Tests, read once for all tests.
    private static let everySwiftFile = Result { try files(in: ["Sources", "Tests"], extensions: ["swift"]) }

    static func swift(_ folders: String...) throws -> [SourceFile] {
        // What the documentation shows is not part of a target.
        try everySwiftFile.get().filter { file in
            folders.contains { file.path.hasPrefix($0 + "/") } && !file.path.contains(".docc/")
        }
    }
}

/// Blanks comments and string literals, keeping every line and the columns of what is left.
///
/// Bytes rather than characters: the whole project is read on every run, in a debug build.
func blanked(_ lines: [String]) -> [String] {
    var inMultiline = false
    var commentDepth = 0
    return lines.map { line in
        let bytes = Array(line.utf8)
        var out = bytes
        var inString = false
        var index = 0
        func next(is text: StaticString) -> Bool {
            let count = text.utf8CodeUnitCount
            guard index + count <= bytes.count else { return false }
            return text.withUTF8Buffer { wanted in (0..<count).allSatisfy { bytes[index + $0] == wanted[$0] } }
        }
        func blank(_ count: Int) {
            for _ in 0..<count where index < bytes.count {
                out[index] = UInt8(ascii: " ")
                index += 1
            }
        }
        while index < bytes.count {
            if commentDepth > 0, next(is: "*/") {
                commentDepth -= 1
                blank(2)
            } else if !inString, !inMultiline, next(is: "/*") {
                commentDepth += 1
                blank(2)
            } else if commentDepth > 0 {
                blank(1)
            } else if !inString, next(is: "\"\"\"") {
                inMultiline.toggle()
                index += 3
            } else if inMultiline {
                blank(1)
            } else if !inString, next(is: "//") {
                blank(bytes.count - index)
            } else if inString, next(is: "\\") {
                blank(2)
            } else if next(is: "\"") {
                inString.toggle()
                index += 1
            } else if inString {
                blank(1)
            } else {
                index += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

/// Lines of the code of `file` in which `pattern` is found, as `path:line: text`.
func matches(of pattern: String, in file: SourceFile) throws -> [String] {
    let expression = try Regex(pattern)
    return file.code.enumerated().compactMap { index, line in
        line.firstMatch(of: expression) == nil ? nil : "\(file.path):\(index + 1): \(file.lines[index])"
    }
}

/// Fails the test with one violation a line.
func expectNone(_ violations: [String], _ rule: String, sourceLocation: SourceLocation = #_sourceLocation) {
    guard !violations.isEmpty else { return }
    Issue.record("\(rule):\n\(violations.joined(separator: "\n"))", sourceLocation: sourceLocation)
}
