/// The numbers of an EROFS image as this module writes and reads it: blocks of 512 bytes, so that a body of a tar, which
/// begins at a multiple of 512, is a run of blocks of another device.
package enum ErofsFormat {
    package static let blockSize = 512
    static let blockBits = 9
    static let superblockOffset = 1024
    static let superblockSize = 128
    static let deviceSlotSize = 128
    /// Where the device table begins.
    static let deviceTable = superblockOffset + superblockSize
    static let magic: UInt32 = 0xe0f5_e1e2
    /// Inodes lie at multiples of this; an inode's number is its place divided by it.
    static let slotSize = 32
    static let inodeSize = 64
    static let compactInodeSize = 32
    /// feature_compat: times of inodes are modification times.
    static let compatMTime: UInt32 = 2
    /// feature_incompat: chunked files, a device table.
    static let incompatChunks: UInt32 = 4
    static let incompatDevices: UInt32 = 8
    static let directoryEntrySize = 12
    static let attributeHeaderSize = 12
    /// The chunk format's bit that says: indexes of 8 bytes.
    static let chunkIndexes: UInt32 = 0x20
    static let chunkIndexSize = 8
    /// An address that stands for a hole.
    static let hole: UInt32 = 0xffff_ffff
    /// The largest chunk, 2^40 bytes, in bits over the block's.
    static let mostChunkBits = 31
    /// The most chunks that a file may need here: 1 PiB. More is a file of holes that nobody means.
    static let mostChunks = 1024
    static let longestName = 255
    static let longestValue = 65_535
    static let longestAttributes = 262_148
    /// The most devices whose table leaves the root's number in 16 bits.
    package static let mostDevices = 16_000

    /// Where the inodes begin.
    static func firstInode(devices: Int) -> Int { deviceTable + deviceSlotSize * devices }

    /// Bits over the block's of the one chunk that holds `size` bytes, at most the largest.
    static func chunkBits(_ size: Int64) -> Int {
        let blocks = UInt64(size > 0 ? size - 1 : 0) >> UInt64(blockBits)
        return min(UInt64.bitWidth - blocks.leadingZeroBitCount, mostChunkBits)
    }

    /// The number of chunks of a file that has bytes.
    static func chunkCount(_ size: Int64) -> Int {
        Int((UInt64(size) - 1) >> UInt64(chunkBits(size) + blockBits)) + 1
    }

    /// A device number as an inode has it.
    static func deviceNumber(major: UInt32, minor: UInt32) -> UInt32 {
        minor & 0xff | major << 8 | (minor & ~0xff) << 12
    }

    /// The same taken apart.
    static func device(_ number: UInt32) -> (major: UInt32, minor: UInt32) {
        ((number >> 8) & 0xfff, number & 0xff | (number >> 12) & 0xfff00)
    }

    /// How an inode's data lie.
    enum Layout: UInt16 {
        case plain = 0
        case inline = 2
        case chunks = 4
    }
}

extension Int {
    /// The next multiple of a power of two.
    @inline(__always)
    func rounded(to unit: Int) -> Int { (self + unit - 1) & ~(unit - 1) }
}
