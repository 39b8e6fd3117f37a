import LayerModel

/// Paths as one line of text: the same rules as `escapedText`, on bytes and without a String per path.
public enum PathEscaping {
    /// Whether no byte needs escaping; also false where only a closer look could tell.
    public static func isPlain(_ path: RawSpan) -> Bool {
        var index = PlainWord.end(path, from: 0)
        while index < path.byteCount {
            guard path[index] == UInt8(ascii: "\"") else { return false }
            index = PlainWord.end(path, from: index + 1)
        }
        return true
    }

    /// Appends the path with control bytes, backslashes and bytes that are not valid UTF-8 as `\xNN`.
    public static func append(_ path: RawSpan, to text: inout [UInt8]) {
        var index = 0
        while index < path.byteCount {
            let end = PlainWord.end(path, from: index)
            if end > index { appendBytes(path.extracting(index..<end), to: &text) }
            index = end
            guard index < path.byteCount else { return }
            let length = printableLength(path, index)
            if length == 0 {
                appendHexadecimal(path[index], to: &text)
                index += 1
                continue
            }
            appendBytes(path.extracting(index..<index + length), to: &text)
            index += length
        }
    }

    private static func appendHexadecimal(_ byte: UInt8, to text: inout [UInt8]) {
        text.append(UInt8(ascii: "\\"))
        text.append(UInt8(ascii: "x"))
        text.append(hexadecimalDigit(byte >> 4))
        text.append(hexadecimalDigit(byte & 15))
    }

    /// Bytes of the printable scalar at `index`, or 0 where there is none.
    private static func printableLength(_ path: RawSpan, _ index: Int) -> Int {
        let first = path[index]
        if first < 0x80 { return first < 0x20 || first == 0x7f || first == UInt8(ascii: "\\") ? 0 : 1 }
        let length = UTF8Scan.length(path, index)
        // U+0080 to U+009F are control characters.
        return first == 0xc2 && length == 2 && path[index + 1] < 0xa0 ? 0 : length
    }
}

/// The digit, in lower case.
func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
}

func appendBytes(_ bytes: RawSpan, to text: inout [UInt8]) {
    // Reason: the buffer is read during the call only.
    unsafe bytes.withUnsafeBytes { unsafe text.append(contentsOf: $0) }
}
