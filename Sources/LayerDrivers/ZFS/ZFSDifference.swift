import LayerModel

/// What `zfs diff -FH` prints: one line for each object that differs between a snapshot and a later state.
///
/// A list of candidates, never the answer: every path in it is compared again, and a doubt means comparing everything.
struct ZFSDifference: Sendable, Equatable {
    struct Line: Sendable, Equatable {
        /// `-`, `+`, `M` or `R`.
        var change: UInt8
        /// `F` for files, `/` for directories, and others.
        var type: UInt8
        var path: PathBytes
        /// Where a renamed object lies now.
        var newPath: PathBytes?
    }

    var lines: [Line]

    /// The ways in which the text can be read; none where it makes no sense.
    ///
    /// Bytes up to the space, the backslash and those above 126 are escaped with an octal number: of three digits or of
    /// four, depending on the version. Where both are possible, both are given: one of them names what is not there.
    static func readings(of text: [UInt8]) -> [ZFSDifference] {
        let first = ZFSDifference(text, width: 4)
        guard text.contains(UInt8(ascii: "\\")) else { return first.map { [$0] } ?? [] }
        return [first, ZFSDifference(text, width: 3)].compactMap { $0 }
    }

    private init?(_ text: [UInt8], width: Int) {
        lines = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            guard let line = Self.line(line, width) else { return nil }
            lines.append(line)
        }
    }

    private static func line(_ line: ArraySlice<UInt8>, _ width: Int) -> Line? {
        let fields = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
        guard fields.count >= 3, fields[0].count == 1, fields[1].count == 1, let change = fields[0].first,
            let type = fields[1].first, "-+MR".utf8.contains(change), let path = unescaped(fields[2], width)
        else { return nil }
        var result = Line(change: change, type: type, path: PathBytes(path))
        if change == UInt8(ascii: "R") {
            guard fields.count >= 4, let target = unescaped(fields[3], width) else { return nil }
            result.newPath = PathBytes(target)
        } else if fields.count > 3, fields[3].first != UInt8(ascii: "(") {
            // Only a change of the number of names, `(+1)`, may follow.
            return nil
        }
        return result
    }

    /// The byte that `count` octal digits stand for, if it is one that is escaped.
    private static func value(_ text: [UInt8], _ start: Int, _ count: Int) -> UInt8? {
        guard start + count <= text.count else { return nil }
        var number = 0
        for digit in text[start..<start + count] {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "7") else { return nil }
            number = number * 8 + Int(digit - UInt8(ascii: "0"))
        }
        guard number <= 0x20 || number == 0x5c || (number >= 0x7f && number <= 0xff) else { return nil }
        return UInt8(number)
    }

    private static func unescaped(_ field: ArraySlice<UInt8>, _ width: Int) -> [UInt8]? {
        let field = Array(field)
        var bytes: [UInt8] = []
        var index = 0
        while index < field.count {
            if field[index] == UInt8(ascii: "\\") {
                guard let byte = value(field, index + 1, width) else { return nil }
                bytes.append(byte)
                index += 1 + width
            } else {
                bytes.append(field[index])
                index += 1
            }
        }
        return bytes
    }
}
