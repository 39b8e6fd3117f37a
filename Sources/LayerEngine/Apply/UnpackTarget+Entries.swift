import Glibc
import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// Makes what entries say, in place of what is there.
extension UnpackTarget {
    private var values: EntryValues { entries.values }

    // MARK: directories

    func makeDirectory(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        let owner = try values.owner(of: entry.fields)
        let mode = entry.fields.mode & 0o7777
        if try kind(of: place) == .directory { return try changeDirectory(entry, at: place, owner) }
        let vacancy = try vacate(place)
        try entries.makeDirectory(place, mode: mode)
        let child = try tree.makeNode(place, flags: .fresh)
        tree.markUnpacked(child)
        try entries.setDirectoryMetadata(child, DirectoryMetadata(mode: mode, owner: owner, isNew: true))
        // Now that nothing is left in it of what the directory above hands down.
        if vacancy == .showsLower { try makeOpaque(child) }
        try dressDirectory(entry, child)
    }

    /// An entry for a directory that is there.
    private func changeDirectory(_ entry: borrowing TarDecoder, at place: NamePlace, _ owner: Owner) throws(LayerError)
    {
        let known = tree.directory(place)
        let child = if let known { known } else { try tree.makeNode(place, flags: []) }
        // Files that are still to be made must get what the directory hands down now, not what it will.
        try files.settle(child)
        try entries.inspect(child)
        tree.markUnpacked(child)
        tree.mark(child, .implied, false)
        let mode = entry.fields.mode & 0o7777
        try entries.setDirectoryMetadata(child, DirectoryMetadata(mode: mode, owner: owner, isNew: false))
        try entries.removeAttributes(notIn: entry, at: place)
        if options.directoryAttributes == .replace { tree.mark(child, .givesAccessLists, false) }
        try dressDirectory(entry, child)
    }

    /// Attributes and times.
    private func dressDirectory(_ entry: borrowing TarDecoder, _ child: UInt32) throws(LayerError) {
        let left = try entries.setAttributes(of: entry, at: tree.place(ofDirectory: child), .directory)
        if entry.hasDefaultAccessList { tree.mark(child, .givesAccessLists) }
        // An access list changes the mode's group bits.
        if entry.extendedAttributeCount > 0 { try entries.limitDirectoryMode(child, to: left) }
        tree.setTimesAtEnd(child, values.times(of: entry))
    }

    /// Makes a directory that the archive names only as part of a path: 0755, root's.
    func makeImpliedDirectory(_ place: NamePlace) throws(LayerError) -> UInt32 {
        try entries.inspect(place.node)
        let vacancy = try vacate(place)
        try entries.makeDirectory(place, mode: 0o755)
        let child = try tree.makeNode(place, flags: [.fresh, .implied])
        try entries.setDirectoryMetadata(child, DirectoryMetadata(mode: 0o755, owner: values.root, isNew: true))
        if let seconds = options.impliedTime {
            let time = TimeStamp(seconds: seconds, nanoseconds: 0)
            tree.setTimesAtEnd(child, FileTimes(access: time, modification: time))
        }
        if vacancy == .showsLower { try makeOpaque(child) }
        return child
    }

    /// Gives the root itself the metadata of its entry.
    func changeRoot(_ entry: borrowing TarDecoder) throws(LayerError) {
        let owner = try values.owner(of: entry.fields)
        let place = tree.place(ofDirectory: ApplyTree.rootNode)
        try entries.setOwner(owner, of: place)
        try entries.removeAttributes(notIn: entry, at: place)
        try entries.setMode(try entries.setAttributes(of: entry, at: place, .directory), of: place)
        tree.mark(ApplyTree.rootNode, .inspected, false)
        tree.setTimesAtEnd(ApplyTree.rootNode, values.times(of: entry))
    }

    // MARK: files

    /// Makes room for a regular file and says how it is to be written.
    func prepareFile(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) -> FileTarget {
        let fields = entry.fields
        let owner = try values.owner(of: fields)
        try files.count(fileBytes: fields.size)
        try vacate(place)
        tree.markUnpacked(place.node)
        tree.put(.regular, at: place, .unpacked)
        let times = values.times(of: entry)
        var job = FileJob()
        job.node = place.node
        job.name = place.name
        job.mode = fields.mode & 0o7777
        job.uid = owner.uid
        job.gid = owner.gid
        job.size = fields.size
        job.setsOwner = entries.needsOwner(owner, in: place.node)
        job.dropsAccessList = tree.flags(ofDirectory: place.node).contains(.givesAccessLists)
        job.setsMode =
            job.mode & (entries.umask | 0o7000) != 0 || job.dropsAccessList || entry.extendedAttributeCount > 0
        job.access = times.access
        job.modification = times.modification
        log.report.uniqueFileBytes &+= UInt64(max(fields.size, 0))
        return FileTarget(place: place, job: job)
    }

    // MARK: links and nodes

    func makeSymbolicLink(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        let owner = try values.owner(of: entry.fields)
        try vacate(place)
        let target = entry.linkName
        guard target.byteCount <= EntryRules.longestTarget else { throw log.refusal(.longTarget) }
        try entries.makeSymbolicLink(place, to: target)
        tree.put(.symbolicLink, at: place, .unpacked)
        log.report.uniqueFileBytes &+= UInt64(target.byteCount)
        if entries.needsOwner(owner, in: place.node) { try entries.setOwner(owner, of: place) }
        _ = try entries.setAttributes(of: entry, at: place, .symbolicLink)
        try entries.setTimes(values.times(of: entry), of: place)
    }

    /// A FIFO or a device. One that this user may not make is left out.
    func makeNode(_ entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        let owner = try values.owner(of: entry.fields)
        let device = try DeviceNode(entry.fields, log)
        try vacate(place)
        let times = values.times(of: entry)
        let handle = try entries.handle(place.node)
        do throws(SystemCallError) {
            try entries.makeNode(place, device.kind, major: device.major, minor: device.minor, in: handle)
        } catch {
            // Devices cannot be made in a user namespace.
            guard error.errno == EPERM, entries.policy.isInUserNamespace || options.bestEffort else {
                throw LayerError(error, "apply", path: nil)
            }
            let mark = MarkMetadata(
                uid: owner.uid, gid: owner.gid, mode: entry.fields.mode & 0o7777, modification: times.modification)
            return try leaveOutDevice(place, mark)
        }
        tree.put(device.kind, at: place, .unpacked)
        if entries.needsOwner(owner, in: place.node) { try entries.setOwner(owner, of: place) }
        // Looked at by its name: opening a device may do something.
        try entries.dropInheritedAccessLists(place)
        try entries.setMode(try entries.setAttributes(of: entry, at: place, device.kind), of: place)
        try entries.setTimes(times, of: place)
    }

    /// Leaves out a device that this user may not make, or a further name of one. What lower directories have under the name
    /// is replaced all the same.
    func leaveOutDevice(_ place: NamePlace, _ mark: MarkMetadata) throws(LayerError) {
        log.report.skippedDevices += 1
        log.warn("\(tree.path(of: place)): the device was left out, this user may not make it")
        try writeDeletion(place, .other(mark))
        tree.leaveOut(place)
    }
}

/// Which node an entry means.
private struct DeviceNode {
    let kind: EntryKind
    var major: UInt32 = 0
    var minor: UInt32 = 0

    init(_ fields: TarFields, _ log: ApplyLog) throws(LayerError) {
        guard fields.type != TarType.fifo else {
            kind = .fifo
            return
        }
        kind = fields.type == TarType.character ? .characterDevice : .blockDevice
        do throws(EntryRefusal) { (major, minor) = try EntryRules.device(of: fields) } catch {
            throw log.refusal(error)
        }
    }
}
