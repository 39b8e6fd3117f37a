/// Reading and writing the numeric fields of headers: octal text and base-256 (W1, R1).
enum TarNumber {
    /// Whether `value` can be written as octal digits filling all but the last byte of the field.
    @inline(__always)
    static func fitsOctal(_ value: Int64, _ field: Layout.Field) -> Bool {
        value >= 0 && value >> Int64((field.count &- 1) &* 3) == 0
    }

    /// Whether `value` fits the field as a base-256 number, whose first byte is only a mark.
    static func fitsBase256(_ value: Int64, _ field: Layout.Field) -> Bool {
        let bits = (field.count - 1) * 8
        if bits >= 64 { return true }
        let rest = value >> Int64(bits)
        return rest == 0 || rest == -1
    }

    /// Writes zero-padded octal and leaves the NUL that already stands at the end of the field (W1).
    @inline(__always)
    static func writeOctal(_ value: Int64, _ field: Layout.Field, in block: inout MutableSpan<UInt8>) {
        var rest = UInt64(bitPattern: value)
        var at = field.start &+ field.count &- 2
        while at >= field.start {
            block[at] = UInt8(truncatingIfNeeded: rest & 7) | 0x30
            rest >>= 3
            at &-= 1
        }
    }

    /// Writes a big-endian two's complement number with the top bit of the field set.
    static func writeBase256(_ value: Int64, _ field: Layout.Field, in block: inout MutableSpan<UInt8>) {
        var rest = value
        var at = field.start + field.count - 1
        while at >= field.start {
            block[at] = UInt8(truncatingIfNeeded: rest)
            rest >>= 8
            at -= 1
        }
        block[field.start] |= 0x80
    }

    /// The number in a field, or nil when it has a bad digit or does not fit Int64 (R1).
    @inline(__always)
    static func parse(_ field: Layout.Field, in block: Span<UInt8>) -> Int64? {
        parse(from: field.start, count: field.count, in: block)
    }

    /// The number in `count` bytes at `start`.
    static func parse(from start: Int, count: Int, in block: Span<UInt8>) -> Int64? {
        if block[start] & 0x80 != 0 { return parseBase256(from: start, count: count, in: block) }
        return parseOctal(from: start, count: count, in: block)
    }

    /// The octal number in `count` bytes at `start`, blanks and NULs around it ignored; none at all is zero.
    @inline(__always)
    static func parseOctal(from start: Int, count: Int, in block: Span<UInt8>) -> Int64? {
        var at = start
        let end = start + count
        while at < end, isPadding(block[at]) { at &+= 1 }
        var value: UInt64 = 0
        while at < end {
            let digit = block[at] ^ 0x30
            if digit > 7 { break }
            if value >> 60 != 0 { return nil }
            value = value << 3 | UInt64(digit)
            at &+= 1
        }
        // A NUL ends the number whatever follows; spaces may only be followed by padding.
        while at < end, block[at] != 0 {
            guard block[at] == 0x20 else { return nil }
            at &+= 1
            if at < end, block[at] != 0x20 { return onlyPadding(from: at, to: end, in: block) ? Int64(value) : nil }
        }
        return Int64(value)
    }

    @inline(__always)
    private static func isPadding(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0 }

    private static func onlyPadding(from start: Int, to end: Int, in block: Span<UInt8>) -> Bool {
        for at in start..<end where !isPadding(block[at]) { return false }
        return true
    }

    private static func parseBase256(from start: Int, count: Int, in block: Span<UInt8>) -> Int64? {
        let flip: UInt8 = block[start] & 0x40 != 0 ? 0xff : 0
        var value: UInt64 = 0
        for at in start..<start + count {
            var byte = block[at] ^ flip
            if at == start { byte &= 0x7f }
            if value >> 56 != 0 { return nil }
            value = value << 8 | UInt64(byte)
        }
        if value >> 63 != 0 { return nil }
        return flip == 0 ? Int64(bitPattern: value) : ~Int64(bitPattern: value)
    }
}
