import LayerModel

/// A TOML file line by line, as far as editing it needs: which are headers, and which lines hold the value of which key.
struct TOMLLines {
    enum Kind: Equatable {
        /// `[a.b]`
        case table([String])
        /// `[[a.b]]`
        case element([String])
        /// `a.b = ...`
        case key([String])
        /// What goes on from the line before.
        case rest
        /// A comment, or nothing.
        case blank
    }

    struct Line {
        /// Without the line feed.
        var text: String
        var kind: Kind
    }

    var lines: [Line]

    /// Throws `corruptLayer` with the number of a line that is no TOML.
    init(_ text: String, path: PathBytes) throws(LayerError) {
        var scanner = TOMLScanner(text)
        lines = []
        var number = 0
        var parts = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        // What follows the last line feed is no line.
        if parts.last?.isEmpty == true { parts.removeLast() }
        while number < parts.count {
            guard let (kind, count) = scanner.statement(), number + count <= parts.count else {
                throw LayerError(
                    .corruptLayer, "read the configuration", path: path,
                    cause: .reason("line \(number + 1) is no TOML that can be edited"),
                    hint: "without --merge the snippet is printed, for an edit by hand")
            }
            for index in number..<number + count {
                lines.append(Line(text: parts[index], kind: index == number ? kind : .rest))
            }
            number += count
        }
    }

    var text: String { lines.map { $0.text + "\n" }.joined() }

    /// The lines of the key at `index`, with those that its value goes on in.
    func extent(of index: Int) -> Range<Int> {
        var end = index + 1
        while end < lines.count, lines[end].kind == .rest { end += 1 }
        return index..<end
    }

    /// What lies below the header at `index`, or above the first one where that is -1.
    func body(of index: Int) -> Range<Int> {
        var end = index + 1
        while end < lines.count {
            switch lines[end].kind {
            case .table, .element: return index + 1..<end
            default: end += 1
            }
        }
        return index + 1..<end
    }

    /// The line in `range` that gives `key`.
    func line(of key: String, in range: Range<Int>) -> Int? { range.first { lines[$0].kind == .key([key]) } }

    /// What stands behind the first equals sign outside quotes, as it is written, without a comment on the last line.
    func value(at index: Int) -> String {
        let text = lines[extent(of: index)].map(\.text).joined(separator: "\n")
        return TOMLScanner.value(of: text)
    }
}

/// Reads statements of TOML, and how many lines each takes.
struct TOMLScanner {
    private let bytes: [UInt8]
    private var index = 0

    init(_ text: String) { bytes = Array(text.utf8) }

    private var byte: UInt8? { index < bytes.count ? bytes[index] : nil }

    /// The next statement and its lines; nil where there is none.
    mutating func statement() -> (TOMLLines.Kind, Int)? {
        let start = index
        let kind: TOMLLines.Kind
        skipBlanks()
        switch byte {
        case nil, UInt8(ascii: "#"), UInt8(ascii: "\n"): kind = .blank
        case UInt8(ascii: "["):
            index += 1
            let isElement = byte == UInt8(ascii: "[")
            if isElement { index += 1 }
            guard let path = path(), take("]"), !isElement || take("]") else { return nil }
            kind = isElement ? .element(path) : .table(path)
        default:
            guard let path = path(), take("="), skipValue() else { return nil }
            kind = .key(path)
        }
        guard endLine() else { return nil }
        return (kind, bytes[start..<index].count { $0 == UInt8(ascii: "\n") } + (endsWithoutFeed ? 1 : 0))
    }

    /// Whether the text ended in the middle of a line.
    private var endsWithoutFeed: Bool { index == bytes.count && bytes.last != UInt8(ascii: "\n") }

    /// The value of a statement that has one, as it is written.
    static func value(of text: String) -> String {
        var scanner = TOMLScanner(text)
        scanner.skipBlanks()
        guard scanner.path() != nil, scanner.take("=") else { return "" }
        scanner.skipBlanks()
        let start = scanner.index
        guard scanner.skipValue() else { return "" }
        var end = scanner.index
        while end > start, Self.isBlank(scanner.bytes[end - 1]) { end -= 1 }
        return String(decoding: scanner.bytes[start..<end], as: UTF8.self)
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
    }

    private mutating func skipBlanks() {
        while let byte, Self.isBlank(byte) { index += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipBlanks()
        guard byte == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    /// Blanks, a comment, and the line feed.
    private mutating func endLine() -> Bool {
        skipBlanks()
        if byte == UInt8(ascii: "#") { skipComment() }
        guard let byte else { return true }
        index += 1
        return byte == UInt8(ascii: "\n")
    }

    private mutating func skipComment() {
        while let byte, byte != UInt8(ascii: "\n") { index += 1 }
    }

    /// `a."b.c".'d'`
    private mutating func path() -> [String]? {
        var path: [String] = []
        repeat {
            skipBlanks()
            guard let key = key() else { return nil }
            path.append(key)
        } while take(".")
        return path
    }

    private mutating func key() -> String? {
        guard let first = byte else { return nil }
        if first == UInt8(ascii: "\"") || first == UInt8(ascii: "'") { return quoted(first) }
        let start = index
        while let byte, Self.isBare(byte) { index += 1 }
        return index > start ? String(decoding: bytes[start..<index], as: UTF8.self) : nil
    }

    /// Whether a key may have it without quotes.
    static func isBare(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// A key in quotes. Of escapes only those of quotes and backslashes are undone: no key that is looked for has others.
    private mutating func quoted(_ mark: UInt8) -> String? {
        index += 1
        var text: [UInt8] = []
        while let byte, byte != UInt8(ascii: "\n") {
            index += 1
            if byte == mark { return String(decoding: text, as: UTF8.self) }
            if byte == UInt8(ascii: "\\"), mark == UInt8(ascii: "\""), let next = self.byte,
                next == mark || next == byte
            {
                text.append(next)
                index += 1
            } else {
                text.append(byte)
            }
        }
        return nil
    }

    /// A value up to where its line may end: strings, and brackets with all in them, over as many lines as they take.
    private mutating func skipValue() -> Bool {
        var depth = 0
        skipBlanks()
        let start = index
        while let byte {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "'"): guard skipString(byte) else { return false }
            case UInt8(ascii: "#"):
                if depth == 0 { return index > start }
                skipComment()
            case UInt8(ascii: "\n"):
                if depth == 0 { return index > start }
                index += 1
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                index += 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                depth -= 1
                index += 1
                if depth < 0 { return false }
            default: index += 1
            }
        }
        return depth == 0 && index > start
    }

    private mutating func skipString(_ mark: UInt8) -> Bool {
        let isLong = bytes[index...].starts(with: [mark, mark, mark])
        index += isLong ? 3 : 1
        while let byte {
            if byte == UInt8(ascii: "\\"), mark == UInt8(ascii: "\"") {
                index += 2
            } else if isLong, bytes[index...].starts(with: [mark, mark, mark]) {
                index += 3
                // Up to two quotes may stand before the three.
                while self.byte == mark { index += 1 }
                return true
            } else if !isLong, byte == mark {
                index += 1
                return true
            } else if !isLong, byte == UInt8(ascii: "\n") {
                return false
            } else {
                index += 1
            }
        }
        return false
    }
}
