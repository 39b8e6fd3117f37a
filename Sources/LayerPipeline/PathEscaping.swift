import LayerModel

/// Paths as one line of text: the same rules as `escapedText`, on bytes and without a String per path.
enum PathEscaping {
    /// Whether no byte needs escaping; also false where only a closer look could tell.
    static func isPlain(_ path: RawSpan) -> Bool {
        var index = 0
        while index + 8 <= path.byteCount {
            // Reason: eight bytes from the index are inside the span; any alignment is allowed.
            let word = unsafe path.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
            if !isPlain(word) { return false }
            index += 8
        }
        while index < path.byteCount {
            let byte = path[index]
            if byte < 0x20 || byte >= 0x7f || byte == UInt8(ascii: "\\") { return false }
            index += 1
        }
        return true
    }

    /// Eight bytes at once: none below 0x20, above 0x7e, or a backslash. Errs on the side of false.
    private static func isPlain(_ word: UInt64) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let tops = ones &* 0x80
        let controls = (word &- ones &* 0x20) & ~word
        let backslashes = zeroBytes(word ^ (ones &* 0x5c), ones)
        let deletes = zeroBytes(word ^ (ones &* 0x7f), ones)
        return (word | controls | backslashes | deletes) & tops == 0
    }

    private static func zeroBytes(_ word: UInt64, _ ones: UInt64) -> UInt64 { (word &- ones) & ~word }

    /// Appends the path with control bytes, backslashes and bytes that are not valid UTF-8 as `\xNN`; with `inJSON` as
    /// the inside of a JSON string, where a backslash is two.
    static func append(_ path: RawSpan, to text: inout [UInt8], inJSON: Bool) {
        var index = 0
        while index < path.byteCount {
            let length = scalarLength(path, index)
            if length == 0 {
                if inJSON { text.append(UInt8(ascii: "\\")) }
                appendHexadecimal(path[index], to: &text)
                index += 1
                continue
            }
            if inJSON, path[index] == UInt8(ascii: "\"") { text.append(UInt8(ascii: "\\")) }
            for offset in 0..<length { text.append(path[index + offset]) }
            index += length
        }
    }

    private static func appendHexadecimal(_ byte: UInt8, to text: inout [UInt8]) {
        text.append(UInt8(ascii: "\\"))
        text.append(UInt8(ascii: "x"))
        for digit in [byte >> 4, byte & 15] {
            text.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    /// Bytes of the printable UTF-8 scalar at `index`, or 0 where there is none (RFC 3629, section 4).
    private static func scalarLength(_ path: RawSpan, _ index: Int) -> Int {
        let first = path[index]
        if first < 0x80 { return first < 0x20 || first == 0x7f || first == UInt8(ascii: "\\") ? 0 : 1 }
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xbf
        switch first {
        case 0xc2:
            // U+0080 to U+009F are control characters.
            length = 2
            second = 0xa0...0xbf
        case 0xc3...0xdf: length = 2
        case 0xe0:
            length = 3
            second = 0xa0...0xbf
        case 0xed:
            length = 3
            second = 0x80...0x9f
        case 0xe1...0xef: length = 3
        case 0xf0:
            length = 4
            second = 0x90...0xbf
        case 0xf4:
            length = 4
            second = 0x80...0x8f
        case 0xf1...0xf3: length = 4
        default: return 0
        }
        guard index + length <= path.byteCount, second.contains(path[index + 1]) else { return 0 }
        for offset in 2..<max(length, 2) where !(0x80...0xbf).contains(path[index + offset]) { return 0 }
        return length
    }
}
