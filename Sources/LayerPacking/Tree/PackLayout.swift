import LayerModel

/// Where everything lies in an image.
///
/// The root's inode comes first, then, directory by directory in preorder, those of a directory's names in the order of
/// the names: what a listing with metadata reads lies together. The contents of directories follow in the same order, then
/// the targets of links that are too long for their inodes.
struct PackLayout {
    /// Inodes in the order of the image; of each the first name's place counts.
    var inodes = Table<UInt32>()
    /// Directories in preorder.
    var directories = Table<UInt32>()
    /// Where the inodes end and directories begin, in bytes.
    var inodesEnd = 0
    /// Where the targets of links begin, in blocks.
    var linkBlocks = 0
    /// Blocks of the whole image.
    var blocks = 0
    /// Names of all directories, whiteouts included.
    var nameCount: UInt64 = 0
    /// Bytes of the non-directories, each once.
    var fileBytes: UInt64 = 0

    init(_ tree: inout PackTree, firstInode: Int) throws(PackFull) {
        var sorter = NameSorter()
        var offset = firstInode
        try place(PackTree.root, tree.inode(of: PackTree.root), &tree, &offset)
        var waiting = [PackTree.root]
        while let node = waiting.popLast() {
            _ = directories.append(node)
            sorter.sort(node, &tree)
            try arrange(node, &tree, &offset, &waiting)
            tree.directories[node].byteCount = DirectorySize.of(node, tree)
        }
        inodesEnd = offset.rounded(to: ErofsFormat.blockSize)
        blocks = inodesEnd / ErofsFormat.blockSize
        for position in 0..<directories.count {
            let node = directories[UInt32(position)]
            guard let block = UInt32(exactly: blocks) else { throw PackFull() }
            tree.directories[node].block = block
            blocks += Int(tree.directories[node].byteCount).rounded(to: ErofsFormat.blockSize) / ErofsFormat.blockSize
        }
        linkBlocks = blocks
        for position in 0..<inodes.count {
            let inode = tree.inodes[inodes[UInt32(position)]]
            guard inode.kind == .symbolicLink, !tree.isInline(inode) else { continue }
            blocks += Int(inode.size).rounded(to: ErofsFormat.blockSize) / ErofsFormat.blockSize
        }
        guard blocks < Int(UInt32.max) else { throw PackFull() }
    }

    /// Places the inodes of a directory's names.
    private mutating func arrange(
        _ node: UInt32, _ tree: inout PackTree, _ offset: inout Int, _ waiting: inout [UInt32]
    ) throws(PackFull) {
        let firstWaiting = waiting.count
        var subdirectories: UInt32 = 0
        var next = tree.directories[node].firstChild
        while next != 0 {
            let name = tree.names[next]
            next = name.next
            nameCount += 1
            if tree.inodes[name.inode].number == 0 { try place(node, name.inode, &tree, &offset) }
            if name.kind == .directory {
                subdirectories += 1
                waiting.append(tree.inodes[name.inode].content)
            } else {
                tree.inodes[name.inode].linkCount += 1
            }
        }
        tree.inodes[tree.inode(of: node)].linkCount = 2 + subdirectories
        waiting[firstWaiting...].reverse()
    }

    private mutating func place(_ node: UInt32, _ index: UInt32, _ tree: inout PackTree, _ offset: inout Int)
        throws(PackFull)
    {
        let inode = tree.inodes[index]
        let size = tree.imageSize(inode)
        if inode.kind == .symbolicLink, tree.isInline(inode) {
            // What follows an inode as its last piece may not cross a block.
            let left = ErofsFormat.blockSize - offset % ErofsFormat.blockSize
            if size > left { offset += left }
        }
        guard let number = UInt32(exactly: offset / ErofsFormat.slotSize) else { throw PackFull() }
        tree.inodes[index].number = number
        tree.inodes[index].linkCount = 0
        offset += size.rounded(to: ErofsFormat.slotSize)
        _ = inodes.append(index)
        if inode.kind != .directory { fileBytes &+= UInt64(inode.size) }
    }
}

/// How a directory's entries fall into blocks: none crosses from one into the next.
struct DirectorySize {
    private var blocks = 0
    private var used = 0

    /// Adds an entry; true if it begins a new block.
    mutating func add(_ nameCount: Int) -> Bool {
        let count = ErofsFormat.directoryEntrySize + nameCount
        guard used + count > ErofsFormat.blockSize else {
            used += count
            return false
        }
        blocks += 1
        used = count
        return true
    }

    /// The bytes of a directory's blocks; the last one ends where its names do.
    static func of(_ node: UInt32, _ tree: borrowing PackTree) -> Int64 {
        var size = DirectorySize()
        var order = DirectoryOrder(node, tree)
        while let entry = order.next(tree) { _ = size.add(tree.nameCount(entry)) }
        return Int64(size.blocks * ErofsFormat.blockSize + size.used)
    }
}

extension PackTree {
    /// Bytes of a directory entry's name.
    func nameCount(_ entry: DirectoryOrder.Entry) -> Int {
        switch entry {
        case .itself: 1
        case .parent: 2
        case .name(let name): Int(names[name].length)
        }
    }

    /// Bytes of the attributes with their header; 0 where there are none.
    func attributeArea(_ inode: PackInode) -> Int {
        guard inode.attributes != 0 else { return 0 }
        return ErofsFormat.attributeHeaderSize + Int(attributes[inode.attributes].count)
    }

    /// Whether a symbolic link's target follows its inode.
    func isInline(_ inode: PackInode) -> Bool {
        ErofsFormat.inodeSize + attributeArea(inode) + Int(inode.size) <= ErofsFormat.blockSize
    }

    /// Bytes of an inode in the image, with what follows it.
    func imageSize(_ inode: PackInode) -> Int {
        let size = ErofsFormat.inodeSize + attributeArea(inode)
        switch inode.kind {
        case .symbolicLink where isInline(inode): return size + Int(inode.size)
        case .regular where inode.size > 0:
            return size.rounded(to: ErofsFormat.chunkIndexSize)
                + ErofsFormat.chunkIndexSize * ErofsFormat.chunkCount(inode.size)
        default: return size
        }
    }
}
