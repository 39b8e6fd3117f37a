import LayerModel
import LinuxIO
import TarCodec

/// Owner and mode of a directory to be set.
struct DirectoryMetadata {
    var mode: UInt32
    var uid: UInt32
    var gid: UInt32
    /// Whether this apply has just made it, with the process's ids and `mode` less the umask.
    var isNew: Bool
}

/// Directories, symbolic links and nodes: made and finished at once by the decoding thread.
extension ApplyJob {
    // MARK: what is in the way

    /// Looks at a directory that was there before: what new files inherit from it, and its times, which come back
    /// at the end unless the archive has others.
    func inspect(_ node: UInt32) throws(LayerError) {
        let flags = tree.nodes[Int(node)].flags
        guard !flags.contains(.fresh), !flags.contains(.inspected) else { return }
        tree.nodes[Int(node)].flags.insert(.inspected)
        let handle = try handle(node)
        report.io.stats += 1
        let metadata = try attempt { () throws(SystemCallError) in try handle.descriptor.metadata() }
        if metadata.mode & 0o2000 != 0 || metadata.gid != effectiveGroup {
            tree.nodes[Int(node)].flags.insert(.givesGroup)
        }
        let parent = try self.handle(tree.nodes[Int(node)].parent)
        let name = tree.records[Int(tree.nodes[Int(node)].entry)].name
        let arena = tree.arena
        report.io.attributeCalls += 1
        let accessList: Int?
        do throws(SystemCallError) {
            accessList = try reader.read(
                NamePointer("system.posix_acl_default"), of: arena.pointer(name), in: parent.descriptor)
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        if accessList != nil { tree.nodes[Int(node)].flags.insert(.givesAccessLists) }
        if node != ApplyTree.rootNode, !flags.contains(.hasTimes) {
            let time = TimeStamp(seconds: metadata.mtimeSeconds, nanoseconds: metadata.mtimeNanoseconds)
            setTimesAtEnd(node, access: time, modification: time)
        }
    }

    func setTimesAtEnd(_ node: UInt32, access: TimeStamp, modification: TimeStamp) {
        tree.nodes[Int(node)].flags.insert(.hasTimes)
        tree.nodes[Int(node)].accessSeconds = access.seconds
        tree.nodes[Int(node)].accessNanoseconds = access.nanoseconds
        tree.nodes[Int(node)].modificationSeconds = modification.seconds
        tree.nodes[Int(node)].modificationNanoseconds = modification.nanoseconds
    }

    /// Removes whatever lies under a name. True if lower directories would show through a directory put there, but
    /// must not: this layer had a whiteout or another kind of thing under the name.
    func clear(_ record: UInt32, in node: UInt32) throws(LayerError) -> Bool {
        let kind = try kind(of: record, in: node)
        let flags = tree.records[Int(record)].flags
        if flags.contains(.whiteout) { try removeMarker(record, in: node) }
        guard kind != .unknown else {
            tree.clear(record)
            return flags.contains(.whiteout) || flags.contains(.deferred) && isUpper
        }
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let handle = try handle(node)
        let wasUnpacked = flags.contains(.unpacked)
        if kind == .directory {
            try removeDirectory(record, in: node)
        } else {
            if wasUnpacked || flags.contains(.made) {
                try settle(node)
                try discount(name, handle)
            }
            do throws(SystemCallError) { try handle.descriptor.unlink(arena.pointer(name)) } catch {
                // EBUSY
                if error.errno == 16 { throw TreeRemoval.mountPoint(tree.path(of: name, in: node), "apply") }
                throw LayerError(error, "apply", path: nil)
            }
            tree.clear(record)
        }
        // Whatever it was, it hid what lower directories have under the name.
        return isUpper
    }

    /// Takes a file of this layer that is about to go out of the sum of unique bytes.
    private func discount(_ name: NameRef, _ handle: DirectoryHandle) throws(LayerError) {
        let arena = tree.arena
        report.io.stats += 1
        let metadata = try attempt { () throws(SystemCallError) in
            try handle.descriptor.metadataIfPresent(arena.pointer(name))
        }
        if let metadata, metadata.linkCount == 1 { report.uniqueFileBytes &-= UInt64(max(metadata.size, 0)) }
    }

    /// Refuses to delete anything in a directory that lies in something mounted below the root: that is somebody else's.
    func refuseMounted(_ node: UInt32) throws(LayerError) {
        guard !options.ownsMounts, node != ApplyTree.rootNode,
            tree.nodes[Int(node)].flags.isDisjoint(with: [.fresh, .isOnRootsMount])
        else { return }
        let (directory, root) = (try handle(node), try handle(ApplyTree.rootNode))
        if let point = remover.mountPoint(holding: directory.descriptor, apartFrom: root.descriptor) {
            throw TreeRemoval.mountPoint(point, "apply")
        }
        tree.nodes[Int(node)].flags.insert(.isOnRootsMount)
    }

    /// Removes a directory and all below it, once nothing is being written any more.
    func removeDirectory(_ record: UInt32, in node: UInt32) throws(LayerError) {
        try refuseMounted(node)
        try drain()
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let handle = try handle(node)
        let counts = tree.records[Int(record)].flags.contains(.unpacked)
        let removed = try remover.remove(arena.pointer(name), in: handle.descriptor, countsBytes: counts)
        report.uniqueFileBytes &-= min(removed.freedBytes, report.uniqueFileBytes)
        tree.clear(record)
    }

    // MARK: directories

    func makeDirectory(_ entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) {
        let ids = try ids(of: entry.fields)
        let mode = entry.fields.mode & 0o7777
        let child: UInt32
        var hides = false
        var metadata = DirectoryMetadata(mode: mode, uid: ids.uid, gid: ids.gid, isNew: false)
        if try kind(of: record, in: node) == .directory {
            let known = tree.records[Int(record)].child
            child = known != 0 ? known : try tree.makeNode(record, flags: [])
            // Files that are still to be made must get what the directory hands down now, not what it will.
            try settle(child)
            try inspect(child)
        } else {
            hides = try clear(record, in: node)
            try makeDirectoryName(record, in: node, mode: mode)
            child = try tree.makeNode(record, flags: .fresh)
            metadata.isNew = true
        }
        tree.markUnpacked(child)
        try setDirectoryMetadata(record, in: node, metadata)
        // Now that nothing is left in it of what the directory above hands down.
        if hides { try markOpaque(child) }
        if !metadata.isNew {
            try removeAttributes(notIn: entry, record, in: node)
            if options.directoryAttributes == .replace { tree.nodes[Int(child)].flags.remove(.givesAccessLists) }
        }
        let left = try setAttributes(of: entry, record, in: node, kind: .directory)
        if hasDefaultAccessList(entry) { tree.nodes[Int(child)].flags.insert(.givesAccessLists) }
        if entry.extendedAttributeCount > 0 {
            // An access list changes the mode's group bits.
            try setDirectoryMode(record, in: node, left)
            tree.nodes[Int(child)].finalMode &= left
        }
        let times = times(of: entry)
        setTimesAtEnd(child, access: times.access, modification: times.modification)
    }

    /// mkdir under a name that is free; the record then says that it is there.
    func makeDirectoryName(_ record: UInt32, in node: UInt32, mode: UInt32) throws(LayerError) {
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let handle = try handle(node)
        try refuseMarkerName(name)
        report.io.creates += 1
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.makeDirectory(arena.pointer(name), mode: mode & 0o777 | 0o700)
        }
        tree.put(.directory, at: record, .made)
    }

    func setDirectoryMetadata(_ record: UInt32, in node: UInt32, _ metadata: DirectoryMetadata) throws(LayerError) {
        let parent = tree.nodes[Int(node)].flags
        let inherits = parent.contains(.givesGroup) || parent.contains(.givesAccessLists)
        let child = tree.records[Int(record)].child
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let differs = metadata.uid != effectiveUser || metadata.gid != effectiveGroup
        if differs || inherits || !metadata.isNew {
            try setOwner(metadata.uid, metadata.gid, of: name, in: node)
        }
        if metadata.isNew { try dropInheritedAccessLists(name, in: node) }
        if metadata.gid != effectiveGroup || metadata.mode & 0o2000 != 0 {
            tree.nodes[Int(child)].flags.insert(.givesGroup)
        } else {
            tree.nodes[Int(child)].flags.remove(.givesGroup)
        }
        let made = (metadata.mode & 0o777 | 0o700) & ~umask
        if effectiveUser != 0, metadata.mode & 0o700 != 0o700 {
            // Not root: the directory must stay usable until its contents are there.
            tree.nodes[Int(child)].flags.insert(.hasFinalMode)
            tree.nodes[Int(child)].finalMode = metadata.mode
        }
        if !metadata.isNew || inherits || made != metadata.mode {
            try setDirectoryMode(record, in: node, metadata.mode)
        }
        _ = arena
    }

    func setDirectoryMode(_ record: UInt32, in node: UInt32, _ mode: UInt32) throws(LayerError) {
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let handle = try handle(node)
        let mode = effectiveUser != 0 ? mode | 0o700 : mode
        try attempt { () throws(SystemCallError) in try handle.descriptor.setMode(arena.pointer(name), mode) }
    }

    /// Takes from something new what it got by being made in a directory with a default access list.
    func dropInheritedAccessLists(_ name: NameRef, in node: UInt32) throws(LayerError) {
        guard tree.nodes[Int(node)].flags.contains(.givesAccessLists) else { return }
        let arena = tree.arena
        let handle = try handle(node)
        report.io.attributeCalls += 2
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.removeAttribute(NamePointer("system.posix_acl_access"), of: arena.pointer(name))
            try handle.descriptor.removeAttribute(NamePointer("system.posix_acl_default"), of: arena.pointer(name))
        }
    }

    // MARK: links and nodes

    func makeSymbolicLink(_ entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) {
        let ids = try ids(of: entry.fields)
        _ = try clear(record, in: node)
        let target = entry.linkName
        guard target.byteCount < 4096 else { throw refusal(.invalidArchive, "the link's target is too long") }
        let scratch = scratch
        scratch.start = 0
        scratch.end = 0
        scratch.append(target)
        scratch.appendZeros(1)
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let handle = try handle(node)
        try refuseMarkerName(name)
        report.io.creates += 1
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.makeSymbolicLink(arena.pointer(name), target: NamePointer(terminated: scratch.bytes))
        }
        tree.put(.symbolicLink, at: record, .unpacked)
        report.uniqueFileBytes &+= UInt64(target.byteCount)
        if ids.uid != effectiveUser || ids.gid != effectiveGroup
            || tree.nodes[Int(node)].flags.contains(.givesGroup)
        {
            try setOwner(ids.uid, ids.gid, of: name, in: node)
        }
        _ = try setAttributes(of: entry, record, in: node, kind: .symbolicLink)
        let times = times(of: entry)
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.setTimes(arena.pointer(name), access: times.access, modification: times.modification)
        }
    }

    /// Leaves out a device that this user may not make, or a further name of one. What lower directories have under the name
    /// is replaced all the same.
    func leaveOutDevice(_ record: UInt32, in node: UInt32, _ mark: MarkMetadata) throws(LayerError) {
        let name = tree.records[Int(record)].name
        report.skippedDevices += 1
        report.warn("\(tree.path(of: name, in: node)): the device was left out, this user may not make it")
        try writeWhiteout(record, in: node, mark)
        tree.leaveOut(record)
    }

    func makeNode(_ entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) {
        let fields = entry.fields
        let ids = try ids(of: fields)
        var major: UInt32 = 0
        var minor: UInt32 = 0
        let kind: EntryKind
        if fields.type == TarType.fifo {
            kind = .fifo
        } else {
            kind = fields.type == TarType.character ? .characterDevice : .blockDevice
            // Linux has 12 bits for the major and 20 for the minor number (A46).
            guard 0..<(1 << 12) ~= fields.deviceMajor, 0..<(1 << 20) ~= fields.deviceMinor else {
                throw refusal(
                    .invalidArchive, "the device number \(fields.deviceMajor):\(fields.deviceMinor) is out of range")
            }
            major = UInt32(fields.deviceMajor)
            minor = UInt32(fields.deviceMinor)
        }
        _ = try clear(record, in: node)
        let name = tree.records[Int(record)].name
        let arena = tree.arena
        let handle = try handle(node)
        try refuseMarkerName(name)
        report.io.creates += 1
        do throws(SystemCallError) {
            try handle.descriptor.makeNode(arena.pointer(name), mode: kind.modeBits | 0o600, major: major, minor: minor)
        } catch {
            // A45: devices cannot be made in a user namespace.
            guard error.errno == 1, policy.isInUserNamespace || options.bestEffort else {
                throw LayerError(error, "apply", path: nil)
            }
            let mark = MarkMetadata(
                uid: ids.uid, gid: ids.gid, mode: fields.mode & 0o7777, modification: times(of: entry).modification)
            return try leaveOutDevice(record, in: node, mark)
        }
        tree.put(kind, at: record, .unpacked)
        if ids.uid != effectiveUser || ids.gid != effectiveGroup
            || tree.nodes[Int(node)].flags.contains(.givesGroup)
        {
            try setOwner(ids.uid, ids.gid, of: name, in: node)
        }
        // Looked at by its name: opening a device may do something.
        try dropInheritedAccessLists(name, in: node)
        let mode = try setAttributes(of: entry, record, in: node, kind: kind)
        let times = times(of: entry)
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.setMode(arena.pointer(name), mode)
            try handle.descriptor.setTimes(arena.pointer(name), access: times.access, modification: times.modification)
        }
    }
}
