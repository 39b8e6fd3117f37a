import LayerModel
import LinuxIO

/// containerd's configuration file, as far as a snippet depends on it.
struct ContainerdFile {
    let path: String
    /// What it says of its version: 1 where it says nothing, as containerd takes it.
    let version: Int
    /// Whether it has settings of the plugin for Kubernetes, which an imported file replaces as a whole before containerd 2.
    let hasKubernetes: Bool

    /// Nil where there is no file, unless one `isExpected`.
    init?(path: String, isExpected: Bool) throws(LayerError) {
        let text: String
        do throws(LayerError) {
            text = String(decoding: try Self.contents(path), as: UTF8.self)
        } catch {
            if error.code == .notFound, !isExpected { return nil }
            throw error
        }
        self.path = path
        version = Self.version(in: text)
        hasKubernetes = text.split(whereSeparator: \.isNewline).contains { line in
            line.drop(while: \.isWhitespace).hasPrefix("[") && line.contains("io.containerd.grpc.v1.cri")
        }
    }

    /// The key stands before the first table.
    private static func version(in text: String) -> Int {
        for line in text.split(whereSeparator: \.isNewline) {
            let line = line.drop(while: \.isWhitespace)
            if line.hasPrefix("[") { break }
            let parts = line.split(separator: "=", maxSplits: 1)
            guard parts.count == 2, ["version", "\"version\"", "'version'"].contains(Self.trimmed(parts[0])) else {
                continue
            }
            return Int(Self.trimmed(parts[1].prefix { $0 != "#" })) ?? 0
        }
        return 1
    }

    private static func trimmed(_ text: Substring) -> String {
        String(String(text.drop(while: \.isWhitespace).reversed()).drop(while: \.isWhitespace).reversed())
    }

    private static func contents(_ path: String) throws(LayerError) -> [UInt8] {
        let name = PathBytes(path)
        return try attempt("read containerd's configuration", name) { () throws(SystemCallError) in
            let file = try name.open([.readOnly, .nonBlocking])
            return try file.contents(limit: 1 << 20)
        }
    }
}
