import LayerModel
import LinuxIO
import TarCodec

/// What only an upper directory has: the lower ones, and a writer of markers.
final class UpperTarget {
    /// The lower directories; nil when they are not known.
    let lowers: LowerView?
    let marks: UpperMarks
    var writer: WhiteoutWriter
    let dialect: WhiteoutDialect

    init(
        options: ApplyOptions, _ tree: ApplyTree, _ share: DescriptorShare, isInUserNamespace: Bool
    ) throws(LayerError) {
        // A31: nobody may write `trusted.` attributes in there, and its overlays are mounted with `userxattr`.
        dialect = isInUserNamespace && options.dialect == .overlay ? .overlayUserXattr : options.dialect
        writer = WhiteoutWriter(dialect)
        marks = UpperMarks(dialect, tree)
        if let paths = options.lowers {
            lowers = try LowerView(paths, dialect: dialect, marks, mostOpen: share.total / 2)
        } else {
            lowers = nil
        }
    }
}

/// Upper directories: markers, and what must be copied up from the directories below.
extension ApplyJob {
    var lowersAreKnown: Bool { upper?.lowers != nil }

    /// What the lower directories show under a name.
    func lowerEntry(_ record: UInt32, in node: UInt32) throws(LayerError) -> LowerEntry? {
        guard let lowers = upper?.lowers, !lowers.isEmpty, !isMarkerName(tree.records[Int(record)].name) else {
            return nil
        }
        let tree = tree
        return try attempt { () throws(SystemCallError) in
            try lowers.entry(tree.records[Int(record)].name, in: node, tree)
        }
    }

    func lowerLinkTarget(_ found: LowerEntry) throws(LayerError) -> [UInt8] {
        let arena = tree.arena
        let scratch = scratch
        let count = try attempt { () throws(SystemCallError) in
            try found.directory.descriptor.readLink(arena.pointer(found.name), into: scratch, 0..<4096)
        }
        return scratch.span(0..<count).copied()
    }

    // MARK: markers

    /// Writes a deletion, unless nothing below has the name.
    func writeWhiteout(_ record: UInt32, in node: UInt32, _ fields: TarFields) throws(LayerError) {
        guard let upper, try needsWhiteout(record, in: node, upper) else { return }
        try writeWhiteout(record, in: node, markMetadata(of: fields), upper)
    }

    /// The same, for a deletion of which no mark speaks.
    func writeWhiteout(_ record: UInt32, in node: UInt32, _ mark: MarkMetadata) throws(LayerError) {
        guard let upper, try needsWhiteout(record, in: node, upper) else { return }
        try writeWhiteout(record, in: node, mark, upper)
    }

    /// What the entry of a mark says of it.
    func markMetadata(of fields: TarFields) throws(LayerError) -> MarkMetadata {
        var metadata = ownMark
        if 0...0xffff_fffe ~= fields.uid, 0...0xffff_fffe ~= fields.gid {
            let owner = try ids(of: fields)
            metadata = MarkMetadata(uid: owner.uid, gid: owner.gid)
        }
        metadata.mode = fields.mode & 0o7777
        metadata.modification = bounded(fields.mtimeSeconds, fields.mtimeNanoseconds)
        return metadata
    }

    /// For marks of which no entry speaks.
    private var ownMark: MarkMetadata { MarkMetadata(uid: options.uidMap.hostRoot, gid: options.gidMap.hostRoot) }

    /// Whether a deletion has to be written: a whiteout that hides nothing is listed in the merged view as a name that is
    /// not there.
    private func needsWhiteout(_ record: UInt32, in node: UInt32, _ upper: UpperTarget) throws(LayerError) -> Bool {
        if tree.records[Int(record)].flags.contains(.whiteout) { return false }
        if lowersAreKnown { return try lowerEntry(record, in: node) != nil }
        return try !attempt { () throws(SystemCallError) in try upper.marks.isBelowOpaque(node) }
    }

    /// Refuses a deletion for which the target's dialect has no form, before anything is done for it.
    func refuseLongDeletion(_ record: UInt32, in node: UInt32) throws(LayerError) {
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        guard let upper, !upper.writer.canDelete(arena[name]), try needsWhiteout(record, in: node, upper)
        else { return }
        throw LayerError(
            .limitExceeded, "apply", path: tree.path(of: name, in: node),
            cause: .archive(
                offset: entryOffset,
                reason: "its deletion cannot be written: the name has \(name.length) bytes, and a .wh. file beside it "
                    + "would have more than 255"),
            hint: "unpack onto a whole tree (tree), or into an upper directory of overlay or fuse-overlayfs")
    }

    private func writeWhiteout(
        _ record: UInt32, in node: UInt32, _ metadata: MarkMetadata, _ upper: UpperTarget
    ) throws(LayerError) {
        try inspect(node)
        let handle = try handle(node)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let handsDown = tree.nodes[Int(node)].flags.contains(.givesAccessLists)
        report.io.creates += 1
        try attempt { () throws(SystemCallError) in
            try upper.writer.writeDeletion(name, in: handle, arena, metadata, handsDown: handsDown)
        }
        tree.delete(record)
    }

    /// Takes back a deletion that this layer wrote under a name.
    func removeMarker(_ record: UInt32, in node: UInt32) throws(LayerError) {
        guard let upper else { return }
        let handle = try handle(node)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        try attempt { () throws(SystemCallError) in
            try upper.writer.removeDeletion(arena[name], in: handle)
        }
        tree.clear(record)
    }

    /// Hides everything that lower directories have below a directory.
    func markOpaque(_ node: UInt32) throws(LayerError) {
        guard let upper, !tree.nodes[Int(node)].flags.contains(.opaque) else { return }
        // A33: the bottom layer has nothing to hide, and a marker would be seen.
        if upper.lowers?.isEmpty == true { return }
        tree.makeOpaque(node)
        upper.lowers?.forget()
        try inspect(node)
        let handle = try handle(node)
        let handsDown = tree.nodes[Int(node)].flags.contains(.givesAccessLists)
        report.io.attributeCalls += 1
        try attempt { () throws(SystemCallError) in
            let directory = try handle.descriptor.open(NamePointer("."), [.readOnly, .directory])
            try upper.writer.markOpaque(directory, handsDown: handsDown)
        }
    }

    /// Gives the file that marks a directory what its entry says of it.
    func dressOpaque(_ node: UInt32, _ fields: TarFields) throws(LayerError) {
        guard let upper, upper.dialect.opaque == .markerFile else { return }
        let (handle, metadata) = (try handle(node), try markMetadata(of: fields))
        try attempt { () throws(SystemCallError) in try upper.writer.dressOpaque(handle.descriptor, metadata) }
    }

    /// A32: overlayfs always merges the roots of layers, so a root is made opaque name by name.
    func makeRootOpaque() throws(LayerError) {
        guard let upper else { return }
        let root = ApplyTree.rootNode
        guard upper.dialect.opaque != .markerFile, let lowers = upper.lowers else {
            if upper.dialect.opaque != .markerFile {
                report.warn(
                    "the layer hides all layers below it: its root is marked, but overlayfs looks at no such mark")
            }
            return try markOpaque(root)
        }
        let tree = tree
        let names = try attempt { () throws(SystemCallError) in try lowers.names(in: root, tree) }
        var position = 0
        while position < names.count {
            var end = position
            while names[end] != 0 { end += 1 }
            let record = try tree.record(of: names.rawBytes.extracting(position..<end), in: root)
            position = end + 1
            let kind = try kind(of: record, in: root)
            if kind == .directory {
                let child = tree.records[Int(record)].child
                if child != 0 { try markOpaque(child) }
            } else if kind == .unknown, tree.records[Int(record)].flags.isDisjoint(with: [.whiteout, .deferred]),
                try lowerEntry(record, in: root) != nil
            {
                try writeWhiteout(record, in: root, ownMark, upper)
            }
        }
        lowers.isRootHidden = true
        lowers.forget()
        tree.makeOpaque(root)
    }

    /// Whether the target's dialect would take a name for a marker. No file has such a name, whatever lies on disk.
    func isMarkerName(_ name: NameRef) -> Bool {
        guard let upper, upper.dialect.deletion.contains(.prefixedFile) else { return false }
        let arena = tree.arena
        return bytes(arena[name], startWith: WhiteoutName.prefix)
    }

    /// Refuses a name that the target's dialect would take for a marker.
    func refuseMarkerName(_ name: NameRef) throws(LayerError) {
        guard isMarkerName(name) else { return }
        throw LayerError(
            .unsupported, "apply",
            cause: .archive(
                offset: entryOffset, reason: "the target's kind of whiteouts cannot hold a name that begins with .wh."))
    }

    // MARK: copy-up

    /// Makes a directory that a lower one shows, with its owner, mode, attributes and times, so that the merged
    /// view does not change by it (A18).
    func copyUpDirectory(_ found: LowerEntry, _ record: UInt32, in node: UInt32) throws(LayerError) -> UInt32 {
        try inspect(node)
        try makeDirectoryName(record, in: node, mode: found.metadata.mode & 0o777)
        let child = try tree.makeNode(record, flags: .fresh)
        let metadata = found.metadata
        try setDirectoryMetadata(
            record, in: node,
            DirectoryMetadata(mode: metadata.mode & 0o7777, uid: metadata.uid, gid: metadata.gid, isNew: true))
        let mode = try copyUpAttributes(found, record, in: node)
        if metadata.mode & 0o2000 != 0 || metadata.gid != effectiveGroup {
            tree.nodes[Int(child)].flags.insert(.givesGroup)
        }
        try setDirectoryMode(record, in: node, mode)
        tree.nodes[Int(child)].finalMode &= mode
        let time = TimeStamp(seconds: metadata.mtimeSeconds, nanoseconds: metadata.mtimeNanoseconds)
        setTimesAtEnd(child, access: time, modification: time)
        return child
    }

    /// Copies the attributes that belong to the file rather than to overlayfs or the host. Returns the mode that it may have
    /// with those that could be set.
    private func copyUpAttributes(_ found: LowerEntry, _ record: UInt32, in node: UInt32) throws(LayerError) -> UInt32 {
        var mode = found.metadata.mode & 0o7777
        let arena = tree.arena
        let handle = try handle(node)
        let name = tree.records[Int(record)].name
        do throws(SystemCallError) {
            let total = try reader.list(of: arena.pointer(found.name), in: found.directory.descriptor)
            var position = 0
            while position < total {
                let attribute = reader.name(at: position).copied()
                let start = position
                position += attribute.count + 1
                let verdict = policy.verdict(attribute.rawBytes)
                guard verdict == .set,
                    try reader.readValue(at: start, of: arena.pointer(found.name), in: found.directory.descriptor)
                        != nil
                else { continue }
                let value = reader.lastValueBytes
                let terminated = attribute + [0]
                do throws(SystemCallError) {
                    try handle.descriptor.setAttribute(
                        NamePointer(terminated: terminated.rawBytes), value.rawBytes, of: arena.pointer(name))
                } catch {
                    guard Self.hasNoPlace(error) else { throw error }
                    mode = policy.mode(mode, without: attribute.rawBytes, value.rawBytes)
                }
                if bytes(attribute.rawBytes, equal: "system.posix_acl_default") {
                    tree.nodes[Int(tree.records[Int(record)].child)].flags.insert(.givesAccessLists)
                }
            }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return mode
    }

    /// Copies up a file's bytes, from behind it where it holds only metadata.
    private func copyUpFile(_ found: LowerEntry, to name: NameRef, in node: UInt32) throws(LayerError) {
        let arena = tree.arena
        guard let lowers = upper?.lowers else { return }
        let data = try attempt { () throws(SystemCallError) in try lowers.data(of: found, arena) }
        guard let data else {
            throw LayerError(
                .corruptLayer, "apply",
                cause: .reason("a lower layer has the file's metadata, but none of them its data"))
        }
        let source = try arena.append(data.name.rawBytes.extracting(0..<data.name.count - 1))
        let directory = data.0
        let metadata = try attempt { () throws(SystemCallError) in
            try directory.descriptor.metadata(arena.pointer(source))
        }
        // The attributes are those of the metadata, which may lie elsewhere.
        try copyFile(source, metadata, in: directory, to: name, in: node, withAttributes: false)
    }

    /// Copies up what a hard link leads to, when only a lower directory has it; true if it has (A42).
    func copyUpLinkTarget(_ record: UInt32, in node: UInt32) throws(LayerError) -> Bool {
        guard tree.records[Int(record)].flags.isDisjoint(with: [.whiteout, .deferred]),
            let found = try lowerEntry(record, in: node)
        else { return false }
        guard found.metadata.kind != .directory else {
            throw refusal(.invalidArchive, "a hard link leads to a directory")
        }
        try inspect(node)
        let handle = try handle(node)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let metadata = found.metadata
        report.io.creates += 1
        switch metadata.kind {
        case .regular:
            try copyUpFile(found, to: name, in: node)
        case .symbolicLink:
            let target = try lowerLinkTarget(found) + [0]
            try attempt { () throws(SystemCallError) in
                try handle.descriptor.makeSymbolicLink(
                    arena.pointer(name), target: NamePointer(terminated: target.rawBytes))
            }
        default:
            try attempt { () throws(SystemCallError) in
                try handle.descriptor.makeNode(
                    arena.pointer(name), mode: metadata.kind.modeBits | 0o600, major: metadata.deviceMajor,
                    minor: metadata.deviceMinor)
            }
            try dropInheritedAccessLists(name, in: node)
        }
        // Not unpacked: it is still the lower layer's, and a whiteout of it counts (A28).
        tree.put(metadata.kind, at: record, .made)
        report.uniqueFileBytes &+= UInt64(max(metadata.size, 0))
        try setOwner(metadata.uid, metadata.gid, of: name, in: node)
        let mode = try copyUpAttributes(found, record, in: node)
        let time = TimeStamp(seconds: metadata.mtimeSeconds, nanoseconds: metadata.mtimeNanoseconds)
        try attempt { () throws(SystemCallError) in
            if metadata.kind != .symbolicLink {
                try handle.descriptor.setMode(arena.pointer(name), mode)
            }
            try handle.descriptor.setTimes(arena.pointer(name), access: time, modification: time)
        }
        return true
    }
}
