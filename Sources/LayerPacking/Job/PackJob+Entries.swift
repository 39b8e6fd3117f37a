import Glibc
import LayerModel
import LayerRules
import TarCodec

/// Files, directories, symbolic links and nodes.
extension PackJob {
    /// Takes whatever lies under a name away. True if lower directories would show through a directory put there, but
    /// must not: this layer had a whiteout or another kind of thing under the name.
    mutating func clear(_ name: UInt32) -> Bool {
        let known = tree.names[name]
        let hides = known.kind != .unknown || !known.flags.isDisjoint(with: [.whiteout, .deferred])
        tree.clear(name)
        return hides
    }

    /// What the entry says of its inode, whatever kind it is of. Its attributes are in `set` afterwards.
    private mutating func described(_ entry: borrowing TarDecoder, _ kind: EntryKind) throws(LayerError) -> PackInode {
        let fields = entry.fields
        let (uid, gid) = try check { () throws(EntryRefusal) in try EntryRules.owner(of: fields) }
        var inode = PackInode()
        inode.mode = UInt16(kind.modeBits | (kind == .symbolicLink ? 0o777 : fields.mode & 0o7777))
        (inode.uid, inode.gid) = (uid, gid)
        (inode.seconds, inode.nanoseconds) = EntryRules.time(
            fields.mtimeSeconds, fields.mtimeNanoseconds, isExact: false)
        return inode
    }

    /// Makes a regular file; where its bytes lie is not known yet.
    mutating func makeFile(_ entry: borrowing TarDecoder, at name: UInt32) throws(LayerError) -> UInt32 {
        var inode = try described(entry, .regular)
        inode.size = entry.fields.size
        try count(fileBytes: inode.size)
        _ = clear(name)
        tree.markUnpacked(tree.names[name].parent)
        inode.attributes = try readAttributes(of: entry, .regular)
        let index = tree.inodes.append(inode)
        tree.put(index, at: name, .unpacked)
        return index
    }

    /// Counts a file's bytes against the caller's bound.
    private mutating func count(fileBytes size: Int64) throws(LayerError) {
        fileBytes &+= UInt64(max(size, 0))
        guard let limit = options.maxBytes, fileBytes > limit else { return }
        throw LayerError(
            .limitExceeded, "pack",
            cause: .archive(offset: entryOffset, reason: "the files have more than \(limit) bytes"))
    }

    mutating func makeDirectory(_ entry: borrowing TarDecoder, at name: UInt32) throws(LayerError) {
        if let node = tree.directory(name) {
            tree.markUnpacked(node)
            return try describeDirectory(entry, node)
        }
        var inode = try described(entry, .directory)
        let hides = clear(name)
        inode.attributes = try readAttributes(of: entry, .directory)
        let node = tree.makeDirectory(inode, at: name, [])
        tree.markUnpacked(node)
        if hides { markOpaque(node) }
    }

    /// Gives a directory that is there already what an entry says of it.
    mutating func describeDirectory(_ entry: borrowing TarDecoder, _ node: UInt32) throws(LayerError) {
        let index = tree.inode(of: node)
        var inode = try described(entry, .directory)
        inode.content = node
        inode.attributes = try readAttributes(of: entry, .directory, instead: tree.inodes[index].attributes)
        tree.inodes[index] = inode
        tree.directories[node].flags.remove(.implied)
    }

    mutating func makeSymbolicLink(_ entry: borrowing TarDecoder, at name: UInt32) throws(LayerError) {
        var inode = try described(entry, .symbolicLink)
        _ = clear(name)
        let target = entry.linkName
        guard target.byteCount <= EntryRules.longestTarget else { throw refusal(.longTarget) }
        // As symlink(2) would answer.
        guard target.byteCount > 0 else {
            throw LayerError(SystemCallError("symlinkat", errno: ENOENT), "pack", path: nil)
        }
        inode.size = Int64(target.byteCount)
        inode.content = try keep(target)
        inode.attributes = try readAttributes(of: entry, .symbolicLink)
        tree.put(tree.inodes.append(inode), at: name, .unpacked)
    }

    mutating func makeNode(_ entry: borrowing TarDecoder, at name: UInt32) throws(LayerError) {
        let fields = entry.fields
        let kind: EntryKind =
            fields.type == TarType.fifo ? .fifo : fields.type == TarType.character ? .characterDevice : .blockDevice
        var inode = try described(entry, kind)
        if kind != .fifo {
            let (major, minor) = try check { () throws(EntryRefusal) in try EntryRules.device(of: fields) }
            inode.content = ErofsFormat.deviceNumber(major: major, minor: minor)
        }
        _ = clear(name)
        inode.attributes = try readAttributes(of: entry, kind)
        tree.put(tree.inodes.append(inode), at: name, .unpacked)
    }
}
