import LayerModel

/// Puts a snippet's settings into containerd's own file: values of keys that are there are replaced, other keys and tables
/// added; nothing else is touched.
struct ContainerdMerge {
    private var file: TOMLLines
    private let path: PathBytes

    init(_ text: String, path: PathBytes) throws(LayerError) {
        file = try TOMLLines(text, path: path)
        self.path = path
    }

    var text: String { file.text }

    mutating func add(_ snippet: String) throws(LayerError) {
        let snippet = try TOMLLines(snippet, path: PathBytes("the snippet"))
        for index in snippet.lines.indices {
            switch snippet.lines[index].kind {
            case .table(let table): try add(table, index, snippet)
            case .element(let table): try add(elementOf: table, index, snippet)
            default: continue
            }
        }
    }

    // MARK: tables

    private mutating func add(_ table: [String], _ header: Int, _ snippet: TOMLLines) throws(LayerError) {
        try checkInlined(table)
        guard let found = file.lines.firstIndex(where: { $0.kind == .table(table) }) else {
            return append(snippet, header)
        }
        for line in snippet.body(of: header) {
            guard case .key(let key) = snippet.lines[line].kind else { continue }
            try set(key, snippet.lines[line].text, snippet.value(at: line), below: found, table)
        }
    }

    /// Sets a key of the table whose header is at `header`.
    private mutating func set(
        _ key: [String], _ text: String, _ value: String, below header: Int, _ table: [String]
    ) throws(LayerError) {
        let body = file.body(of: header)
        guard let old = file.line(of: key[0], in: body) else {
            // Behind the last key, so that a comment on what comes next stays with that.
            let last = body.last { file.lines[$0].kind != .blank } ?? header
            let indent =
                body.first { file.lines[$0].kind != .blank }.map { self.indent(of: $0) } ?? self.indent(of: header)
                + "  "
            return file.lines.insert(
                TOMLLines.Line(text: indent + Self.trimmed(text), kind: .key(key)), at: last + 1)
        }
        let before = file.value(at: old)
        let after = Self.isList(before) && Self.isList(value) ? Self.merged(before, value) : value
        guard after != before else { return }
        let new = TOMLLines.Line(text: "\(indent(of: old))\(key[0]) = \(after)", kind: .key(key))
        file.lines.replaceSubrange(file.extent(of: old), with: [new])
    }

    private func indent(of line: Int) -> String { String(file.lines[line].text.prefix { $0 == " " || $0 == "\t" }) }

    /// The table with its comments and keys, at the end.
    private mutating func append(_ snippet: TOMLLines, _ header: Int) {
        var start = header
        while start > 0, snippet.lines[start - 1].kind == .blank, !snippet.lines[start - 1].text.isEmpty { start -= 1 }
        var end = snippet.body(of: header).upperBound
        // Comments before the next header are that one's.
        while end > header + 1, snippet.lines[end - 1].kind == .blank { end -= 1 }
        if file.lines.last?.text.isEmpty == false { file.lines.append(TOMLLines.Line(text: "", kind: .blank)) }
        file.lines += snippet.lines[start..<end]
    }

    /// A table that is written as a value, or keys of it that stand elsewhere with dots, would be there twice.
    private func checkInlined(_ table: [String]) throws(LayerError) {
        var above: [String] = []
        for (index, line) in file.lines.enumerated() {
            switch line.kind {
            case .table(let path), .element(let path): above = path
            case .key(let key):
                let whole = above + key
                let isInline = table.starts(with: whole)
                let isDotted =
                    above != table && whole.count > table.count && whole.starts(with: table)
                    && above.count < table.count
                guard isInline || isDotted else { continue }
                throw LayerError(
                    .unsupported, "edit the configuration", path: path,
                    cause: .reason(
                        "line \(index + 1) writes \(table.joined(separator: ".")) in a way that is not edited"),
                    hint: "make it a table with a header of its own, or merge the snippet by hand")
            default: continue
            }
        }
    }

    // MARK: lists

    /// An entry of a list that is known by the snapshotter it is for; one that the file has keeps its platform, and what
    /// containerd does by itself stays as the file has it.
    private mutating func add(elementOf table: [String], _ header: Int, _ snippet: TOMLLines) throws(LayerError) {
        try checkInlined(table)
        func text(_ key: String, _ lines: TOMLLines, _ header: Int) -> String? {
            lines.line(of: key, in: lines.body(of: header)).map { Self.unquoted(lines.value(at: $0)) }
        }
        let (snapshotter, differ) = (text("snapshotter", snippet, header), text("differ", snippet, header))
        let found = file.lines.indices.filter {
            file.lines[$0].kind == .element(table) && text("snapshotter", file, $0) == snapshotter
        }
        if found.isEmpty { return append(snippet, header) }
        guard differ != "walking", let line = snippet.line(of: "differ", in: snippet.body(of: header)) else { return }
        // From the last on: lines that are added move those behind them.
        for index in found.reversed() {
            try set(["differ"], snippet.lines[line].text, snippet.value(at: line), below: index, table)
        }
    }

    private static func isList(_ value: String) -> Bool { value.hasPrefix("[") }

    /// A list of strings with those of `value` in front that it does not have.
    private static func merged(_ list: String, _ value: String) -> String {
        let has = words(list)
        let missing = words(value).filter { !has.contains($0) }
        guard !missing.isEmpty else { return list }
        return "[" + (missing + has).map { "\"\($0)\"" }.joined(separator: ", ") + "]"
    }

    /// The strings in a list of such.
    private static func words(_ list: String) -> [String] {
        var (words, rest): ([String], Substring) = ([], list[...])
        while let mark = rest.first(where: { $0 == "\"" || $0 == "'" || $0 == "#" }),
            let start = rest.firstIndex(of: mark)
        {
            rest = rest[start...].dropFirst()
            guard mark != "#" else {
                rest = rest.drop { !$0.isNewline }
                continue
            }
            words.append(String(rest.prefix { $0 != mark }))
            rest = rest.drop { $0 != mark }.dropFirst()
        }
        return words
    }

    private static func unquoted(_ value: String) -> String { words(value).first ?? value }

    private static func trimmed(_ text: String) -> String { String(text.drop { $0 == " " || $0 == "\t" }) }
}
