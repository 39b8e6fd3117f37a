import LayerModel

/// Base 64 as RFC 4648 has it, with padding.
public enum Base64 {
    private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    /// The value of each letter, 255 of what is none.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 255, count: 256)
        for (value, letter) in letters.enumerated() { values[Int(letter)] = UInt8(value) }
        return values
    }()

    /// Writes the text of `bytes` at `start`, where there is room for it; returns its length.
    public static func encode(_ bytes: RawSpan, into target: inout [UInt8], at start: Int) -> Int {
        let letters = letters.span
        var out = target.mutableSpan
        var at = start
        var index = 0
        while index + 3 <= bytes.byteCount {
            let word = Int(bytes[index]) << 16 | Int(bytes[index + 1]) << 8 | Int(bytes[index + 2])
            out[at] = letters[word >> 18]
            out[at + 1] = letters[word >> 12 & 63]
            out[at + 2] = letters[word >> 6 & 63]
            out[at + 3] = letters[word & 63]
            at += 4
            index += 3
        }
        let rest = bytes.byteCount - index
        guard rest > 0 else { return at - start }
        let word = Int(bytes[index]) << 16 | (rest == 2 ? Int(bytes[index + 1]) << 8 : 0)
        out[at] = letters[word >> 18]
        out[at + 1] = letters[word >> 12 & 63]
        out[at + 2] = rest == 2 ? letters[word >> 6 & 63] : UInt8(ascii: "=")
        out[at + 3] = UInt8(ascii: "=")
        return at + 4 - start
    }

    /// Appends the text of `bytes`.
    public static func append(_ bytes: RawSpan, to target: inout [UInt8]) {
        let start = target.count
        target.append(contentsOf: repeatElement(0, count: (bytes.byteCount + 2) / 3 * 4))
        _ = encode(bytes, into: &target, at: start)
    }

    /// Appends the bytes that `text` says to `target`; false if it is no base 64, with whatever was appended until then.
    public static func decode(_ text: RawSpan, into target: inout [UInt8]) -> Bool {
        guard text.byteCount % 4 == 0 else { return false }
        var count = text.byteCount
        var padding = 0
        while padding < 2, count > 0, text[count - 1] == UInt8(ascii: "=") {
            padding += 1
            count -= 1
        }
        let values = values.span
        target.reserveCapacity(target.count + count / 4 * 3 + 3)
        var word: UInt32 = 0
        for index in 0..<count {
            let value = values[Int(text[index])]
            if value == 255 { return false }
            word = word << 6 | UInt32(value)
            if index & 3 == 3 {
                target.append(UInt8(truncatingIfNeeded: word >> 16))
                target.append(UInt8(truncatingIfNeeded: word >> 8))
                target.append(UInt8(truncatingIfNeeded: word))
                word = 0
            }
        }
        switch padding {
        case 1:
            target.append(UInt8(truncatingIfNeeded: word >> 10))
            target.append(UInt8(truncatingIfNeeded: word >> 2))
        case 2: target.append(UInt8(truncatingIfNeeded: word >> 4))
        default: break
        }
        return true
    }
}
