import LayerModel
import LayerRules
import LinuxIO
import TarCodec

/// Owners, modes, times and attributes of names that are neither followed nor opened.
extension EntryMaker {
    /// Whether something new has another owner by itself.
    func differs(_ owner: Owner) -> Bool { owner.uid != effective.uid || owner.gid != effective.gid }

    /// Whether something new in a directory needs its owner set.
    func needsOwner(_ owner: Owner, in node: UInt32) -> Bool {
        differs(owner) || tree.flags(ofDirectory: node).contains(.givesGroup)
    }

    /// Sets the owner of a name; tolerated failures become warnings.
    func setOwner(_ owner: Owner, of place: NamePlace) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(place.node)
        do throws(SystemCallError) {
            try handle.descriptor.setOwner(arena.pointer(place.name), uid: owner.uid, gid: owner.gid)
        } catch {
            guard policy.tolerates(ownerError: error.errno) else { throw log.ownerFailure(error) }
            files.tolerate(WriteFailure(node: place.node, name: place.name, error: error))
        }
    }

    func setMode(_ mode: UInt32, of place: NamePlace) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(place.node)
        try attempt { () throws(SystemCallError) in try handle.descriptor.setMode(arena.pointer(place.name), mode) }
    }

    func setTimes(_ times: FileTimes, of place: NamePlace) throws(LayerError) {
        let arena = tree.arena
        let handle = try handle(place.node)
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.setTimes(
                arena.pointer(place.name), access: times.access, modification: times.modification)
        }
    }

    /// Takes from something new what it got by being made in a directory with a default access list.
    func dropInheritedAccessLists(_ place: NamePlace) throws(LayerError) {
        guard tree.flags(ofDirectory: place.node).contains(.givesAccessLists) else { return }
        let arena = tree.arena
        let handle = try handle(place.node)
        log.report.io.attributeCalls += 2
        try attempt { () throws(SystemCallError) in
            let name = arena.pointer(place.name)
            try handle.descriptor.removeAttribute(NamePointer("system.posix_acl_access"), of: name)
            try handle.descriptor.removeAttribute(NamePointer("system.posix_acl_default"), of: name)
        }
    }

    // MARK: attributes

    /// Sets the entry's attributes. Returns the mode that the name may have with those that could be set: the entry's, or less.
    func setAttributes(of entry: borrowing TarDecoder, at place: NamePlace, _ kind: EntryKind) throws(LayerError)
        -> UInt32
    {
        let wanted = entry.fields.mode & 0o7777
        var mode = wanted
        for index in 0..<entry.extendedAttributeCount {
            let attribute = entry.extendedAttributeName(index)
            guard values.accepts(attribute, of: entry) else { continue }
            let terminated = attribute.copied() + [0]
            if let list = try values.mappedList(index, of: entry) {
                mode = try setAttribute(terminated.rawBytes, list.rawBytes, of: place, kind, mode: mode)
            } else {
                let value = entry.extendedAttributeValue(index)
                mode = try setAttribute(terminated.rawBytes, value, of: place, kind, mode: mode)
            }
        }
        if mode != wanted { tree.limit(place) }
        return mode
    }

    /// Sets one attribute; `attribute` ends in a NUL. A tolerated failure becomes a warning, others are thrown. Returns what is
    /// left of the mode that the name is to have with it.
    func setAttribute(_ attribute: RawSpan, _ value: RawSpan, of place: NamePlace, _ kind: EntryKind, mode: UInt32)
        throws(LayerError) -> UInt32
    {
        let handle = try handle(place.node)
        let arena = tree.arena
        log.report.io.attributeCalls += 1
        do throws(SystemCallError) {
            try handle.descriptor.setAttribute(
                NamePointer(terminated: attribute), value, of: arena.pointer(place.name))
            return mode
        } catch {
            let plain = attribute.extracting(0..<attribute.byteCount - 1)
            let failure = WriteFailure(
                node: place.node, name: place.name, kind: kind, attribute: plain, byteCount: value.byteCount,
                error: error)
            guard policy.tolerates(error.errno, attribute: plain, of: kind) else { throw log.error(failure) }
            files.tolerate(failure)
            return policy.mode(mode, without: plain, value)
        }
    }

    /// Takes the portable attributes from a directory that its entry does not have: the entry says what the directory is,
    /// as it would in an upper directory, where it would be made anew.
    func removeAttributes(notIn entry: borrowing TarDecoder, at place: NamePlace) throws(LayerError) {
        guard options.directoryAttributes == .replace else { return }
        let handle = try handle(place.node)
        let arena = tree.arena
        log.report.io.attributeCalls += 1
        let total = try attempt { () throws(SystemCallError) in
            try reader.list(of: arena.pointer(place.name), in: handle.descriptor)
        }
        var position = 0
        while position < total {
            let attribute = reader.name(at: position).copied()
            position += attribute.count + 1
            guard policy.rules.isPortable(attribute.rawBytes), !entry.hasAttribute(attribute.rawBytes) else { continue }
            let terminated = attribute + [0]
            log.report.io.attributeCalls += 1
            do throws(SystemCallError) {
                try handle.descriptor.removeAttribute(
                    NamePointer(terminated: terminated.rawBytes), of: arena.pointer(place.name))
            } catch {
                let path = tree.path(of: place)
                let remedy = policy.remedy(error.errno, attribute: attribute.rawBytes, of: .directory)
                guard policy.tolerates(error.errno, attribute: attribute.rawBytes, of: .directory) else {
                    throw LayerError(error, "remove the attribute \(PathBytes(attribute)) of", path: path, hint: remedy)
                }
                log.warn(
                    "\(path): the attribute \(PathBytes(attribute)), which the layer does not have, was not removed: "
                        + "\(errorText(error.errno)); \(remedy)")
            }
        }
    }

    /// The capabilities of a file, which setting its owner would take.
    func capability(of place: NamePlace) throws(LayerError) -> [UInt8]? {
        try attribute(NamePointer("security.capability"), of: place)
    }

    /// The value of an attribute; nil where it is not set or cannot be.
    func attribute(_ name: borrowing NamePointer, of place: NamePlace) throws(LayerError) -> [UInt8]? {
        let arena = tree.arena
        let handle = try handle(place.node)
        do throws(SystemCallError) {
            guard try reader.read(name, of: arena.pointer(place.name), in: handle.descriptor) != nil else { return nil }
        } catch {
            throw LayerError(error, "apply", path: nil)
        }
        return reader.lastValueBytes
    }
}
