/// Taking PAX payloads apart (R4, R5, R10, R11).
enum PaxReader {
    enum Next {
        case record(key: Range<Int>, value: Range<Int>)
        case end
        case malformed
    }

    /// The record at `at`, which moves behind it.
    static func next(in payload: Span<UInt8>, at: inout Int) -> Next {
        let start = at
        guard start < payload.count else { return .end }
        var length = 0
        while at < payload.count, let digit = digit(payload[at]) {
            length = length * 10 + digit
            // No record is longer than its payload, which is far below any overflow.
            guard length <= payload.count - start else { return .malformed }
            at += 1
        }
        let end = start + length
        guard at > start, at < end - 1, payload[at] == UInt8(ascii: " "), payload[end - 1] == UInt8(ascii: "\n"),
            let equals = Octets.firstIndex(of: UInt8(ascii: "="), in: payload, at + 1..<end - 1), equals > at + 1
        else { return .malformed }
        let key = at + 1..<equals
        guard Octets.firstIndex(of: 0, in: payload, key) == nil else { return .malformed }
        at = end
        return .record(key: key, value: equals + 1..<end - 1)
    }

    /// A decimal number with an optional sign, or nil when malformed or out of range.
    static func decimal(_ text: Span<UInt8>) -> Int64? {
        guard text.count > 0 else { return nil }
        let isNegative = text[0] == UInt8(ascii: "-")
        let start = isNegative || text[0] == UInt8(ascii: "+") ? 1 : 0
        guard start < text.count else { return nil }
        var value: Int64 = 0
        for index in start..<text.count {
            guard let digit = digit(text[index]) else { return nil }
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) =
                isNegative
                ? shifted.subtractingReportingOverflow(Int64(digit)) : shifted.addingReportingOverflow(Int64(digit))
            if overflow || carry { return nil }
            value = sum
        }
        return value
    }

    /// Decimal seconds with an optional fraction, whose digits after the ninth are dropped (R5).
    static func time(_ text: Span<UInt8>) -> (seconds: Int64, nanoseconds: Int32)? {
        let dot = Octets.firstIndex(of: UInt8(ascii: "."), in: text, text.indices) ?? text.count
        guard let seconds = decimal(text.extracting(0..<dot)) else { return nil }
        var nanoseconds: Int32 = 0
        var unit: Int32 = 100_000_000
        for index in min(dot + 1, text.count)..<text.count {
            guard let digit = digit(text[index]) else { return nil }
            nanoseconds += Int32(digit) * unit
            unit /= 10
        }
        guard text[0] == UInt8(ascii: "-"), nanoseconds > 0 else { return (seconds, nanoseconds) }
        // The fraction of a negative time counts downwards.
        let (below, overflow) = seconds.subtractingReportingOverflow(1)
        return overflow ? nil : (below, 1_000_000_000 - nanoseconds)
    }

    @inline(__always)
    static func digit(_ byte: UInt8) -> Int? {
        let value = byte ^ 0x30
        return value < 10 ? Int(value) : nil
    }

    /// Decodes `%XX`; false when an escape is malformed or stands for NUL.
    static func decodePercent(_ text: Span<UInt8>, into output: inout [UInt8]) -> Bool {
        output.removeAll(keepingCapacity: true)
        var index = 0
        while index < text.count {
            if text[index] != UInt8(ascii: "%") {
                output.append(text[index])
                index += 1
                continue
            }
            guard index + 2 < text.count, let high = hexadecimal(text[index + 1]),
                let low = hexadecimal(text[index + 2]), high | low != 0
            else { return false }
            output.append(high << 4 | low)
            index += 3
        }
        return !output.isEmpty
    }

    /// Decodes base64 with or without its padding; false when malformed.
    static func decodeBase64(_ text: Span<UInt8>, into output: inout [UInt8]) -> Bool {
        output.removeAll(keepingCapacity: true)
        var end = text.count
        while end > 0, text.count - end < 2, text[end - 1] == UInt8(ascii: "=") { end -= 1 }
        guard end % 4 != 1 else { return false }
        var bits: UInt32 = 0
        var held = 0
        for index in 0..<end {
            guard let value = base64(text[index]) else { return false }
            bits = (bits << 6 | value) & 0xffff
            held += 6
            if held >= 8 {
                held -= 8
                output.append(UInt8(truncatingIfNeeded: bits >> UInt32(held)))
            }
        }
        return true
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte & 15
        case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"): (byte & 15) + 9
        default: nil
        }
    }

    private static func base64(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
