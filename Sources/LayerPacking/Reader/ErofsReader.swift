package import LayerModel

/// What an image says of a file.
package struct ErofsInode: Sendable, Equatable {
    package var number: UInt64
    package var kind: EntryKind
    /// Type and permission bits.
    package var mode: UInt16
    package var size: Int64
    package var uid: UInt32
    package var gid: UInt32
    package var seconds: Int64
    package var nanoseconds: UInt32
    package var linkCount: UInt32
    package var deviceMajor: UInt32
    package var deviceMinor: UInt32
    /// Where the attributes lie in the image, behind their header.
    package var attributes: Range<Int>
    var layout: ErofsFormat.Layout
    var value: UInt32
    /// Where the inode and its attributes end.
    var end: Int

    /// Whether this is overlayfs's form of a deletion.
    package var isWhiteout: Bool { kind == .characterDevice && deviceMajor == 0 && deviceMinor == 0 }
}

/// An attribute in an image: what its name begins with, and where the rest of it and the value lie.
package struct ErofsAttribute: Sendable {
    package var index: UInt8
    package var prefix: StaticString
    package var name: Range<Int>
    package var value: Range<Int>
}

/// Where bytes of a file lie.
package enum ErofsChunk: Sendable, Equatable {
    case hole
    /// At a byte of a device, counted from 1.
    case bytes(device: Int, offset: Int64)
}

/// Reads an image as this module writes it, of which nothing is believed: every place is checked, and nothing is followed for
/// ever.
package struct ErofsReader: ~Escapable {
    package let image: RawSpan
    package let root: UInt64
    package let inodeCount: UInt64
    package let deviceCount: Int
    /// Bytes that the image must have.
    package let byteCount: Int

    @_lifetime(copy image)
    package init(_ image: RawSpan) throws(ErofsProblem) {
        let start = ErofsFormat.superblockOffset
        guard image.byteCount >= start + ErofsFormat.superblockSize, image.number32(start) == ErofsFormat.magic else {
            throw .noSuperblock
        }
        guard image[start + 12] == ErofsFormat.blockBits, image[start + 90] == 0 else { throw .unknownBlockSize }
        let known = ErofsFormat.incompatChunks | ErofsFormat.incompatDevices
        guard image.number32(start + 80) & ~known == 0, image[start + 13] == 0, image.number32(start + 40) == 0,
            image.number16(start + 84) == 0
        else { throw .unknownFeature }
        byteCount = Int(image.number32(start + 36)) * ErofsFormat.blockSize
        guard byteCount <= image.byteCount else { throw .truncated }
        self.image = image.extracting(0..<byteCount)
        root = UInt64(image.number16(start + 14))
        inodeCount = image.number64(start + 16)
        deviceCount = Int(image.number16(start + 86))
        table = Int(image.number16(start + 88)) * ErofsFormat.deviceSlotSize
        guard table + deviceCount * ErofsFormat.deviceSlotSize <= byteCount else { throw .badDeviceTable }
        guard try inode(root).kind == .directory else { throw .badInode }
    }

    private let table: Int

    /// The image's UUID, 16 bytes.
    package var uuid: [UInt8] {
        image.extracting(ErofsFormat.superblockOffset + 48..<ErofsFormat.superblockOffset + 64).copied()
    }

    /// The devices of an image of which only the beginning is there, the table included.
    package static func devices(inHead head: RawSpan) throws(ErofsProblem) -> [PackDevice] {
        let start = ErofsFormat.superblockOffset
        guard head.byteCount >= start + ErofsFormat.superblockSize, head.number32(start) == ErofsFormat.magic else {
            throw .noSuperblock
        }
        let table = Int(head.number16(start + 88)) * ErofsFormat.deviceSlotSize
        var devices: [PackDevice] = []
        for number in 0..<Int(head.number16(start + 86)) {
            devices.append(try device(at: table + number * ErofsFormat.deviceSlotSize, in: head))
        }
        return devices
    }

    private static func device(at slot: Int, in image: RawSpan) throws(ErofsProblem) -> PackDevice {
        guard slot + ErofsFormat.deviceSlotSize <= image.byteCount else { throw .badDeviceTable }
        var tag = image.extracting(slot..<slot + 64).copied()
        if let end = tag.firstIndex(of: 0) { tag.removeLast(tag.count - end) }
        return PackDevice(tag: tag, byteCount: Int64(image.number32(slot + 64)) * Int64(ErofsFormat.blockSize))
    }

    /// A device of the table, counted from 1; its bytes are rounded up to whole blocks.
    package func device(_ number: Int) throws(ErofsProblem) -> PackDevice {
        guard 1...max(deviceCount, 1) ~= number, deviceCount > 0 else { throw .badDeviceTable }
        return try Self.device(at: table + (number - 1) * ErofsFormat.deviceSlotSize, in: image)
    }

    // MARK: inodes

    package func inode(_ number: UInt64) throws(ErofsProblem) -> ErofsInode {
        guard number <= UInt64(image.byteCount / ErofsFormat.slotSize) else { throw .badInode }
        let at = Int(number) * ErofsFormat.slotSize
        guard at + ErofsFormat.compactInodeSize <= image.byteCount else { throw .badInode }
        let format = image.number16(at)
        let isExtended = format & 1 != 0
        let inodeSize = isExtended ? ErofsFormat.inodeSize : ErofsFormat.compactInodeSize
        guard at + inodeSize <= image.byteCount, let layout = ErofsFormat.Layout(rawValue: format >> 1) else {
            throw .badInode
        }
        let mode = image.number16(at + 4)
        let size = isExtended ? image.number64(at + 8) : UInt64(image.number32(at + 8))
        let kind = EntryKind(mode: UInt32(mode))
        guard kind != .unknown, let size = Int64(exactly: size), (layout == .chunks) == (kind == .regular && size > 0)
        else { throw .badInode }
        let value = image.number32(at + 16)
        let (major, minor) =
            kind == .characterDevice || kind == .blockDevice ? ErofsFormat.device(value) : (0, 0)
        let attributes = try attributeArea(at + inodeSize, Int(image.number16(at + 2)))
        let time = ErofsFormat.superblockOffset + 24
        let nanoseconds = isExtended ? image.number32(at + 40) : image.number32(time + 8)
        guard nanoseconds < 1_000_000_000 else { throw .badInode }
        return ErofsInode(
            number: number, kind: kind, mode: mode, size: size,
            uid: isExtended ? image.number32(at + 24) : UInt32(image.number16(at + 24)),
            gid: isExtended ? image.number32(at + 28) : UInt32(image.number16(at + 26)),
            seconds: Int64(bitPattern: isExtended ? image.number64(at + 32) : image.number64(time)),
            nanoseconds: nanoseconds,
            linkCount: isExtended ? image.number32(at + 44) : UInt32(image.number16(at + 6)),
            deviceMajor: major, deviceMinor: minor, attributes: attributes, layout: layout, value: value,
            end: attributes.upperBound)
    }

    /// Where attributes lie: behind a header, of which nothing is used here.
    private func attributeArea(_ start: Int, _ count: Int) throws(ErofsProblem) -> Range<Int> {
        guard count > 0 else { return start..<start }
        let first = start + ErofsFormat.attributeHeaderSize
        let end = first + 4 * (count - 1)
        // Shared attributes lie elsewhere; indexes have none.
        guard count > 1, end <= image.byteCount, image[start + 4] == 0 else { throw .badAttributes }
        return first..<end
    }

    /// The next attribute of an inode; `position` is 0 at first.
    package func nextAttribute(_ inode: ErofsInode, _ position: inout Int) throws(ErofsProblem) -> ErofsAttribute? {
        let area = image.extracting(inode.attributes)
        guard position < area.byteCount else { return nil }
        guard let entry = AttributeEntry.next(area, &position), let prefix = AttributeNames.prefix(entry.index) else {
            throw .badAttributes
        }
        let start = inode.attributes.lowerBound
        return ErofsAttribute(
            index: entry.index, prefix: prefix, name: start + entry.name..<start + entry.name + entry.nameCount,
            value: start + entry.value..<start + entry.value + entry.valueCount)
    }

    // MARK: contents

    /// Where the target of a symbolic link lies in the image.
    package func target(_ inode: ErofsInode) throws(ErofsProblem) -> Range<Int> {
        guard inode.kind == .symbolicLink, inode.size > 0, inode.size <= 4096 else { throw .badTarget }
        let start = inode.layout == .inline ? inode.end : Int(inode.value) * ErofsFormat.blockSize
        let end = start + Int(inode.size)
        guard end <= image.byteCount else { throw .badTarget }
        // The last piece of an inode may not cross a block.
        if inode.layout == .inline, start / ErofsFormat.blockSize != (end - 1) / ErofsFormat.blockSize {
            throw .badTarget
        }
        return start..<end
    }

    /// The bytes of one chunk of a regular file, and how many chunks it has.
    package func chunks(_ inode: ErofsInode) throws(ErofsProblem) -> (count: Int, byteCount: Int64) {
        guard inode.kind == .regular, inode.size > 0 else { return (0, 0) }
        let bits = Int(inode.value & 0x1f) + ErofsFormat.blockBits
        guard inode.value & ~0x1f == ErofsFormat.chunkIndexes else { throw .badChunks }
        let count = (inode.size - 1) >> Int64(bits) + 1
        let start = inode.end.rounded(to: ErofsFormat.chunkIndexSize)
        guard count <= Int64(image.byteCount / ErofsFormat.chunkIndexSize),
            start + Int(count) * ErofsFormat.chunkIndexSize <= image.byteCount
        else { throw .badChunks }
        return (Int(count), 1 << Int64(bits))
    }

    /// Where a chunk lies; `chunks` said how many there are.
    package func chunk(_ inode: ErofsInode, _ index: Int) throws(ErofsProblem) -> ErofsChunk {
        guard index >= 0, index < (try chunks(inode).count) else { throw .badChunks }
        let at = inode.end.rounded(to: ErofsFormat.chunkIndexSize) + index * ErofsFormat.chunkIndexSize
        let block = image.number32(at + 4)
        if block == ErofsFormat.hole { return .hole }
        let device = Int(image.number16(at + 2))
        guard image.number16(at) == 0, device >= 1, device <= deviceCount else { throw .badChunks }
        return .bytes(device: device, offset: Int64(block) * Int64(ErofsFormat.blockSize))
    }
}
