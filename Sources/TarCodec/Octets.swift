/// Small byte helpers over spans; the standard library has no such algorithms for them yet.
extension Array where Element == UInt8 {
    /// Appends a copy of the bytes.
    mutating func append(copying bytes: Span<UInt8>) {
        for index in bytes.indices { append(bytes[index]) }
    }

    /// Appends the bytes of an ASCII literal.
    mutating func append(ascii text: String) {
        for byte in text.utf8 { append(byte) }
    }

    /// Appends a number in decimal digits.
    mutating func append(decimal value: Int64) {
        if value < 0 { append(UInt8(ascii: "-")) }
        var divisor: UInt64 = 1
        let magnitude = value.magnitude
        while magnitude / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(UInt8(ascii: "0") + UInt8(magnitude / divisor % 10))
            divisor /= 10
        }
    }
}

enum Octets {
    /// Index of the first `byte` in `range`, or nil.
    static func firstIndex(of byte: UInt8, in bytes: Span<UInt8>, _ range: Range<Int>) -> Int? {
        for index in range where bytes[index] == byte { return index }
        return nil
    }

    /// Whether every byte is ASCII and none is NUL.
    @inline(__always)
    static func isPlain(_ bytes: Span<UInt8>) -> Bool {
        var bits: UInt8 = 0
        // NUL wraps to 255, so one look at the top bit finds both.
        for index in 0..<bytes.count { bits |= bytes[index] | (bytes[index] &- 1) }
        return bits < 0x80
    }

    static func containsNul(_ bytes: Span<UInt8>) -> Bool {
        for index in bytes.indices where bytes[index] == 0 { return true }
        return false
    }

    /// Negative, zero or positive, as the first range sorts before, like or after the second, bytewise.
    static func compare(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Int {
        let common = min(left.count, right.count)
        for index in 0..<common where left[index] != right[index] {
            return left[index] < right[index] ? -1 : 1
        }
        return left.count - right.count
    }

    /// Whether the range holds exactly the ASCII text.
    static func equals(_ bytes: Span<UInt8>, _ text: String) -> Bool {
        bytes.count == text.utf8.count && hasPrefix(bytes, text)
    }

    /// Whether the range begins with the ASCII text.
    static func hasPrefix(_ bytes: Span<UInt8>, _ text: String) -> Bool {
        guard bytes.count >= text.utf8.count else { return false }
        var index = 0
        for byte in text.utf8 {
            if bytes[index] != byte { return false }
            index += 1
        }
        return true
    }

    /// The sum of a block's bytes, which is zero only for a zero block.
    @inline(__always)
    static func sum(_ block: Span<UInt8>) -> UInt32 {
        var sum: UInt32 = 0
        for index in 0..<Layout.blockSize { sum &+= UInt32(block[index]) }
        return sum
    }
}
