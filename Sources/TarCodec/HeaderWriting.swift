/// Filling one 512-byte header that starts out as zeros.
enum HeaderWriter {
    /// What a header's magic says, and how its numbers may be written.
    enum Style {
        case ustar
        case gnu
    }

    /// Writes numbers, type and magic. A number that does not fit becomes zeros in `ustar` style (W9) and
    /// base-256 in `gnu` style (W11).
    @inline(__always)
    static func writeNumbers(_ fields: TarFields, _ style: Style, in block: inout MutableSpan<UInt8>) {
        write(Int64(fields.mode), Layout.mode, style, in: &block)
        write(fields.uid, Layout.uid, style, in: &block)
        write(fields.gid, Layout.gid, style, in: &block)
        write(fields.size, Layout.size, style, in: &block)
        write(fields.mtimeSeconds, Layout.mtime, style, in: &block)
        write(fields.deviceMajor, Layout.deviceMajor, style, in: &block)
        write(fields.deviceMinor, Layout.deviceMinor, style, in: &block)
        block[Layout.type] = fields.type
        writeMagic(style, in: &block)
    }

    /// Writes the header of a meta entry, which has no owner names, devices or prefix at all (W7).
    static func writeMeta(
        type: UInt8, name: Span<UInt8>, payloadCount: Int, _ style: Style, in block: inout MutableSpan<UInt8>
    ) {
        writeText(name, Layout.name, in: &block)
        for field in [Layout.mode, Layout.uid, Layout.gid, Layout.mtime] {
            TarNumber.writeOctal(0, field, in: &block)
        }
        TarNumber.writeOctal(Int64(payloadCount), Layout.size, in: &block)
        block[Layout.type] = type
        writeMagic(style, in: &block)
        writeChecksum(in: &block)
    }

    /// Copies as much of the bytes as the field holds.
    @inline(__always)
    static func writeText(_ text: Span<UInt8>, _ field: Layout.Field, in block: inout MutableSpan<UInt8>) {
        let count = min(text.count, field.count)
        var target = block._mutatingExtracting(field.start..<field.start &+ count)
        for index in 0..<count { target[index] = text[index] }
        if text.count > field.count { endBeforeSlashes(field, in: &block) }
    }

    /// Like `writeText`, but drops NUL and every byte that is not ASCII (W9).
    static func writePlainText(_ text: Span<UInt8>, _ field: Layout.Field, in block: inout MutableSpan<UInt8>) {
        var at = field.start
        let end = field.start + field.count
        for index in text.indices {
            let byte = text[index]
            guard byte != 0, byte < 0x80 else { continue }
            if at == end { return endBeforeSlashes(field, in: &block) }
            block[at] = byte
            at += 1
        }
    }

    /// Ends a cut text before its trailing slashes, so that no reader takes a file for a directory. Go writes one
    /// NUL over the first of them and leaves any others behind it; byte for byte so do we.
    private static func endBeforeSlashes(_ field: Layout.Field, in block: inout MutableSpan<UInt8>) {
        let slash = UInt8(ascii: "/")
        var at = field.start + field.count
        while at > field.start, block[at - 1] == slash { at -= 1 }
        if at < field.start + field.count { block[at] = 0 }
    }

    @inline(__always)
    private static func write(
        _ value: Int64, _ field: Layout.Field, _ style: Style, in block: inout MutableSpan<UInt8>
    ) {
        if TarNumber.fitsOctal(value, field) {
            TarNumber.writeOctal(value, field, in: &block)
        } else if style == .gnu {
            TarNumber.writeBase256(value, field, in: &block)
        } else {
            TarNumber.writeOctal(0, field, in: &block)
        }
    }

    @inline(__always)
    private static func writeMagic(_ style: Style, in block: inout MutableSpan<UInt8>) {
        let start = Layout.magic
        block[start] = UInt8(ascii: "u")
        block[start + 1] = UInt8(ascii: "s")
        block[start + 2] = UInt8(ascii: "t")
        block[start + 3] = UInt8(ascii: "a")
        block[start + 4] = UInt8(ascii: "r")
        switch style {
        case .ustar:
            block[start + 6] = UInt8(ascii: "0")
            block[start + 7] = UInt8(ascii: "0")
        case .gnu:
            block[start + 5] = UInt8(ascii: " ")
            block[start + 6] = UInt8(ascii: " ")
        }
    }

    /// Sums the finished block; the checksum field must still be zeros (W2).
    @inline(__always)
    static func writeChecksum(in block: inout MutableSpan<UInt8>) {
        // The field counts as eight blanks.
        var sum = Octets.sum(block.span) &+ 8 * 0x20
        var at = Layout.checksum.start + 5
        while at >= Layout.checksum.start {
            block[at] = UInt8(truncatingIfNeeded: sum & 7) | 0x30
            sum >>= 3
            at &-= 1
        }
        block[Layout.checksum.start + 7] = UInt8(ascii: " ")
    }
}
