import LayerModel
import LayerRules
import TarCodec

/// What a link's header says of the inode.
struct LinkMetadata {
    var mode: UInt32
    var uid: UInt32
    var gid: UInt32
    var seconds: Int64
    var nanoseconds: UInt32
    var attributes = AttributeSet()
}

/// Hard links.
extension PackJob: LinkMaker {
    func record(_ name: UInt32) -> UInt32 { name }
    func path(of name: UInt32) -> PathBytes { tree.path(name) }
    func lies(_ node: UInt32, below name: UInt32) -> Bool { tree.lies(node, below: name) }

    static func attributeBytes(_ metadata: LinkMetadata) -> Int { metadata.attributes.byteCount }

    mutating func metadata(of entry: borrowing TarDecoder) throws(LayerError) -> LinkMetadata {
        let fields = entry.fields
        let (uid, gid) = try check { () throws(EntryRefusal) in try EntryRules.owner(of: fields) }
        let (seconds, nanoseconds) = EntryRules.time(fields.mtimeSeconds, fields.mtimeNanoseconds, isExact: false)
        var metadata = LinkMetadata(
            mode: fields.mode & 0o7777, uid: uid, gid: gid, seconds: seconds, nanoseconds: nanoseconds)
        try metadata.attributes.take(entry, rules, &report)
        return metadata
    }

    func targetKind(_ source: UInt32) -> EntryKind { tree.names[source].kind }

    mutating func makeName(_ name: UInt32, of source: UInt32, _ kind: EntryKind, _ metadata: LinkMetadata)
        throws(LayerError)
    {
        let known = tree.names[source]
        let isLimited = known.flags.contains(.limited) || tree.names[name].flags.contains(.limited)
        if source != name { _ = clear(name) }
        tree.put(known.inode, at: name, .unpacked)
        if isLimited { tree.mark(name, .limited) }
        tree.markUnpacked(tree.names[name].parent)
        try apply(metadata, to: known.inode, isLimited: isLimited)
    }

    /// A link's header describes the inode, too.
    private mutating func apply(_ metadata: LinkMetadata, to index: UInt32, isLimited: Bool) throws(LayerError) {
        var inode = tree.inodes[index]
        inode.uid = metadata.uid
        inode.gid = metadata.gid
        inode.seconds = metadata.seconds
        inode.nanoseconds = metadata.nanoseconds
        if inode.kind != .symbolicLink {
            var mode = metadata.mode
            // The header of a name repeats the mode that went with the list.
            if isLimited { mode &= ~0o077 | UInt32(inode.mode) }
            inode.mode = UInt16(inode.kind.modeBits | mode)
        }
        if !metadata.attributes.isEmpty {
            set = metadata.attributes
            inode.attributes = try addAttributes(inode.kind, to: inode.attributes)
        }
        tree.inodes[index] = inode
    }

    // MARK: links that wait

    mutating func reserve(_ name: UInt32) {
        _ = clear(name)
        tree.awaitLink(name)
    }

    func isAwaited(_ name: UInt32) -> Bool { tree.names[name].flags.contains(.deferred) }
    func isWanted(_ name: UInt32) -> Bool { isAwaited(name) && !tree.isRemoved(tree.names[name].parent) }
    mutating func resume(at offset: UInt64) { entryOffset = offset }

    // MARK: devices 0:0

    func isLeftOut(_ source: UInt32, isLast: Bool) -> Bool { tree.names[source].flags.contains(.markDevice) && isLast }

    /// A further name of a device 0:0 that was taken for a deletion is one, too.
    mutating func leaveOut(_ name: UInt32, as source: UInt32, _ metadata: LinkMetadata) {
        report.warn("\(tree.path(name)): a name of a device 0:0 was taken for a whiteout")
        if tree.names[name].flags.contains(.deferred) { tree.clear(name) }
        delete(name, Mark(metadata), isDevice: true)
    }

    // MARK: aufs's files

    func keptFile(_ base: RawSpan) -> UInt32? {
        guard let plinkNode, let file = tree.existingName(base, in: plinkNode), tree.names[file].kind == .regular
        else { return nil }
        return file
    }

    mutating func makeName(_ name: UInt32, ofKept file: UInt32) {
        let inode = tree.names[file].inode
        _ = clear(name)
        tree.put(inode, at: name, .unpacked)
        tree.markUnpacked(tree.names[name].parent)
    }
}
