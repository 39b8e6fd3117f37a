import Glibc

/// Writes a file anew.
package func writeFile(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o644) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw TestFailure.call("open", path) }
    defer { close(descriptor) }
    try writeAll(bytes, to: descriptor)
}

/// A file's text without white space at its ends.
package func readText(_ path: String) throws -> String {
    String(decoding: try readFile(path), as: UTF8.self).trimmed
}

extension StringProtocol {
    /// Without white space at its ends.
    package var trimmed: String {
        var rest = self[...]
        while rest.last?.isWhitespace == true { rest = rest.dropLast() }
        return String(rest.drop { $0.isWhitespace })
    }
}

/// The names in a directory, sorted, without the dots; none where there is no directory.
package func directoryNames(_ path: String) -> [String] {
    guard let stream = opendir(path) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
}
