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
    /// A deletion of `name` in a directory. It concerns the layers below only: what this layer has put there stays; of a
    /// directory, what this layer has put inside.
    mutating func applyWhiteout(_ bytes: RawSpan, in node: UInt32, _ mark: Mark) throws(LayerError) {
        let name = try name(bytes, in: node)
        let known = tree.names[name]
        if known.flags.contains(.deferred) { return }
        if known.flags.contains(.unpacked), known.kind != .unknown {
            guard let child = tree.directory(name) else { return }
            keepOnlyUnpacked(child)
            markOpaque(child)
            return
        }
        if known.kind != .unknown { tree.clear(name) }
        writeWhiteout(name, in: node, mark)
    }

    /// Writes a deletion, unless nothing below has the name.
    mutating func writeWhiteout(_ name: UInt32, in node: UInt32, _ mark: Mark) {
        guard options.parents == .unknown, !tree.names[name].flags.contains(.whiteout), !tree.isBelowOpaque(node)
        else { return }
        var inode = PackInode()
        inode.mode = UInt16(EntryKind.characterDevice.modeBits)
        (inode.uid, inode.gid, inode.seconds, inode.nanoseconds) = (mark.uid, mark.gid, mark.seconds, mark.nanoseconds)
        tree.delete(name, tree.inodes.append(inode))
    }

    /// An opaque marker in a directory: everything below it that this layer has not unpacked goes.
    mutating func applyOpaque(_ node: UInt32) {
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

    // MARK: aufs's own names

    /// Files below `.wh..wh.plnk` are kept aside for the links to them; other bookkeeping is left out.
    mutating func beginBookkeeping(_ entry: borrowing TarDecoder, _ cleaned: ArchiveName) throws(LayerError) -> UInt32?
    {
        let type = entry.fields.type
        guard bytes(cleaned.directory, equal: ".wh..wh.plnk"),
            cleaned.base.byteCount <= EntryRules.longestComponent,
            type == TarType.regular || type == TarType.contiguous || type == TarType.gnuSparse
        else { return nil }
        let node = plinkNode ?? tree.makeDirectoryAside()
        plinkNode = node
        return try makeFile(entry, try name(cleaned.base, in: node), in: node)
    }

    /// If a link's target is one of aufs's kept files, makes the link and returns true.
    mutating func linkBookkeepingFile(_ target: RawSpan, _ name: UInt32, in node: UInt32) throws(LayerError) -> Bool {
        var cleaned = ArchiveName()
        do throws(ArchiveName.Problem) {
            try cleaned.clean(target, lenient: options.lenientNames)
        } catch {
            throw refusal(.linkEscapes)
        }
        guard bytes(cleaned.bytes.rawBytes, startWith: ".wh..wh.plnk") else { return false }
        guard let plinkNode, let file = tree.existingName(cleaned.base, in: plinkNode),
            tree.names[file].kind == .regular
        else { throw refusal(.unknownAUFSFile) }
        let inode = tree.names[file].inode
        _ = clear(name)
        tree.put(inode, at: name, .unpacked)
        tree.markUnpacked(node)
        return true
    }
}
