import LayerModel
import LayerRules
import TarCodec

/// What a whiteout takes over from its entry, so that the layer it becomes part of has the same bytes again.
struct Mark {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var seconds: Int64 = 0
    var nanoseconds: UInt32 = 0

    init(_ fields: TarFields) {
        if EntryRules.hasOwner(fields) { (uid, gid) = (UInt32(fields.uid), UInt32(fields.gid)) }
        (seconds, nanoseconds) = EntryRules.time(fields.mtimeSeconds, fields.mtimeNanoseconds, isExact: false)
    }

    init(_ link: LinkMetadata) {
        (uid, gid, seconds, nanoseconds) = (link.uid, link.gid, link.seconds, link.nanoseconds)
    }
}

/// Whiteouts and opaque markers.
extension PackJob {
    /// A deletion. It concerns the layers below only: what this layer has put there stays; of a directory, what this layer has
    /// put inside. `isDevice`: it is a device 0:0, of which links may be further names.
    mutating func delete(_ name: UInt32, _ mark: Mark, isDevice: Bool) {
        let known = tree.names[name]
        if !known.flags.contains(.deferred) { delete(name, known, mark) }
        // What this layer has put there before stays.
        if isDevice, tree.names[name].kind == .unknown { tree.mark(name, .markDevice) }
    }

    private mutating func delete(_ name: UInt32, _ known: PackName, _ mark: Mark) {
        if known.flags.contains(.unpacked), known.kind != .unknown {
            guard let child = tree.directory(name) else { return }
            keepOnlyUnpacked(child)
            markOpaque(child)
            return
        }
        if known.kind != .unknown { tree.clear(name) }
        writeWhiteout(name, mark)
    }

    /// Writes a deletion, unless nothing below has the name.
    private mutating func writeWhiteout(_ name: UInt32, _ mark: Mark) {
        let known = tree.names[name]
        guard options.parents == .unknown, !known.flags.contains(.whiteout), !tree.isBelowOpaque(known.parent)
        else { return }
        var inode = PackInode()
        inode.mode = UInt16(EntryKind.characterDevice.modeBits)
        (inode.uid, inode.gid, inode.seconds, inode.nanoseconds) = (mark.uid, mark.gid, mark.seconds, mark.nanoseconds)
        tree.delete(name, tree.inodes.append(inode))
    }

    /// An opaque marker in a directory: everything below it that this layer has not unpacked goes.
    mutating func hideLower(_ node: UInt32) {
        if node != PackTree.root { tree.markUnpacked(node) }
        keepOnlyUnpacked(node)
        guard node == PackTree.root else { return markOpaque(node) }
        report.isRootOpaque = true
        if options.parents == .unknown {
            report.warn(
                "the layer hides all layers below it: its root is marked, but overlayfs looks at no such mark")
        }
        markOpaque(node)
    }

    /// Hides everything that lower directories have below a directory.
    mutating func markOpaque(_ node: UInt32) {
        // The bottom layer has nothing to hide, and a marker would be seen.
        guard options.parents == .unknown, !tree.directories[node].flags.contains(.opaque) else { return }
        tree.makeOpaque(node)
    }

    /// Removes what lies below a directory and did not come with this layer: whiteouts, and directories that are there for
    /// whiteouts only. Kept directories are gone through.
    private mutating func keepOnlyUnpacked(_ node: UInt32) {
        var waiting = [node]
        while let directory = waiting.popLast() {
            guard tree.directories[directory].flags.contains(.hasStrays) else { continue }
            tree.directories[directory].flags.remove(.hasStrays)
            var next = tree.directories[directory].firstChild
            while next != 0 {
                let name = next
                let known = tree.names[name]
                next = known.next
                if known.flags.contains(.unpacked) {
                    if let child = tree.directory(name) { waiting.append(child) }
                } else if known.kind == .unknown, known.flags.contains(.whiteout) {
                    // The root cannot be marked, so that its deletions are what hides the lower layers.
                    if directory == PackTree.root {
                        tree.directories[directory].flags.insert(.hasStrays)
                    } else {
                        tree.clear(name)
                    }
                } else if known.kind != .unknown {
                    tree.clear(name)
                }
            }
        }
    }
}
