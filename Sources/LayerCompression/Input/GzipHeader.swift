/// Reads the header of a gzip member byte by byte (RFC 1952, section 2.3), so that it may come in any pieces.
///
/// ISA-L reads headers too, but takes one that has a checksum of itself for damaged where it comes in two pieces.
struct GzipHeader {
    /// What a byte came to.
    enum Step {
        case more, complete, damaged, unknownMethod, unknownFlags
    }

    private enum Part {
        case fixed, extraLength, extra, name, comment, checksum
    }

    private enum Flag {
        static let checksum: UInt8 = 2
        static let extra: UInt8 = 4
        static let name: UInt8 = 8
        static let comment: UInt8 = 16
        /// Bits whose fields nobody knows yet: what follows cannot be told from the data.
        static let reserved: UInt8 = 0xe0
    }

    private var part = Part.fixed
    /// Bytes of this part so far.
    private var count = 0
    private var flags: UInt8 = 0
    /// A number of two bytes: the length of the extra field, or the checksum.
    private var number = 0
    private var checksum: UInt32 = 0xffff_ffff

    /// Takes the next byte; after anything but `more` the header is at its end.
    mutating func take(_ byte: UInt8) -> Step {
        if part != .checksum { add(byte) }
        count += 1
        switch part {
        case .fixed:
            if count == 3, byte != 8 { return .unknownMethod }
            if count == 4 {
                flags = byte
                if flags & Flag.reserved != 0 { return .unknownFlags }
            }
            return count == 10 ? enter(.extraLength) : .more
        case .extraLength:
            number |= Int(byte) << (8 * (count - 1))
            return count == 2 ? enter(.extra) : .more
        case .extra: return count == number ? enter(.name) : .more
        case .name: return byte == 0 ? enter(.comment) : .more
        case .comment: return byte == 0 ? enter(.checksum) : .more
        case .checksum:
            number |= Int(byte) << (8 * (count - 1))
            guard count == 2 else { return .more }
            return number == Int(~checksum & 0xffff) ? .complete : .damaged
        }
    }

    /// Goes on with this part, or with the first behind it that the flags ask for.
    private mutating func enter(_ next: Part) -> Step {
        count = 0
        part = next
        switch next {
        case .fixed: return .more
        case .extraLength: return flags & Flag.extra != 0 ? .more : enter(.name)
        case .extra: return number > 0 ? .more : enter(.name)
        case .name: return flags & Flag.name != 0 ? .more : enter(.comment)
        case .comment: return flags & Flag.comment != 0 ? .more : enter(.checksum)
        case .checksum:
            number = 0
            return flags & Flag.checksum != 0 ? .more : .complete
        }
    }

    /// The CRC-32 of the header, of which the lower half is kept.
    private mutating func add(_ byte: UInt8) {
        checksum ^= UInt32(byte)
        for _ in 0..<8 { checksum = checksum & 1 == 1 ? checksum >> 1 ^ 0xedb8_8320 : checksum >> 1 }
    }
}
