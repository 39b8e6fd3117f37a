import LayerModel

/// The part of containerd's configuration by which only pods of one runtime (a RuntimeClass) use ldiff.
struct ContainerdRuntime {
    /// What the RuntimeClass has as its handler.
    let name: String
    /// The node's own file, whose default runtime this one is a copy of.
    var node: TOMLLines?

    /// What RFC 1123 calls a label: a RuntimeClass's handler.
    static func isName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        let isWord = { (byte: UInt8) in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        guard (1...63).contains(bytes.count), let first = bytes.first, let last = bytes.last else { return false }
        return isWord(first) && isWord(last) && bytes.allSatisfy { isWord($0) || $0 == UInt8(ascii: "-") }
    }

    /// Tables as lines, each with those keys of the node's default runtime, its options among them: a node whose groups are
    /// systemd's has said so there.
    func tables(_ plugin: String, snapshotter: String, quoted: (String) -> String) throws(LayerError) -> [[String]] {
        let runtimes = ["plugins", plugin, "containerd", "runtimes"]
        let model = defaultName(["plugins", plugin, "containerd"])
        guard model != name else {
            throw LayerError(
                .unsupported, "make a runtime \(name)", cause: .reason("it is the node's default runtime"),
                hint: "choose another name; or leave --runtime out, and all pods use ldiff")
        }
        var tables: [[String]] = []
        func header(_ path: [String]) -> String { "[" + path.map { key($0, quoted) }.joined(separator: ".") + "]" }
        var isFound = false
        if let node {
            for (index, line) in node.lines.enumerated() {
                guard case .table(let path) = line.kind, path.starts(with: runtimes + [model]) else { continue }
                let below = Array(path.dropFirst(runtimes.count + 1))
                isFound = isFound || below.isEmpty
                var table = [header(runtimes + [name] + below)]
                for place in node.body(of: index) {
                    guard case .key(let path) = node.lines[place].kind, below != [] || path != ["snapshotter"] else {
                        continue
                    }
                    let name = path.map { key($0, quoted) }.joined(separator: ".")
                    table.append("  \(name) = \(node.value(at: place))")
                }
                if below.isEmpty { table.append("  snapshotter = \(quoted(snapshotter))") }
                tables.append(table)
            }
        }
        if !isFound {
            // The first runtime that a file names takes the built-in one away, without which containerd 1.7's CRI does not start.
            let type = "  runtime_type = \(quoted("io.containerd.runc.v2"))"
            tables.insert([header(runtimes + [model]), type], at: 0)
            tables.insert([header(runtimes + [name]), type, "  snapshotter = \(quoted(snapshotter))"], at: 1)
        }
        return tables
    }

    /// The runtime of pods that ask for none.
    private func defaultName(_ table: [String]) -> String {
        guard let node, let header = node.lines.firstIndex(where: { $0.kind == .table(table) }),
            let line = node.line(of: "default_runtime_name", in: node.body(of: header))
        else { return "runc" }
        let value = node.value(at: line).filter { $0 != "\"" && $0 != "'" }
        return value.isEmpty ? "runc" : value
    }

    private func key(_ text: String, _ quoted: (String) -> String) -> String {
        text.utf8.allSatisfy { TOMLScanner.isBare($0) } && !text.isEmpty ? text : quoted(text)
    }
}
