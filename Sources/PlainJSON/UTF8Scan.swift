import LayerModel

/// UTF-8 byte by byte (RFC 3629, section 4), where no String is wanted.
enum UTF8Scan {
    /// Bytes of the scalar at `index`, or 0 where there is none.
    @inline(__always)
    static func length(_ text: RawSpan, _ index: Int) -> Int {
        let found = subpart(text, index)
        return found.isWhole ? found.length : 0
    }

    /// The scalar at `index`, or the longest beginning of one, which is at least a byte.
    static func subpart(_ text: RawSpan, _ index: Int) -> (length: Int, isWhole: Bool) {
        let first = text[index]
        if first < 0x80 { return (1, true) }
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xbf
        switch first {
        case 0xc2...0xdf: length = 2
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
        default: return (1, false)
        }
        guard index + 1 < text.byteCount, second.contains(text[index + 1]) else { return (1, false) }
        for offset in 2..<max(length, 2) {
            guard index + offset < text.byteCount, (0x80...0xbf).contains(text[index + offset]) else {
                return (offset, false)
            }
        }
        return (length, true)
    }
}

/// Whether `text` is UTF-8.
public func isUTF8(_ text: RawSpan) -> Bool {
    var index = 0
    while index < text.byteCount {
        // Most is ASCII, which passes in words.
        index = PlainWord.end(text, from: index)
        guard index < text.byteCount else { return true }
        let length = UTF8Scan.length(text, index)
        guard length > 0 else { return false }
        index += length
    }
    return true
}

/// Eight bytes at once.
enum PlainWord {
    /// Whether none is below 0x20, above 0x7e, a quotation mark or a backslash. Errs on the side of false.
    @inline(__always)
    static func isPlain(_ word: UInt64) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let controls = (word &- ones &* 0x20) & ~word
        let backslashes = zeroBytes(word ^ (ones &* 0x5c), ones)
        let quotes = zeroBytes(word ^ (ones &* 0x22), ones)
        let deletes = zeroBytes(word ^ (ones &* 0x7f), ones)
        return (word | controls | backslashes | quotes | deletes) & (ones &* 0x80) == 0
    }

    private static func zeroBytes(_ word: UInt64, _ ones: UInt64) -> UInt64 { (word &- ones) & ~word }

    /// The first index from `index` on that may not be plain, or the end.
    @inline(__always)
    static func end(_ text: RawSpan, from index: Int) -> Int {
        var index = index
        while index + 8 <= text.byteCount {
            // Reason: eight bytes from the index are inside the span; any alignment is allowed.
            let word = unsafe text.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
            if !isPlain(word) { break }
            index += 8
        }
        while index < text.byteCount {
            let byte = text[index]
            if byte < 0x20 || byte >= 0x7f || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { break }
            index += 1
        }
        return index
    }
}
