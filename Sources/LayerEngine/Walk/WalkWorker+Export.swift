import LayerModel
import LinuxIO
import Synchronization

extension WalkWorker {
    /// Takes everything the upper directory holds: names sorted, one look at each inode, whiteouts recognised.
    mutating func export(_ directory: UInt32) throws(LayerError) {
        let record = store.directories[Int(directory)]
        if record.flags.contains(.merged) { return try exportMerged(directory) }
        guard let handle = try openUpper(directory) else { return }
        let marks = try readMarks(of: handle, directory)
        if !marks.opaque, let redirect = marks.redirect {
            opener.keep(record.upper, handle)
            let above = try restStack(of: record.parent)
            let rest = try redirectedStack(above, redirect, directory)
            store.directories[Int(directory)].rest = rest
            let hides = try !baseStack(of: directory).isEmpty
            store.directories[Int(directory)].flags.insert(hides ? [.merged, .opaque] : .merged)
            return try recordMerged(directory)
        }
        if marks.opaque {
            let hides = plan.opaqueNeedsLower ? try !baseStack(of: directory).isEmpty : true
            if hides { store.directories[Int(directory)].flags.insert(.opaque) }
        }
        scanned.removeAll(keepingCapacity: true)
        do throws(SystemCallOrLayerError) {
            try scan(
                handle, origin: record.upper, order: 0, isRoot: record.parent == noIndex, into: false)
        } catch { throw unwrap(error, "read directory", directory) }
        sortNames(&scanned, names)
        try recordEntries(directory, handle, marks)
        opener.keep(record.upper, handle)
    }

    /// Whether directories may carry overlay marks at all.
    var readsMarks: Bool { plan.dialect.hasMarks }

    func unwrap(_ error: SystemCallOrLayerError, _ operation: String, _ directory: UInt32) -> LayerError {
        switch error {
        case .call(let error): failure(error, operation, directory)
        case .layer(let error): error
        }
    }

    /// Looks at every scanned name's inode and records the entries.
    private mutating func recordEntries(
        _ directory: UInt32, _ handle: borrowing OwnedDescriptor, _ marks: OverlayMarks
    ) throws(LayerError) {
        let first = try store.entries.reserve(scanned.count)
        var count = 0
        let recognisesDevices = plan.dialect.recognises.contains(.device)
        let recognisesAttributes = plan.dialect.recognises.contains(.attributeFile)
        for index in 0..<scanned.count {
            let name = scanned[index]
            lookAhead(from: index, in: handle)
            guard passes(name.name, .unknown, in: directory) else { continue }
            guard let metadata = try look(at: name.name, name.origin, in: handle, directory) else { continue }
            if try leavesOut(name.name, directory) { continue }
            try noteIndexed(name.name, metadata, in: handle, directory)
            var entry = EntryRecord(name: name.name)
            entry.take(metadata)
            entry.origin = name.origin
            entry.flags.formUnion(name.flags)
            if try leavesOut(metadata, name.name, directory) {
                guard try replacesLower(name.name, in: directory) else { continue }
                entry.flags.insert(.whiteout)
            }
            if recognisesDevices, metadata.isWhiteoutDevice {
                // Some versions of fuse-overlayfs leave a device called `.wh..opq` in opaque directories.
                if plan.dialect.recognises.contains(.prefixedFile), bytes(names[name.name], startWith: ".wh.") {
                    continue
                }
                entry.flags.insert(.whiteout)
            } else if recognisesAttributes, entry.kind == .regular, entry.size == 0,
                try isAttributeWhiteout(name.name, handle, directory)
            {
                entry.flags.insert(.whiteout)
            }
            guard admits(entry, in: directory) else { continue }
            let place = UInt32(first + count)
            if isMarker(name.name) { entry.standForMarker() }
            if entry.kind == .socket, try replacesLower(name.name, in: directory) { entry.flags.insert(.replaces) }
            if entry.kind == .directory {
                entry.directory = try addDirectory(
                    directory, name: name.name, entry: place, upper: try physicalChild(name.origin, name.name),
                    rest: .empty, base: .empty)
            } else if isMarkerFile(name.name) {
                // The marker lies here as a file: it must not be made a second time.
                store.directories[Int(directory)].flags.remove(.opaque)
            }
            store.entries[Int(place)] = entry
            count += 1
        }
        store.directories[Int(directory)].first = UInt32(first)
        store.directories[Int(directory)].count = UInt32(count)
        if let progress = plan.progress { progress.totalEntries.add(UInt64(count), ordering: .relaxed) }
    }

    private func isMarkerFile(_ name: NameRef) -> Bool {
        plan.dialect.recognises.contains(.markerFile) && bytes(names[name], equal: WhiteoutName.opaqueMarker)
    }

    /// Metadata of a name in the open physical directory `origin`; nil where it vanished since the directory was read.
    mutating func look(
        at name: NameRef, _ origin: UInt32, in handle: borrowing OwnedDescriptor, _ directory: UInt32
    ) throws(LayerError) -> EntryMetadata? {
        let found: EntryMetadata?
        do throws(SystemCallError) { found = try metadata(of: name, origin: origin, in: handle) } catch {
            if skips(error, "name", directory, name) { return nil }
            throw failure(error, "look at", directory, name)
        }
        guard let found else {
            try noteVanished(directory, name)
            return nil
        }
        return plan.obeysOwnerOverrides ? try overridden(found, name, in: handle, directory) : found
    }

    mutating func isAttributeWhiteout(
        _ name: NameRef, _ handle: borrowing OwnedDescriptor, _ directory: UInt32
    ) throws(LayerError) -> Bool {
        tally.io.attributeCalls += 1
        let names = names
        do throws(SystemCallError) {
            return try attributes.marks(of: names.pointer(name), in: handle, dialect: plan.dialect).whiteout
        } catch { throw failure(error, "read attributes of", directory, name) }
    }

    /// Takes a directory below a renamed one: its own marks decide what of the lower contents shows.
    private mutating func exportMerged(_ directory: UInt32) throws(LayerError) {
        let record = store.directories[Int(directory)]
        if record.upper != noIndex {
            guard let handle = try openUpper(directory) else { return }
            let marks = try readMarks(of: handle, directory)
            if marks.opaque {
                store.directories[Int(directory)].rest = .empty
            } else if let redirect = marks.redirect {
                let above = store.directories[Int(record.parent)].rest
                let rest = try redirectedStack(above, redirect, directory)
                store.directories[Int(directory)].rest = rest
            }
            opener.keep(record.upper, handle)
        }
        try recordMerged(directory)
    }

    /// Takes the merged contents of a renamed directory, all of them as additions.
    private mutating func recordMerged(_ directory: UInt32) throws(LayerError) {
        let record = store.directories[Int(directory)]
        try gather(upper: record.upper, rest: record.rest, of: directory, base: false)
        let first = try store.entries.reserve(scanned.count)
        var count = 0
        for index in 0..<scanned.count {
            let name = scanned[index]
            guard passes(name.name, .unknown, in: directory) else { continue }
            guard let metadata = try look(atPhysical: name.origin, name.name, directory) else {
                try noteVanished(directory, name.name)
                continue
            }
            if try leavesOut(name.name, directory) { continue }
            var entry = EntryRecord(name: name.name)
            entry.take(metadata)
            entry.origin = name.origin
            guard admits(entry, in: directory) else { continue }
            let place = UInt32(first + count)
            if entry.kind == .directory {
                let inUpper = name.origin == record.upper
                let rest = try childStack(of: record.rest, name.name, directory)
                entry.directory = try addDirectory(
                    directory, name: name.name, entry: place,
                    upper: inUpper ? try physicalChild(name.origin, name.name) : noIndex, rest: rest, base: .empty,
                    flags: .merged)
            }
            store.entries[Int(place)] = entry
            count += 1
        }
        store.directories[Int(directory)].first = UInt32(first)
        store.directories[Int(directory)].count = UInt32(count)
    }

    /// Metadata of a name in any physical directory.
    mutating func look(atPhysical origin: UInt32, _ name: NameRef, _ directory: UInt32)
        throws(LayerError) -> EntryMetadata?
    {
        let parent: SharedDescriptor
        let found: EntryMetadata?
        do throws(SystemCallError) {
            parent = try opener.handle(origin)
            found = try metadata(of: name, origin: origin, in: parent.descriptor)
        } catch {
            if skips(error, "name", directory, name) { return nil }
            throw failure(error, "look at", directory, name)
        }
        guard let found else { return nil }
        if store.physical[Int(origin)].layer == 0 {
            try noteIndexed(name, found, in: parent.descriptor, directory)
        }
        return plan.obeysOwnerOverrides ? try overridden(found, name, in: parent.descriptor, directory) : found
    }
}
