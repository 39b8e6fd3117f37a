import LayerModel
import LinuxIO
import TarCodec

/// Ids, times and attributes of entries.
extension ApplyJob {
    /// The host's ids for an entry's.
    func ids(of fields: TarFields) throws(LayerError) -> (uid: UInt32, gid: UInt32) {
        // 2^32 - 1 means "leave it as it is" to chown(2).
        let valid: ClosedRange<Int64> = 0...0xffff_fffe
        guard valid ~= fields.uid, valid ~= fields.gid else {
            throw refusal(.invalidArchive, "the owner \(fields.uid):\(fields.gid) is out of range")
        }
        guard let uid = options.uidMap.hostID(forContainer: UInt32(fields.uid)) else {
            throw unmapped("uid \(fields.uid)")
        }
        guard let gid = options.gidMap.hostID(forContainer: UInt32(fields.gid)) else {
            throw unmapped("gid \(fields.gid)")
        }
        return (uid, gid)
    }

    @inline(never)
    private func unmapped(_ what: String) -> LayerError {
        LayerError(
            .idUnmapped, "apply", path: nil,
            cause: .archive(offset: entryOffset, reason: "\(what) is not in the map"),
            hint: "add a range that covers it")
    }

    /// An attribute's value with the host's ids, where it is an access list and ids are mapped; nil where it is to be taken as
    /// it is.
    private func mappedList(_ index: Int, of entry: borrowing TarDecoder) throws(LayerError) -> [UInt8]? {
        guard mapsIDs, AccessListIDs.isList(entry.extendedAttributeName(index)) else { return nil }
        do throws(AccessListIDs.Unmapped) {
            return try AccessListIDs.host(
                entry.extendedAttributeValue(index).copied(), users: options.uidMap, groups: options.gidMap)
        } catch {
            throw unmapped("the \(error.what) \(error.id), whom an access list names,")
        }
    }

    /// Adds an attribute of the entry to those that a writer will set.
    func append(_ index: Int, of entry: borrowing TarDecoder, to attributes: inout AttributeSet) throws(LayerError) {
        let name = entry.extendedAttributeName(index)
        if let list = try mappedList(index, of: entry) {
            attributes.append(name: name, value: list.rawBytes)
        } else {
            attributes.append(name: name, value: entry.extendedAttributeValue(index))
        }
    }

    private var mapsIDs: Bool { !(options.uidMap.isIdentity && options.gidMap.isIdentity) }

    /// The times an entry gets: nothing before 1970 or beyond what 64 bits of nanoseconds hold, and no access
    /// before the last modification (A21).
    func times(of entry: borrowing TarDecoder) -> (access: TimeStamp, modification: TimeStamp) {
        let fields = entry.fields
        let modification = bounded(fields.mtimeSeconds, fields.mtimeNanoseconds)
        guard let time = entry.accessTime else { return (modification, modification) }
        let access = bounded(time.seconds, time.nanoseconds)
        let isLater =
            access.seconds > modification.seconds
            || (access.seconds == modification.seconds && access.nanoseconds > modification.nanoseconds)
        return (isLater ? access : modification, modification)
    }

    func bounded(_ seconds: Int64, _ nanoseconds: Int32) -> TimeStamp {
        // 9,223,372,036 s is the end of 2^63 ns.
        guard seconds >= 0 || options.isExact, seconds < 9_223_372_036 else {
            return TimeStamp(seconds: 0, nanoseconds: 0)
        }
        return TimeStamp(seconds: seconds, nanoseconds: UInt32(max(nanoseconds, 0)))
    }

    /// Sets the owner of a name; tolerated failures become warnings.
    func setOwner(_ uid: UInt32, _ gid: UInt32, of name: NameRef, in node: UInt32) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(node)
        do throws(SystemCallError) {
            try handle.descriptor.setOwner(arena.pointer(name), uid: uid, gid: gid)
        } catch {
            guard policy.tolerates(ownerError: error.errno) else { throw ownerFailure(error) }
            crew.results.tolerate(WriteFailure(node: node, name: name, error: error))
        }
    }

    @inline(never)
    func ownerFailure(_ error: SystemCallError) -> LayerError {
        let isUnmapped = error.errno == 22 && policy.isInUserNamespace
        return LayerError(
            error, "apply", path: nil,
            hint: isUnmapped
                ? "the owner has no place in this user namespace: give it more subordinate ids" : nil)
    }

    /// Whether the entry brings a default access list.
    func hasDefaultAccessList(_ entry: borrowing TarDecoder) -> Bool {
        for index in 0..<entry.extendedAttributeCount
        where bytes(entry.extendedAttributeName(index), equal: "system.posix_acl_default") {
            return true
        }
        return false
    }

    /// Whether an attribute of the archive is to be set; warns of those refused.
    func accepts(_ attribute: RawSpan, of entry: borrowing TarDecoder) -> Bool {
        switch policy.verdict(attribute) {
        case .set: return true
        case .ignore: return false
        case .refuse:
            let path = PathBytes(entry.name.copied())
            let name = PathBytes(attribute.copied())
            report.warn("\(path): the attribute \(name) was left out")
            return false
        }
    }

    /// Sets the entry's attributes on a name that is neither followed nor opened. Returns the mode that it may have with
    /// those that could be set: the entry's, or less.
    func setAttributes(of entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32, kind: EntryKind)
        throws(LayerError) -> UInt32
    {
        var mode = entry.fields.mode & 0o7777
        guard entry.extendedAttributeCount > 0 else { return mode }
        let name = tree.records[Int(record)].name
        for index in 0..<entry.extendedAttributeCount {
            let attribute = entry.extendedAttributeName(index)
            guard accepts(attribute, of: entry) else { continue }
            let terminated = attribute.copied() + [0]
            if let list = try mappedList(index, of: entry) {
                mode = try setAttribute(terminated.rawBytes, list.rawBytes, of: name, in: node, kind: kind, mode: mode)
            } else {
                mode = try setAttribute(
                    terminated.rawBytes, entry.extendedAttributeValue(index), of: name, in: node, kind: kind, mode: mode
                )
            }
        }
        if mode != entry.fields.mode & 0o7777 { tree.limit(record) }
        return mode
    }

    /// Takes the portable attributes from a directory that its entry does not have: the entry says what the directory is,
    /// as it would in an upper directory, where it would be made anew.
    func removeAttributes(notIn entry: borrowing TarDecoder, _ record: UInt32, in node: UInt32) throws(LayerError) {
        guard options.directoryAttributes == .replace else { return }
        let handle = try handle(node)
        let arena = tree.arena
        let name = tree.records[Int(record)].name
        report.io.attributeCalls += 1
        let total = try attempt { () throws(SystemCallError) in
            try reader.list(of: arena.pointer(name), in: handle.descriptor)
        }
        var position = 0
        while position < total {
            let attribute = reader.name(at: position).copied()
            position += attribute.count + 1
            guard policy.isPortable(attribute.rawBytes), !has(entry, attribute.rawBytes) else { continue }
            let terminated = attribute + [0]
            report.io.attributeCalls += 1
            do throws(SystemCallError) {
                try handle.descriptor.removeAttribute(
                    NamePointer(terminated: terminated.rawBytes), of: arena.pointer(name))
            } catch {
                let path = tree.path(of: name, in: node)
                let remedy = policy.remedy(error.errno, attribute: attribute.rawBytes, of: .directory)
                guard policy.tolerates(error.errno, attribute: attribute.rawBytes, of: .directory) else {
                    throw LayerError(error, "remove the attribute \(PathBytes(attribute)) of", path: path, hint: remedy)
                }
                report.warn(
                    "\(path): the attribute \(PathBytes(attribute)), which the layer does not have, was not removed: "
                        + "\(errorText(error.errno)); \(remedy)")
            }
        }
    }

    private func has(_ entry: borrowing TarDecoder, _ attribute: RawSpan) -> Bool {
        for index in 0..<entry.extendedAttributeCount
        where bytesEqual(entry.extendedAttributeName(index), attribute) {
            return true
        }
        return false
    }

    /// An entry for the root: ignored, unless the caller wants its metadata (A11, V21).
    func applyRoot(_ entry: borrowing TarDecoder) throws(LayerError) {
        guard entry.fields.type == TarType.directory else {
            throw refusal(.unsafePath, "an entry that is no directory names the root")
        }
        guard options.applyRootMetadata else { return }
        let ids = try ids(of: entry.fields)
        let root = try handle(ApplyTree.rootNode)
        let arena = tree.arena
        let name = tree.records[0].name
        try setOwner(ids.uid, ids.gid, of: name, in: ApplyTree.rootNode)
        try removeAttributes(notIn: entry, 0, in: ApplyTree.rootNode)
        let mode = try setAttributes(of: entry, 0, in: ApplyTree.rootNode, kind: .directory)
        try attempt { () throws(SystemCallError) in try root.descriptor.setMode(arena.pointer(name), mode) }
        let times = times(of: entry)
        tree.nodes[0].flags.remove(.inspected)
        setTimesAtEnd(ApplyTree.rootNode, access: times.access, modification: times.modification)
    }
}
