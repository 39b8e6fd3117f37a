import LayerModel
import TarCodec

/// Makes an image from a tree whose places are decided, a piece at a time.
struct ImageWriter {
    private enum Phase {
        case head
        case inodes(UInt32)
        case directories(UInt32)
        case links(UInt32)
        case end
    }

    private let layout: PackLayout
    private let devices: [PackDevice]
    private let uuid: [UInt8]
    private var phase = Phase.head
    /// The directory under way.
    private var block = DirectoryBlock()
    private var order: DirectoryOrder?
    /// Bytes of all pieces so far.
    private(set) var written = 0
    private(set) var piece = ImageBytes()

    /// About as long a piece is.
    private static let pieceSize = 1 << 20

    init(_ layout: PackLayout, _ devices: [PackDevice], _ uuid: [UInt8]) {
        precondition(uuid.count == 16, "a UUID has 16 bytes")
        precondition(devices.count <= ErofsFormat.mostDevices, "too many devices")
        self.layout = layout
        self.devices = devices
        self.uuid = uuid
        piece.reserve(min(layout.blocks * ErofsFormat.blockSize, Self.pieceSize) + 4096)
    }

    /// Makes the next piece; false at the end.
    mutating func fill(_ tree: borrowing PackTree) -> Bool {
        piece.removeAll()
        while piece.count < Self.pieceSize {
            switch phase {
            case .head:
                putHead(tree)
                phase = .inodes(0)
            case .inodes(let position) where position < layout.inodes.count:
                put(layout.inodes[position], tree)
                phase = .inodes(position + 1)
            case .inodes:
                pad(to: layout.inodesEnd)
                phase = .directories(0)
            case .directories(let position) where position < layout.directories.count:
                if putDirectory(layout.directories[position], tree) { phase = .directories(position + 1) }
            case .directories: phase = .links(0)
            case .links(let position) where position < layout.inodes.count:
                putTarget(tree.inodes[layout.inodes[position]], tree)
                phase = .links(position + 1)
            case .links: phase = .end
            case .end:
                written += piece.count
                return piece.count > 0
            }
        }
        written += piece.count
        return true
    }

    private var place: Int { written + piece.count }

    private mutating func pad(to place: Int) {
        precondition(place >= self.place, "something is longer than it was planned")
        piece.zeros(place - self.place)
    }

    // MARK: head

    private mutating func putHead(_ tree: borrowing PackTree) {
        piece.zeros(ErofsFormat.superblockOffset)
        piece.put(ErofsFormat.magic)
        // No checksum: what it would find is found by the digests of the record, and erofs-utils of 2025 crash on it.
        piece.put(UInt32(0))
        piece.put(ErofsFormat.compatMTime)
        piece.put(UInt8(ErofsFormat.blockBits))
        piece.put(UInt8(0))
        piece.put(UInt16(tree.inodes[tree.inode(of: PackTree.root)].number))
        piece.put(UInt64(layout.inodes.count))
        // The time of compact inodes, of which there are none.
        piece.zeros(12)
        piece.put(UInt32(layout.blocks))
        // Inodes are numbered from the image's beginning; there are no shared attributes.
        piece.zeros(8)
        piece.append(uuid)
        piece.zeros(16)
        piece.put(ErofsFormat.incompatChunks | ErofsFormat.incompatDevices)
        piece.zeros(2)
        piece.put(UInt16(devices.count))
        piece.put(UInt16(ErofsFormat.deviceTable / ErofsFormat.deviceSlotSize))
        pad(to: ErofsFormat.deviceTable)
        var address = layout.blocks
        for device in devices {
            precondition(device.tag.isEmpty || device.tag.count == 64, "a tag has 64 bytes")
            let blocks = Int(device.byteCount).rounded(to: ErofsFormat.blockSize) / ErofsFormat.blockSize
            piece.append(device.tag)
            piece.zeros(64 - device.tag.count)
            piece.put(UInt32(blocks))
            // Where it would begin behind the image and the devices before it, if they were one.
            piece.put(UInt32(exactly: address) ?? 0)
            piece.zeros(ErofsFormat.deviceSlotSize - 72)
            address += blocks
        }
    }

    // MARK: inodes

    private mutating func put(_ index: UInt32, _ tree: borrowing PackTree) {
        let inode = tree.inodes[index]
        pad(to: Int(inode.number) * ErofsFormat.slotSize)
        let kind = inode.kind
        let isInline = kind == .symbolicLink && tree.isInline(inode)
        let isChunked = kind == .regular && inode.size > 0
        let layout: ErofsFormat.Layout = isChunked ? .chunks : isInline ? .inline : .plain
        let area = tree.attributeArea(inode)
        // Extended inodes, which have the time and all ids.
        piece.put(1 | layout.rawValue << 1)
        piece.put(area == 0 ? 0 : UInt16((area - ErofsFormat.attributeHeaderSize) / 4 + 1))
        piece.put(inode.mode)
        piece.put(UInt16(0))
        piece.put(UInt64(kind == .directory ? tree.directories[inode.content].byteCount : inode.size))
        piece.put(value(inode, kind, tree))
        piece.put(UInt32(truncatingIfNeeded: number))
        number += 1
        piece.put(inode.uid)
        piece.put(inode.gid)
        piece.put(UInt64(bitPattern: inode.seconds))
        piece.put(inode.nanoseconds)
        piece.put(inode.linkCount)
        piece.zeros(16)
        if area > 0 { putAttributes(inode, tree) }
        if isInline { piece.append(tree.arena.span(inode.content, Int(inode.size))) }
        if isChunked { putChunks(inode) }
    }

    /// The running number of the inode under way, which stat(2) of 32 bits shows.
    private var number = 1
    /// The block at which the next long target will lie.
    private var nextTarget = 0

    /// The field whose meaning the kind decides.
    private mutating func value(_ inode: PackInode, _ kind: EntryKind, _ tree: borrowing PackTree) -> UInt32 {
        switch kind {
        case .directory: return tree.directories[inode.content].block
        case .regular where inode.size > 0:
            return UInt32(ErofsFormat.chunkBits(inode.size)) | ErofsFormat.chunkIndexes
        case .symbolicLink where !tree.isInline(inode):
            if nextTarget == 0 { nextTarget = layout.linkBlocks }
            defer { nextTarget += Int(inode.size).rounded(to: ErofsFormat.blockSize) / ErofsFormat.blockSize }
            return UInt32(nextTarget)
        case .characterDevice, .blockDevice: return inode.content
        default: return 0
        }
    }

    private mutating func putAttributes(_ inode: PackInode, _ tree: borrowing PackTree) {
        piece.zeros(ErofsFormat.attributeHeaderSize)
        let attributes = tree.attributeBytes(inode.attributes)
        let start = piece.count
        piece.append(attributes)
        var position = 0
        while position < attributes.byteCount, let entry = AttributeEntry.next(attributes, &position) {
            // A list's entries for the owner, the mask and the others are what the mode says, as after chmod(2).
            guard entry.index == AttributeNames.accessList else { continue }
            putMode(inode.mode, into: attributes, entry, at: start)
        }
    }

    private mutating func putMode(_ mode: UInt16, into attributes: RawSpan, _ entry: AttributeEntry, at start: Int) {
        let list = attributes.extracting(entry.value..<entry.value + entry.valueCount)
        var hasMask = false
        for at in stride(from: 4, to: list.byteCount, by: 8) where list.number16(at) == AccessLimit.Tag.mask {
            hasMask = true
        }
        for at in stride(from: 4, to: list.byteCount, by: 8) {
            let bits: UInt16
            switch list.number16(at) {
            case AccessLimit.Tag.owner: bits = mode >> 6 & 7
            case AccessLimit.Tag.owningGroup where !hasMask, AccessLimit.Tag.mask: bits = mode >> 3 & 7
            case AccessLimit.Tag.other: bits = mode & 7
            default: continue
            }
            piece.change(start + entry.value + at + 2) { _ in UInt8(bits) }
        }
    }

    private mutating func putChunks(_ inode: PackInode) {
        piece.zeros(place.rounded(to: ErofsFormat.chunkIndexSize) - place)
        let blocks = UInt32(truncatingIfNeeded: 1 << ErofsFormat.chunkBits(inode.size))
        for chunk in 0..<UInt32(ErofsFormat.chunkCount(inode.size)) {
            let isHole = inode.content == ErofsFormat.hole
            piece.put(UInt16(0))
            piece.put(isHole ? 0 : inode.device)
            piece.put(isHole ? ErofsFormat.hole : inode.content + chunk * blocks)
        }
    }

    private mutating func putTarget(_ inode: PackInode, _ tree: borrowing PackTree) {
        guard inode.kind == .symbolicLink, !tree.isInline(inode) else { return }
        piece.append(tree.arena.span(inode.content, Int(inode.size)))
        pad(to: place.rounded(to: ErofsFormat.blockSize))
    }

    // MARK: directories

    /// Puts blocks of a directory; true once it is complete.
    private mutating func putDirectory(_ node: UInt32, _ tree: borrowing PackTree) -> Bool {
        var order = order ?? DirectoryOrder(node, tree)
        while piece.count < Self.pieceSize {
            guard let entry = order.next(tree) else {
                block.put(into: &piece, tree)
                pad(to: place.rounded(to: ErofsFormat.blockSize))
                self.order = nil
                block.size = DirectorySize()
                return true
            }
            if block.size.add(tree.nameCount(entry)) {
                block.put(into: &piece, tree)
                pad(to: place.rounded(to: ErofsFormat.blockSize))
            }
            switch entry {
            case .itself: block.add(entry, tree.inode(of: node), tree)
            case .parent: block.add(entry, tree.inode(of: tree.directories[node].parent), tree)
            case .name(let name): block.add(entry, tree.names[name].inode, tree)
            }
        }
        self.order = order
        return false
    }
}

/// The entries of one block of a directory.
struct DirectoryBlock {
    var size = DirectorySize()
    private var entries: [(entry: DirectoryOrder.Entry, number: UInt32, type: UInt8)] = []

    mutating func add(_ entry: DirectoryOrder.Entry, _ inode: UInt32, _ tree: borrowing PackTree) {
        let type: UInt8 =
            switch tree.inodes[inode].kind {
            case .regular: 1
            case .directory: 2
            case .characterDevice: 3
            case .blockDevice: 4
            case .fifo: 5
            case .socket: 6
            case .symbolicLink: 7
            case .unknown: 0
            }
        entries.append((entry, tree.inodes[inode].number, type))
    }

    /// Puts the entries, then their names.
    mutating func put(into piece: inout ImageBytes, _ tree: borrowing PackTree) {
        var offset = entries.count * ErofsFormat.directoryEntrySize
        for entry in entries {
            piece.put(UInt64(entry.number))
            piece.put(UInt16(offset))
            piece.put(entry.type)
            piece.put(UInt8(0))
            offset += tree.nameCount(entry.entry)
        }
        for entry in entries {
            switch entry.entry {
            case .itself: piece.put(UInt8(ascii: "."))
            case .parent: piece.append([UInt8(ascii: "."), UInt8(ascii: ".")])
            case .name(let name): piece.append(tree.text(name))
            }
        }
        entries.removeAll(keepingCapacity: true)
    }
}
