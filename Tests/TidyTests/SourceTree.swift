import Foundation
import Testing

/// A text file of the project, with its path from the project's top.
struct SourceFile {
    let path: String
    let lines: [String]

    /// The same lines with comments and the text of string literals blanked out, so that rules see only code.
    var code: [String] { blanked(lines) }
    var name: String { String(path.split(separator: "/").last ?? "") }
    /// `LinuxIO` of `Sources/LinuxIO/Ring/Ring.swift`.
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
}

/// The project's files, read from where this file was compiled.
enum SourceTree {
    static let top = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Built or fetched on this machine, and so no part of the project.
    private static let left = ["perf/cache/", "perf/peers/bin/", ".build/", "Benchmarks/.build/"]

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

    static func swift(_ folders: String...) throws -> [SourceFile] {
        try files(in: folders, extensions: ["swift"])
    }
}

/// Blanks comments and string literals, keeping every line and the columns of what is left.
func blanked(_ lines: [String]) -> [String] {
    var result: [String] = []
    var inMultiline = false
    var commentDepth = 0
    for line in lines {
        var out = ""
        var rest = Substring(line)
        var inString = false
        while let character = rest.first {
            if commentDepth > 0, rest.hasPrefix("*/") {
                commentDepth -= 1
                rest = rest.dropFirst(2)
                out += "  "
            } else if !inString, !inMultiline, rest.hasPrefix("/*") {
                commentDepth += 1
                rest = rest.dropFirst(2)
                out += "  "
            } else if commentDepth == 0, !inString, rest.hasPrefix("\"\"\"") {
                inMultiline.toggle()
                rest = rest.dropFirst(3)
                out += "\"\"\""
            } else if commentDepth == 0, !inString, !inMultiline, rest.hasPrefix("//") {
                break
            } else if inString, character == "\\" {
                rest = rest.dropFirst(2)
                out += "  "
            } else if commentDepth == 0, !inMultiline, character == "\"" {
                inString.toggle()
                rest = rest.dropFirst()
                out.append("\"")
            } else {
                out.append(inString || inMultiline || commentDepth > 0 ? " " : character)
                rest = rest.dropFirst()
            }
        }
        result.append(out)
    }
    return result
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
