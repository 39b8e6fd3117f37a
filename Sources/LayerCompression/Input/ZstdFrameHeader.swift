import LayerModel

/// The header of a zstd frame (RFC 8878, 3.1.1.1), as far as one must know it to find the frame's end.
struct ZstdFrameHeader: Equatable {
    /// Bytes of the header, its magic included.
    var byteCount: Int
    /// Bytes that the frame holds, if it says so.
    var contentSize: UInt64?
    /// Whether four bytes of checksum follow the last block.
    var hasChecksum: Bool
    /// Whether it can be read without anything else.
    var needsDictionary: Bool

    /// The longest header there is.
    static let longest = 18

    /// Reads the header that `bytes` begin with; nil where they begin with something else, or end too early.
    init?(_ bytes: RawSpan) {
        guard bytes.byteCount >= 6, Self.hasMagic(bytes) else { return nil }
        let descriptor = bytes[4]
        // A reserved bit: who knows what would follow.
        guard descriptor & 0x08 == 0 else { return nil }
        let isSingleSegment = descriptor & 0x20 != 0
        let dictionaryBytes = [0, 1, 2, 4][Int(descriptor & 3)]
        let sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][Int(descriptor >> 6)]
        var at = isSingleSegment ? 5 : 6
        guard bytes.byteCount >= at + dictionaryBytes + sizeBytes else { return nil }
        var dictionary: UInt32 = 0
        for index in 0..<dictionaryBytes { dictionary |= UInt32(bytes[at + index]) << UInt32(index * 8) }
        at += dictionaryBytes
        var size: UInt64 = 0
        for index in 0..<sizeBytes { size |= UInt64(bytes[at + index]) << UInt64(index * 8) }
        if sizeBytes == 2 { size += 256 }
        byteCount = at + sizeBytes
        contentSize = sizeBytes == 0 ? nil : size
        hasChecksum = descriptor & 0x04 != 0
        needsDictionary = dictionary != 0
    }

    static func hasMagic(_ bytes: RawSpan) -> Bool {
        bytes.byteCount >= 4 && bytes[0] == 0x28 && bytes[1] == 0xb5 && bytes[2] == 0x2f && bytes[3] == 0xfd
    }

    /// The whole length of the skippable frame that `bytes` begin with; nil where they begin with none.
    static func skippable(_ bytes: RawSpan) -> UInt64? {
        guard bytes.byteCount >= 8, bytes[0] & 0xf0 == 0x50, bytes[1] == 0x2a, bytes[2] == 0x4d, bytes[3] == 0x18
        else { return nil }
        var size: UInt64 = 0
        for index in 4..<8 { size |= UInt64(bytes[index]) << UInt64((index - 4) * 8) }
        return size + 8
    }
}
