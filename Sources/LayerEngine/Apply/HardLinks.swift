import Glibc
import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// What a link's header says of the inode.
struct LinkMetadata {
    var mode: UInt32
    var owner: Owner
    var times: FileTimes
    var attributes = AttributeSet()
}

/// Makes hard links, those that come before their targets at the end. Which link leads where the rules say (`LinkMaker`).
struct HardLinks<Target: UnpackTarget>: LinkMaker {
    let target: Target
    private let paths: PathFinder<Target>
    var aufsFiles: AufsFiles<Target>
    var waiting = WaitingLinks<NamePlace, LinkMetadata>()
    /// The newest copy of each inode that can have no more entries.
    private var copies: [FileIdentity: FileCopy] = [:]

    /// Files of earlier layers whose names are all this layer's target's.
    private var unshared: Set<UInt32> = []
    /// Files of earlier layers with names elsewhere, perhaps in other trees, that this layer gave names as they are.
    private var shared: Set<FileIdentity> = []

    /// Copies that are kept open for further names; an inode that is full has been given 65,000 of them.
    private static var keptCopies: Int { 64 }

    init(_ target: Target, _ paths: PathFinder<Target>) {
        self.target = target
        self.paths = paths
        aufsFiles = AufsFiles(target)
    }

    private var entries: EntryMaker { target.entries }
    private var tree: ApplyTree { target.tree }

    // MARK: names

    static var operation: String { "apply" }
    var entryOffset: UInt64 { target.log.entryOffset }

    func refusal(_ refusal: EntryRefusal) -> LayerError { target.log.refusal(refusal) }

    func clean(_ name: RawSpan, into cleaned: inout ArchiveName, otherwise refusal: EntryRefusal) throws(LayerError) {
        try paths.clean(name, into: &cleaned, otherwise: refusal)
    }

    func directory(at path: RawSpan, _ create: Creation) throws(LayerError) -> UInt32? {
        var paths = paths
        return try paths.directory(at: path, create)
    }

    func place(of name: RawSpan, in node: UInt32) throws(LayerError) -> NamePlace { try tree.place(of: name, in: node) }
    func record(_ place: NamePlace) -> UInt32 { place.record }
    func path(of place: NamePlace) -> PathBytes { tree.path(of: place) }
    func lies(_ node: UInt32, below place: NamePlace) -> Bool { tree.lies(node, below: place) }

    // MARK: links

    static func attributeBytes(_ metadata: LinkMetadata) -> Int { metadata.attributes.byteCount }

    func metadata(of entry: borrowing TarDecoder) throws(LayerError) -> LinkMetadata {
        var metadata = LinkMetadata(
            mode: entry.fields.mode & 0o7777, owner: try entries.values.owner(of: entry.fields),
            times: entries.values.times(of: entry))
        _ = try entries.values.appendAttributes(of: entry, to: &metadata.attributes)
        return metadata
    }

    func targetKind(_ source: NamePlace) throws(LayerError) -> EntryKind {
        var kind = try target.kind(of: source)
        if kind == .unknown, try target.copyUpLinkTarget(source) { kind = tree.kind(source) }
        // What the layer has put there is complete, also where the link is refused.
        if kind != .unknown, kind != .directory { try target.files.settle(source.node) }
        return kind
    }

    mutating func makeName(_ place: NamePlace, of source: NamePlace, _ kind: EntryKind, _ metadata: LinkMetadata)
        throws(LayerError)
    {
        let hasOwnLimit = tree.flags(place).contains(.limited)
        try part(source, kind, for: metadata)
        if source != place { try connect(place, to: source, kind) }
        let isLimited = hasOwnLimit || tree.flags(source).contains(.limited) || target.files.isLimited(source)
        tree.put(kind, at: place, .unpacked)
        if isLimited { tree.limit(place) }
        tree.markUnpacked(place.node)
        try change(place, kind, to: metadata)
    }

    // MARK: links that wait

    func reserve(_ place: NamePlace) throws(LayerError) {
        try target.clear(place)
        tree.awaitLink(place)
    }

    func isAwaited(_ place: NamePlace) -> Bool { tree.flags(place).contains(.deferred) }
    func isWanted(_ place: NamePlace) -> Bool { isAwaited(place) && !tree.isRemoved(place.node) }

    func resume(at offset: UInt64) throws(LayerError) {
        try target.options.cancel.check("apply")
        target.log.entryOffset = offset
    }

    // MARK: devices that were left out

    func isLeftOut(_ source: NamePlace, isLast: Bool) -> Bool {
        let flags = tree.flags(source)
        return flags.contains(.leftOut) || flags.contains(.markDevice) && isLast
    }

    /// A further name of a device that could not be made, or was taken for a deletion, is what its first name is.
    func leaveOut(_ place: NamePlace, as source: NamePlace, _ metadata: LinkMetadata) throws(LayerError) {
        let mark = MarkMetadata(
            uid: metadata.owner.uid, gid: metadata.owner.gid, mode: metadata.mode,
            modification: metadata.times.modification)
        guard tree.flags(source).contains(.markDevice) else {
            try target.clear(place)
            return try target.leaveOutDevice(place, mark)
        }
        target.log.warn("\(tree.path(of: place)): a name of a device 0:0 was taken for a whiteout")
        if tree.flags(place).contains(.deferred) { tree.clear(place) }
        try target.delete(place, .other(mark))
        if tree.kind(place) == .unknown { tree.takeForMark(place) }
    }

    // MARK: aufs's files

    func keptFile(_ base: RawSpan) -> NamePlace? { aufsFiles.file(base) }

    mutating func makeName(_ place: NamePlace, ofKept file: NamePlace) throws(LayerError) {
        try target.files.settle(file.node)
        try connect(place, to: file, .regular)
        tree.markUnpacked(place.node)
        tree.put(.regular, at: place, .unpacked)
        try confirm(place, is: .regular)
    }

    /// Makes a name that is taken, or not, a name of what lies under another one.
    private mutating func connect(_ place: NamePlace, to source: NamePlace, _ kind: EntryKind) throws(LayerError) {
        try target.vacate(place)
        let arena = tree.arena
        let handle = try entries.handle(place.node)
        let sourceHandle = try entries.handle(source.node)
        target.log.report.io.creates += 1
        do throws(SystemCallError) {
            try handle.descriptor.makeHardLink(
                arena.pointer(place.name), to: arena.pointer(source.name), in: sourceHandle.descriptor)
        } catch {
            // EMLINK: the inode has all the names that it can have; EXDEV: another file system is mounted inside.
            guard error.errno == EMLINK || error.errno == EXDEV, kind == .regular else {
                throw LayerError(error, "apply", path: nil)
            }
            try connectCopy(place, of: source, isFull: error.errno == EMLINK)
        }
    }

    /// Gives a name the contents of a file that cannot have it as one more of its names: as a name of the newest copy, if
    /// the file is only full and was copied before, else of a new one.
    private mutating func connectCopy(_ place: NamePlace, of source: NamePlace, isFull: Bool) throws(LayerError) {
        let arena = tree.arena
        let handle = try entries.handle(place.node)
        let directory = try entries.handle(source.node)
        target.log.report.io.stats += 1
        let original = try attempt { () throws(SystemCallError) in
            try directory.descriptor.metadata(arena.pointer(source.name))
        }
        let first = FileIdentity(original)
        var full = first
        while isFull, let copy = copies[full] {
            do throws(SystemCallError) {
                try handle.descriptor.makeName(arena.pointer(place.name), for: copy.handle.descriptor)
                copies[first] = copy
                return
            } catch {
                // ENOENT: all its names are gone, or there is no /proc.
                guard error.errno == EMLINK || error.errno == ENOENT else {
                    throw LayerError(error, "apply", path: nil)
                }
                full = copy.identity
                if error.errno == ENOENT { break }
            }
        }
        let copy = try entries.copyFile(
            CopySource(name: source.name, directory: directory, metadata: original), to: place)
        target.log.report.uniqueFileBytes &+= UInt64(max(original.size, 0))
        guard isFull else { return }
        if copies.count >= Self.keptCopies { copies.removeAll() }
        copies[first] = copy
        copies[full] = copy
    }

    // MARK: the inode

    /// Gives what was there before the layer an inode of its own if the link's header says something else of it: other names
    /// of the old one may belong to other trees, as in a copy by hard links. Names of this layer that said the same keep it.
    /// An overlay copies such a file up, with the same outcome.
    private mutating func part(_ source: NamePlace, _ kind: EntryKind, for metadata: LinkMetadata) throws(LayerError) {
        guard Target.mayShareFiles, !unshared.contains(source.record) else { return }
        let isFromLayer = !tree.flags(source).isDisjoint(with: [.unpacked, .made])
        if isFromLayer, shared.isEmpty { return }
        guard let found = try entries.metadata(source), found.kind == kind else { return }
        if isFromLayer, !shared.contains(FileIdentity(found)) { return }
        guard found.linkCount > 1 else {
            unshared.insert(source.record)
            return
        }
        guard try differs(found, source, metadata) else {
            shared.insert(FileIdentity(found))
            return
        }
        try entries.inspect(source.node)
        let handle = try entries.handle(source.node)
        let aside = try tree.place(of: TemporaryName.next().bytes.rawBytes, in: source.node)
        let original = CopySource(name: source.name, directory: handle, metadata: found)
        target.log.report.io.creates += 1
        if kind == .regular {
            try entries.copyFile(original, to: aside)
        } else {
            try entries.copyNode(original, to: aside)
            try entries.copyMetadata(of: original, to: aside)
        }
        let arena = tree.arena
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.rename(
                arena.pointer(aside.name), to: arena.pointer(source.name), in: handle.descriptor)
        }
        let isLimited = tree.flags(source).contains(.limited)
        tree.put(kind, at: source, tree.flags(source).contains(.unpacked) ? .unpacked : .made)
        if isLimited { tree.limit(source) }
        target.log.report.uniqueFileBytes &+= UInt64(max(found.size, 0))
    }

    /// Whether `change` would change anything.
    private func differs(_ found: EntryMetadata, _ place: NamePlace, _ wanted: LinkMetadata) throws(LayerError) -> Bool
    {
        if found.kind != .symbolicLink, found.mode & 0o7777 != wanted.mode { return true }
        if found.uid != wanted.owner.uid || found.gid != wanted.owner.gid { return true }
        if found.mtimeSeconds != wanted.times.modification.seconds
            || found.mtimeNanoseconds != wanted.times.modification.nanoseconds
        {
            return true
        }
        for index in 0..<wanted.attributes.count {
            let name = NamePointer(terminated: wanted.attributes.name(index))
            let value = try entries.attribute(name, of: place)
            if value != wanted.attributes.value(index).copied() { return true }
        }
        return false
    }

    /// What the link's header says of the inode. The owner is set only where it differs, since setting it clears capabilities.
    private func change(_ place: NamePlace, _ kind: EntryKind, to metadata: LinkMetadata) throws(LayerError) {
        let current = try confirm(place, is: kind)
        var wanted = metadata.mode
        // The header of a name repeats the mode that went with the list.
        if tree.flags(place).contains(.limited) { wanted &= ~0o077 | current.mode }
        let attributes = metadata.attributes
        var setsMode = current.mode & 0o7777 != wanted || attributes.count > 0
        if current.uid != metadata.owner.uid || current.gid != metadata.owner.gid {
            let capability = try entries.capability(of: place)
            try entries.setOwner(metadata.owner, of: place)
            if let capability { try restore(capability, of: place) }
            setsMode = true
        }
        var mode = wanted
        for index in 0..<attributes.count {
            mode = try entries.setAttribute(
                attributes.name(index), attributes.value(index), of: place, kind, mode: mode)
        }
        if mode != wanted { tree.limit(place) }
        if setsMode, kind != .symbolicLink { try entries.setMode(mode, of: place) }
        let hasTime =
            current.mtimeSeconds == metadata.times.modification.seconds
            && current.mtimeNanoseconds == metadata.times.modification.nanoseconds
        if !hasTime { try entries.setTimes(metadata.times, of: place) }
    }

    private func restore(_ capability: [UInt8], of place: NamePlace) throws(LayerError) {
        let arena = tree.arena
        let handle = try entries.handle(place.node)
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.setAttribute(
                NamePointer("security.capability"), capability.rawBytes, of: arena.pointer(place.name))
        }
    }

    /// What a new link leads to. One that leads to something else than what lay under its target's name is taken back: another
    /// process has put that there.
    @discardableResult
    private func confirm(_ place: NamePlace, is kind: EntryKind) throws(LayerError) -> EntryMetadata {
        let arena = tree.arena
        let handle = try entries.handle(place.node)
        target.log.report.io.stats += 1
        let found = try attempt { () throws(SystemCallError) in
            try handle.descriptor.metadata(arena.pointer(place.name))
        }
        guard found.kind != kind || found.isWhiteoutDevice else { return found }
        try attempt { () throws(SystemCallError) in try handle.descriptor.unlink(arena.pointer(place.name)) }
        throw LayerError(
            .fileChanged, "apply", cause: .reason("the target of the hard link was replaced by another process"),
            hint: "nothing else may write into the directory while a layer is unpacked")
    }
}
