import LayerModel
import LinuxIO
import TarCodec

/// Whiteouts and opaque markers.
extension ApplyJob {
    /// A deletion of `name` in a directory.
    ///
    /// A28: it concerns the layers below only. What this layer has put there stays; of a directory, what this
    /// layer has put inside.
    func applyWhiteout(_ name: RawSpan, in node: UInt32, _ fields: TarFields) throws(LayerError) {
        try delete(name, in: node) { (record) throws(LayerError) in try writeWhiteout(record, in: node, fields) }
    }

    /// The same; `write` writes the deletion into an upper directory.
    func delete(_ name: RawSpan, in node: UInt32, _ write: (UInt32) throws(LayerError) -> Void) throws(LayerError) {
        try inspect(node)
        let record = try tree.record(of: name, in: node)
        // Nothing can have the name of a marker.
        if isMarkerName(tree.records[Int(record)].name) { return }
        let kind = try kind(of: record, in: node)
        let flags = tree.records[Int(record)].flags
        if flags.contains(.deferred) { return }
        if flags.contains(.unpacked), kind != .unknown {
            guard kind == .directory else { return }
            let child = tree.records[Int(record)].child
            guard child != 0 else { return }
            try keepOnlyUnpacked(child)
            if isUpper { try markOpaque(child) }
            return
        }
        try refuseLongDeletion(record, in: node)
        if kind != .unknown { try refuseMounted(node) }
        switch kind {
        case .unknown: break
        case .directory: try removeDirectory(record, in: node)
        default: _ = try clear(record, in: node)
        }
        if isUpper { try write(record) }
    }

    /// An opaque marker in a directory: everything below it that this layer has not unpacked goes (A27).
    func applyOpaque(_ node: UInt32, _ fields: TarFields) throws(LayerError) {
        try inspect(node)
        if node != ApplyTree.rootNode { tree.markUnpacked(node) }
        try keepOnlyUnpacked(node)
        guard isUpper else { return }
        if node == ApplyTree.rootNode {
            try makeRootOpaque()
        } else {
            try markOpaque(node)
        }
        try dressOpaque(node, fields)
    }

    /// Removes what lies below a directory and did not come with this layer; kept directories are gone through.
    func keepOnlyUnpacked(_ node: UInt32) throws(LayerError) {
        try drain()
        var waiting = [node]
        var listing = DirectoryReader()
        while let directory = waiting.popLast() {
            try options.cancel.check()
            try inspect(directory)
            let names = try namesToRemove(directory, &listing, into: &waiting)
            if !names.isEmpty { try refuseMounted(directory) }
            var position = 0
            while position < names.count {
                var end = position
                while names[end] != 0 { end += 1 }
                try remove(names.rawBytes.extracting(position..<end), in: directory)
                position = end + 1
            }
        }
    }

    /// Removes a name that lies on disk, whatever it is and whether anything was known of it.
    private func remove(_ name: RawSpan, in node: UInt32) throws(LayerError) {
        let record = try tree.record(of: name, in: node)
        let handle = try handle(node)
        let arena = tree.arena
        let place = tree.records[Int(record)].name
        report.io.stats += 1
        let metadata = try attempt { () throws(SystemCallError) in
            try handle.descriptor.metadataIfPresent(arena.pointer(place))
        }
        guard let metadata else { return }
        if let upper, metadata.isWhiteoutDevice, node == ApplyTree.rootNode, upper.dialect.opaque != .markerFile {
            // The root cannot be marked, so that its deletions are what hides the lower layers.
            return tree.look(at: record, found: .unknown, isDeleted: true)
        }
        if isMarkerName(place) || metadata.isWhiteoutDevice && isUpper {
            try attempt { () throws(SystemCallError) in try handle.descriptor.unlink(arena.pointer(place)) }
            tree.clear(record)
            if isMarkerName(place), let deleted = tree.existingRecord(of: arena[place].extracting(4...), in: node),
                tree.records[Int(deleted)].flags.contains(.whiteout)
            {
                tree.clear(deleted)
            }
            return
        }
        tree.look(at: record, found: metadata.kind, isDeleted: false)
        if metadata.kind == .directory {
            try removeDirectory(record, in: node)
        } else {
            _ = try clear(record, in: node)
        }
    }

    /// The names in a directory that did not come with this layer, NUL-terminated; its kept directories are added
    /// to `kept`.
    private func namesToRemove(_ node: UInt32, _ listing: inout DirectoryReader, into kept: inout [UInt32])
        throws(LayerError) -> [UInt8]
    {
        var names: [UInt8] = []
        let handle = try handle(node)
        // The directory becomes opaque anyway, and aufs's bookkeeping at the top is not the layer's.
        let keepsMarkers = upper?.dialect.recognises.contains(.markerFile) ?? false
        do throws(SystemCallError) {
            let directory = try handle.descriptor.open(NamePointer("."), [.readOnly, .directory])
            listing.restart()
            while let entry = try listing.next(of: directory) {
                let name = listing.name(of: entry)
                if let record = tree.existingRecord(of: name, in: node) {
                    let known = tree.records[Int(record)]
                    if known.flags.contains(.unpacked) {
                        if known.kind == .directory, known.child != 0 { kept.append(known.child) }
                        continue
                    }
                }
                if Int32(bitPattern: tree.nodes[Int(node)].entry) == 0, isPrivateName(name) { continue }
                if keepsMarkers, bytes(name, startWith: WhiteoutName.metaPrefix) { continue }
                for index in 0..<name.byteCount { names.append(name[index]) }
                names.append(0)
            }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return names
    }

    // MARK: aufs's own names

    /// Whether a clean name belongs to aufs's bookkeeping: its first component begins with `.wh..wh.`, and is not
    /// the root's opaque marker (A37).
    func isMetadataName(_ name: RawSpan) -> Bool {
        bytes(name, startWith: WhiteoutName.metaPrefix) && !bytes(name, equal: WhiteoutName.opaqueMarker)
    }

    /// Files below `.wh..wh.plnk` are kept aside for the links to them; other bookkeeping is left out.
    func beginMetadata(_ entry: borrowing TarDecoder, _ name: ArchiveName) throws(LayerError) -> FileTarget? {
        let type = entry.fields.type
        guard bytes(name.directory, equal: ".wh..wh.plnk"), name.base.byteCount <= 255,
            type == TarType.regular || type == TarType.contiguous || type == TarType.gnuSparse
        else { return nil }
        let node = try plinkDirectory()
        var target = try prepareFile(entry, try tree.record(of: name.base, in: node), in: node)
        target.job.node = node
        return target
    }

    /// If a link's target is one of aufs's kept files, makes the link and returns true.
    func linkMetadataFile(_ target: RawSpan, _ record: UInt32, in node: UInt32) throws(LayerError) -> Bool {
        var cleaned = ArchiveName()
        do throws(ArchiveName.Problem) {
            try cleaned.clean(target, lenient: options.lenientNames)
        } catch {
            throw refusal(.unsafePath, "the link's target climbs above the root")
        }
        guard bytes(cleaned.bytes.rawBytes, startWith: ".wh..wh.plnk") else { return false }
        guard let source = plinkNode, let file = tree.existingRecord(of: cleaned.base, in: source),
            tree.records[Int(file)].kind == .regular
        else { throw refusal(.invalidArchive, "the link's aufs file is not in the archive") }
        try settle(source)
        try connect(record, in: node, to: file, in: source, .regular)
        tree.markUnpacked(node)
        tree.put(.regular, at: record, .unpacked)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let handle = try handle(node)
        report.io.stats += 1
        let made = try attempt { () throws(SystemCallError) in try handle.descriptor.metadata(arena.pointer(name)) }
        try confirm(made, is: .regular, name, in: handle)
        return true
    }

    private static var plinkPrefix: String { ".ldiff-plink-" }

    /// The private directory for aufs's files, made at first use.
    private func plinkDirectory() throws(LayerError) -> UInt32 {
        if let plinkNode { return plinkNode }
        let digits = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        let name = (Self.plinkPrefix + digits).utf8Bytes
        let record = try tree.record(of: name.rawBytes, in: ApplyTree.rootNode)
        try makeDirectoryName(record, in: ApplyTree.rootNode, mode: 0o700)
        let node = try tree.makeNode(record, flags: [.fresh, .unpacked])
        try setDirectoryMetadata(
            record, in: ApplyTree.rootNode,
            DirectoryMetadata(mode: 0o700, uid: effectiveUser, gid: effectiveGroup, isNew: true))
        plinkNode = node
        return node
    }

    private func isPrivateName(_ name: RawSpan) -> Bool {
        guard let plinkNode else { return false }
        let arena = tree.arena
        return bytesEqual(name, arena[tree.records[Int(tree.nodes[Int(plinkNode)].entry)].name])
    }

    /// Removes the private directory with what is left in it.
    func removePlinkDirectory() throws(LayerError) {
        guard let node = plinkNode.take() else { return }
        let record = tree.nodes[Int(node)].entry
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let root = try handle(ApplyTree.rootNode)
        let removed = try remover.remove(arena.pointer(name), in: root.descriptor, countsBytes: true)
        report.uniqueFileBytes &-= min(removed.freedBytes, report.uniqueFileBytes)
        tree.clear(record)
    }
}
