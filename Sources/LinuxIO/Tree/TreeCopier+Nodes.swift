import Glibc
import LayerModel
import Synchronization

/// Entries that are made anew, and their metadata: owner, attributes, mode, times, in this order, since setting the
/// owner clears special bits and capabilities.
extension TreeCopier {
    /// Makes an entry that is no directory; with a key, tells the others where the copy lies.
    mutating func make(
        _ name: borrowing NamePointer, _ bytes: RawSpan, _ metadata: EntryMetadata, _ place: CopyPlace,
        _ key: CopiedLinks.Key?
    ) throws(LayerError) {
        if metadata.kind == .regular { return try makeFile(name, bytes, metadata, place, key) }
        let isMade: Bool
        do throws(SystemCallError) { isMade = try makeName(name, metadata, place) } catch { throw copyError(error) }
        guard isMade else {
            if let key { plan.links.skip(key) }
            tally.skippedDevices += 1
            return
        }
        if let key { try publish(key, bytes, place) }
        if metadata.kind == .symbolicLink { tally.symbolicLinks += 1 } else { tally.nodes += 1 }
        tally.io.creates += 1
        do throws(SystemCallError) { try setMetadata(of: name, metadata, place) } catch { throw copyError(error) }
    }

    private func publish(_ key: CopiedLinks.Key, _ bytes: RawSpan, _ place: CopyPlace) throws(LayerError) {
        let name = try plan.directories.names.append(bytes)
        plan.links.publish(key, CopiedLinks.Place(directory: place.index, name: name))
    }

    /// Makes a link or node; false for a device that a user namespace may not have.
    private func makeName(_ name: borrowing NamePointer, _ metadata: EntryMetadata, _ place: CopyPlace)
        throws(SystemCallError) -> Bool
    {
        if metadata.kind == .symbolicLink {
            let scratch = scratch
            scratch.start = 0
            scratch.end = try place.source.descriptor.readLink(name, into: scratch, 0..<scratch.capacity - 1)
            scratch.appendZeros(1)
            try place.target.descriptor.makeSymbolicLink(name, target: NamePointer(terminated: scratch.bytes))
            return true
        }
        do throws(SystemCallError) {
            try place.target.descriptor.makeNode(
                name, mode: metadata.mode, major: metadata.deviceMajor, minor: metadata.deviceMinor)
        } catch {
            let isDevice = metadata.kind == .characterDevice || metadata.kind == .blockDevice
            // A whiteout left out would let a deleted file show.
            guard error.errno == EPERM, isDevice, !metadata.isWhiteoutDevice, ProcessState.isInUserNamespace else {
                throw error
            }
            return false
        }
        return true
    }

    private mutating func setMetadata(of name: borrowing NamePointer, _ metadata: EntryMetadata, _ place: CopyPlace)
        throws(SystemCallError)
    {
        let target = place.target
        let setsOwner = setsOwner(metadata)
        if setsOwner { try target.descriptor.setOwner(name, uid: metadata.uid, gid: metadata.gid) }
        var setsMode = metadata.mode & (plan.umask | 0o7000) != 0
        if plan.options.attributes.contains(.all), try copyAttributes(of: name, place) { setsMode = true }
        if setsMode, metadata.kind != .symbolicLink { try target.descriptor.setMode(name, metadata.mode & 0o7777) }
        try target.descriptor.setTimes(
            name, access: metadata.accessTime, modification: metadata.modificationTime)
    }

    private func setsOwner(_ metadata: EntryMetadata) -> Bool {
        plan.inheritsGroup || metadata.uid != plan.user || metadata.gid != plan.group
    }

    // MARK: Regular files

    private mutating func makeFile(
        _ name: borrowing NamePointer, _ bytes: RawSpan, _ metadata: EntryMetadata, _ place: CopyPlace,
        _ key: CopiedLinks.Key?
    ) throws(LayerError) {
        let opened: RegularFile
        tally.io.opens += 1
        tally.io.stats += 2
        do throws(SystemCallError) {
            opened = try place.source.descriptor.openRegular(name, expecting: FileIdentity(metadata))
        } catch { throw copyError(error) }
        guard case .same(let source, let now) = consume opened else {
            throw LayerError(
                .fileChanged, "copy", path: nil, cause: .reason("the file was replaced while the tree was copied"),
                hint: "end what changes the tree, and run this again")
        }
        try makeCopy(name, of: source, now, place)
        if let key { try publish(key, bytes, place) }
    }

    private mutating func makeCopy(
        _ name: borrowing NamePointer, of source: borrowing OwnedDescriptor, _ metadata: EntryMetadata,
        _ place: CopyPlace
    ) throws(LayerError) {
        let target: OwnedDescriptor
        tally.io.opens += 1
        do throws(SystemCallError) {
            target = try place.target.descriptor.open(
                name, [.create, .exclusive, .noFollow, .writeOnly], mode: metadata.mode & 0o777)
        } catch { throw copyError(error) }
        do throws(LayerError) {
            let start = metadata.size <= FileAhead.largest && ahead.timesRead() ? ContinuousClock.now : nil
            let outcome = try files.copy(source, metadata, to: target)
            if let start { ahead.noteRead(start.duration(to: .now)) }
            try finish(target, source, metadata)
            count(outcome)
        } catch {
            try? place.target.descriptor.unlink(name)
            throw error
        }
    }

    /// Counts a file that is copied.
    mutating func count(_ outcome: CopyOutcome) {
        tally.files += 1
        tally.io.creates += 1
        tally.contentBytes += UInt64(outcome.size)
        tally.io.bytesWritten += UInt64(outcome.movedBytes)
        if outcome.method == .clone { tally.clones += 1 }
        plan.options.progress?.bytes.add(UInt64(outcome.size), ordering: .relaxed)
    }

    mutating func finish(
        _ target: consuming OwnedDescriptor, _ source: borrowing OwnedDescriptor, _ metadata: EntryMetadata
    ) throws(LayerError) {
        do throws(SystemCallError) {
            if setsOwner(metadata) { try target.setOwner(uid: metadata.uid, gid: metadata.gid) }
            let setsMode = metadata.mode & (plan.umask | 0o7000) != 0
            if try copyAttributes(from: source, to: target) || setsMode { try target.setMode(metadata.mode & 0o7777) }
            try target.setTimes(access: metadata.accessTime, modification: metadata.modificationTime)
            try target.close()
        } catch { throw copyError(error) }
    }

    // MARK: Directories

    /// Gives a directory, in which nothing will be made any more, its metadata.
    mutating func finish(_ place: CopyPlace, _ metadata: EntryMetadata) throws(LayerError) {
        let isRoot = place.index == TreeDirectories.root
        if isRoot, !plan.options.copiesRootMetadata { return }
        let target = place.target
        let existed = isRoot || plan.directories.records[Int(place.index)].existed
        do throws(SystemCallError) {
            if existed || setsOwner(metadata) { try target.descriptor.setOwner(uid: metadata.uid, gid: metadata.gid) }
            _ = try copyAttributes(from: place.source.descriptor, to: target.descriptor)
            try target.descriptor.setMode(metadata.mode & 0o7777)
            try target.descriptor.setTimes(
                access: metadata.accessTime, modification: metadata.modificationTime)
        } catch { throw copyError(error) }
    }

    // MARK: Attributes

    /// Copies the attributes that the options ask for; true where there were any.
    private mutating func copyAttributes(from source: borrowing OwnedDescriptor, to target: borrowing OwnedDescriptor)
        throws(SystemCallError) -> Bool
    {
        let wanted = plan.options.attributes
        guard !wanted.isEmpty else { return false }
        tally.io.attributeCalls += 1
        let total = try attributes.list(of: source)
        var position = 0
        var found = false
        while position < total {
            let next = position + attributes.name(at: position).byteCount + 1
            if wanted.copies(attributes.name(at: position)), !isLeftOut(position),
                try attributes.readValue(at: position, of: source) != nil
            {
                do throws(SystemCallError) {
                    try target.setAttribute(attributes.pointer(at: position), attributes.lastValue)
                } catch { try tolerate(error) }
                found = true
            }
            position = next
        }
        return found
    }

    /// The same for a name that is neither followed nor opened.
    private mutating func copyAttributes(of name: borrowing NamePointer, _ place: CopyPlace)
        throws(SystemCallError) -> Bool
    {
        tally.io.attributeCalls += 1
        let source = place.source
        let total = try attributes.list(of: name, in: source.descriptor)
        var position = 0
        var found = false
        while position < total {
            let next = position + attributes.name(at: position).byteCount + 1
            if !isLeftOut(position), try attributes.readValue(at: position, of: name, in: source.descriptor) != nil {
                do throws(SystemCallError) {
                    try place.target.descriptor.setAttribute(
                        attributes.pointer(at: position), attributes.lastValue, of: name)
                } catch { try tolerate(error) }
                found = true
            }
            position = next
        }
        return found
    }

    /// Whether the administrator's rules leave the listed attribute out; it is counted then.
    private mutating func isLeftOut(_ position: Int) -> Bool {
        guard plan.options.followsAttributeRules, AttributeRules.leavesOut(attributes.pointer(at: position)) else {
            return false
        }
        let name = attributes.name(at: position).copied()
        tally.leftOutAttributes.add(name.rawBytes)
        return true
    }

    private func tolerate(_ error: SystemCallError) throws(SystemCallError) {
        guard error.errno == EOPNOTSUPP, plan.options.toleratesUnsupportedAttributes else { throw error }
    }
}
