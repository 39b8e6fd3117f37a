import LayerModel

/// The last bytes of a layer with an index.
enum IndexFooter {
    /// The frame that decoders skip and these formats use.
    static let skippableMagic: [UInt8] = [0x50, 0x2a, 0x4d, 0x18]
    static let zstdMagic = Array("GNUlInUx".utf8)
    static let oldZstdMagic = Array("GnUlInUx".utf8)
    /// With the skippable frame's header.
    static let zstdByteCount = 72
    static let oldZstdByteCount = 48
    static let estargzByteCount = 51
    static let oldStargzByteCount = 47
    static let externalByteCount = 46

    /// A table of contents and a tar-split of these places.
    static func zstd(_ table: IndexPlace, _ tarSplit: IndexPlace) -> [UInt8] {
        var bytes = skippableMagic + littleEndian(UInt32(64))
        for word in [
            table.offset, table.byteCount, table.uncompressedByteCount, 1, tarSplit.offset, tarSplit.byteCount,
            tarSplit.uncompressedByteCount,
        ] { bytes += littleEndian(word) }
        return bytes + zstdMagic
    }

    /// The header of a skippable frame of so many bytes.
    static func skippable(_ byteCount: Int) -> [UInt8] { skippableMagic + littleEndian(UInt32(byteCount)) }

    /// An empty gzip member that says where the member of the table of contents begins.
    static func estargz(_ offset: UInt64) -> [UInt8] {
        let digits = String(offset, radix: 16)
        let text = String(repeating: "0", count: 16 - digits.count) + digits + "STARGZ"
        return member(extra: [0x53, 0x47, 0x16, 0x00] + Array(text.utf8))
    }

    /// The same where the table of contents lies elsewhere.
    static var external: [UInt8] { member(extra: [0x53, 0x47, 0x11, 0x00] + Array("STARGZEXTERNALTOC".utf8)) }

    private static func member(extra: [UInt8]) -> [UInt8] {
        [0x1f, 0x8b, 0x08, 0x04, 0, 0, 0, 0, 0x00, 0xff, UInt8(extra.count), 0] + extra
            + [0x01, 0x00, 0x00, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    private static func littleEndian<Word: FixedWidthInteger>(_ word: Word) -> [UInt8] {
        (0..<Word.bitWidth / 8).map { UInt8(truncatingIfNeeded: word >> Word($0 * 8)) }
    }
}

/// Where a part of an index lies in the layer.
public struct IndexPlace: Sendable, Equatable {
    public var offset: UInt64
    public var byteCount: UInt64
    public var uncompressedByteCount: UInt64

    public init(offset: UInt64, byteCount: UInt64, uncompressedByteCount: UInt64) {
        self.offset = offset
        self.byteCount = byteCount
        self.uncompressedByteCount = uncompressedByteCount
    }
}
