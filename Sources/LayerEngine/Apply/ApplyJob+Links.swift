import LayerModel
import LinuxIO
import TarCodec

/// Hard links.
extension ApplyJob {
    func makeHardLink(_ entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) {
        let ids = try ids(of: entry.fields)
        let times = times(of: entry)
        var metadata = LinkMetadata(
            mode: entry.fields.mode & 0o7777, uid: ids.uid, gid: ids.gid, access: times.access,
            modification: times.modification)
        for index in 0..<entry.extendedAttributeCount where accepts(entry.extendedAttributeName(index), of: entry) {
            try append(index, of: entry, to: &metadata.attributes)
        }
        let target = entry.linkName
        if try linkMetadataFile(target, record, in: node) { return }
        if case .made = try link(record, in: node, to: target, metadata) { return }
        // The name is taken from here on, as it will be by the link.
        _ = try clear(record, in: node)
        tree.awaitLink(record)
        try deferredLinks.append(
            DeferredLink(
                node: node, record: record, target: target.copied(), metadata: metadata, offset: entryOffset))
    }

    /// What came of a hard link.
    enum LinkOutcome {
        case made
        /// Its target does not exist; the record is that of the target's name, if at least its directory exists.
        case missing(UInt32?)
    }

    /// Links a name to `target`, if that exists. `isLast`: no entry comes any more that could fill its name.
    func link(
        _ record: UInt32, in node: UInt32, to target: RawSpan, _ metadata: LinkMetadata, isLast: Bool = false
    ) throws(LayerError) -> LinkOutcome {
        var cleaned = ArchiveName()
        do throws(ArchiveName.Problem) {
            try cleaned.clean(target, lenient: options.lenientNames)
        } catch {
            throw refusal(.unsafePath, "the link's target climbs above the root")
        }
        guard !cleaned.isRoot else { throw refusal(.invalidArchive, "a hard link leads to the root") }
        guard cleaned.base.byteCount <= 255 else { throw refusal(.invalidArchive, "the link's target is too long") }
        guard let source = try directory(at: cleaned.directory, create: .none) else { return .missing(nil) }
        let sourceRecord = try tree.record(of: cleaned.base, in: source)
        let sourceFlags = tree.records[Int(sourceRecord)].flags
        if sourceFlags.contains(.leftOut) || sourceFlags.contains(.markDevice) && isLast {
            if sourceRecord != record { try leaveOutLink(record, in: node, to: sourceRecord, metadata) }
            return .made
        }
        var kind = try kind(of: sourceRecord, in: source)
        if kind == .unknown, try copyUpLinkTarget(sourceRecord, in: source) {
            kind = tree.records[Int(sourceRecord)].kind
        }
        guard kind != .unknown else { return .missing(sourceRecord) }
        guard kind != .directory else { throw refusal(.invalidArchive, "a hard link leads to a directory") }
        try settle(source)
        let hasOwnLimit = tree.records[Int(record)].flags.contains(.limited)
        // A43: a link that names itself must not remove itself first.
        if sourceRecord != record {
            guard !tree.lies(source, below: record) else {
                throw refusal(.invalidArchive, "a hard link takes the place of a directory above its target")
            }
            try connect(record, in: node, to: sourceRecord, in: source, kind)
        }
        let isLimited =
            hasOwnLimit || tree.records[Int(sourceRecord)].flags.contains(.limited)
            || crew.results.isLimited(tree.records[Int(sourceRecord)].name)
        tree.put(kind, at: record, .unpacked)
        if isLimited { tree.limit(record) }
        tree.markUnpacked(node)
        try apply(metadata, to: record, in: node, kind)
        return .made
    }

    /// A further name of a device that could not be made, or was taken for a deletion, is what its first name is.
    private func leaveOutLink(
        _ record: UInt32, in node: UInt32, to source: UInt32, _ metadata: LinkMetadata
    ) throws(LayerError) {
        let mark = MarkMetadata(
            uid: metadata.uid, gid: metadata.gid, mode: metadata.mode, modification: metadata.modification)
        guard tree.records[Int(source)].flags.contains(.markDevice) else {
            _ = try clear(record, in: node)
            return try leaveOutDevice(record, in: node, mark)
        }
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        report.warn("\(tree.path(of: name, in: node)): a name of a device 0:0 was taken for a whiteout")
        if tree.records[Int(record)].flags.contains(.deferred) { tree.clear(record) }
        try delete(arena[name], in: node) { (record) throws(LayerError) in
            try writeWhiteout(record, in: node, mark)
        }
        if tree.records[Int(record)].kind == .unknown { tree.takeForMark(record) }
    }

    /// Makes a name that is taken, or not, a name of what lies under another one.
    func connect(
        _ record: UInt32, in node: UInt32, to sourceRecord: UInt32, in source: UInt32, _ kind: EntryKind
    ) throws(LayerError) {
        _ = try clear(record, in: node)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let sourceName = tree.records[Int(sourceRecord)].name
        let handle = try handle(node)
        let sourceHandle = try self.handle(source)
        try refuseMarkerName(name)
        report.io.creates += 1
        do throws(SystemCallError) {
            try handle.descriptor.makeHardLink(
                arena.pointer(name), to: arena.pointer(sourceName), in: sourceHandle.descriptor)
        } catch {
            // A44: EMLINK: the inode has all the names that it can have; EXDEV: another file system is mounted inside.
            guard error.errno == 31 || error.errno == 18, kind == .regular else {
                throw LayerError(error, "apply", path: nil)
            }
            try connectCopy(name, in: node, of: sourceName, in: sourceHandle, isFull: error.errno == 31)
        }
    }

    /// A40: the owner is set only where it differs, since setting it clears capabilities.
    private func apply(_ metadata: LinkMetadata, to record: UInt32, in node: UInt32, _ kind: EntryKind)
        throws(LayerError)
    {
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        let handle = try handle(node)
        report.io.stats += 1
        let current = try attempt { () throws(SystemCallError) in try handle.descriptor.metadata(arena.pointer(name)) }
        try confirm(current, is: kind, name, in: handle)
        var wanted = metadata.mode
        // The header of a name repeats the mode that went with the list.
        if tree.records[Int(record)].flags.contains(.limited) { wanted &= ~0o077 | current.mode }
        var setsMode = current.mode & 0o7777 != wanted || metadata.attributes.count > 0
        if current.uid != metadata.uid || current.gid != metadata.gid {
            let capability = try readCapability(of: name, in: handle)
            try setOwner(metadata.uid, metadata.gid, of: name, in: node)
            if let capability {
                try attempt { () throws(SystemCallError) in
                    try handle.descriptor.setAttribute(
                        NamePointer("security.capability"), capability.rawBytes, of: arena.pointer(name))
                }
            }
            setsMode = true
        }
        let attributes = metadata.attributes
        var mode = wanted
        for index in 0..<attributes.count {
            mode = try setAttribute(
                attributes.name(index), attributes.value(index), of: name, in: node, kind: kind, mode: mode)
        }
        if mode != wanted { tree.limit(record) }
        let sameTime =
            current.mtimeSeconds == metadata.modification.seconds
            && current.mtimeNanoseconds == metadata.modification.nanoseconds
        try attempt { () throws(SystemCallError) in
            if setsMode, kind != .symbolicLink { try handle.descriptor.setMode(arena.pointer(name), mode) }
            if !sameTime {
                try handle.descriptor.setTimes(
                    arena.pointer(name), access: metadata.access, modification: metadata.modification)
            }
        }
    }

    /// Takes a link back that leads to something else than what lay under its target's name: another process has put
    /// that there.
    func confirm(_ found: EntryMetadata, is kind: EntryKind, _ name: NameRef, in handle: DirectoryHandle)
        throws(LayerError)
    {
        guard found.kind != kind || found.isWhiteoutDevice else { return }
        let arena = tree.arena
        try attempt { () throws(SystemCallError) in try handle.descriptor.unlink(arena.pointer(name)) }
        throw LayerError(
            .fileChanged, "apply", cause: .reason("the target of the hard link was replaced by another process"),
            hint: "nothing else may write into the directory while a layer is unpacked")
    }

    private func readCapability(of name: NameRef, in handle: DirectoryHandle) throws(LayerError) -> [UInt8]? {
        let arena = tree.arena
        do throws(SystemCallError) {
            guard
                try reader.read(NamePointer("security.capability"), of: arena.pointer(name), in: handle.descriptor)
                    != nil
            else { return nil }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return reader.lastValueBytes
    }
}
