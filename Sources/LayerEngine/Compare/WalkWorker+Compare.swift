import LayerModel
import LinuxIO

/// The comparison of two merged views, one directory at a time. An upper directory is
/// compared through its own names alone where nothing else can differ; otherwise both views are listed.
extension WalkWorker {
    mutating func compare(_ directory: UInt32) throws(LayerError) {
        var record = store.directories[Int(directory)]
        if record.upper != noIndex {
            guard let handle = try openUpper(directory) else { return }
            let marks = try readMarks(of: handle, directory)
            var opaque = marks.opaque
            if plan.dialect.recognises.contains(.markerFile), try hasMarker(handle, directory) { opaque = true }
            if opaque {
                record.rest = .empty
            } else if let redirect = marks.redirect {
                opener.keep(record.upper, try duplicate(handle, directory))
                let above = store.directories[Int(record.parent)].rest
                record.rest = try redirectedStack(above, redirect, directory)
            }
            store.directories[Int(directory)].rest = record.rest
            if record.base.isEmpty, record.rest.isEmpty {
                try additions(directory, record, handle, marks)
                return opener.keep(record.upper, handle)
            }
            if record.base == record.rest {
                try changesOverBase(directory, record, handle)
                return opener.keep(record.upper, handle)
            }
            opener.keep(record.upper, handle)
        }
        // What none of the layers between the two views has touched is one and the same.
        if record.upper == noIndex, isSameStack(record.rest, record.base) { return }
        try compareViews(directory, record)
    }

    /// Whether two stacks are the same directories.
    private func isSameStack(_ one: StackRange, _ other: StackRange) -> Bool {
        guard one.count == other.count else { return false }
        for index in 0..<Int(one.count) {
            guard isSameDirectory(store.stacks[Int(one.start) + index], store.stacks[Int(other.start) + index]) else {
                return false
            }
        }
        return true
    }

    /// Whether two physical directories, which may have been reached by the one view and by the other, are one.
    func isSameDirectory(_ one: UInt32, _ other: UInt32) -> Bool {
        var (one, other) = (one, other)
        while one != other {
            let (left, right) = (store.physical[Int(one)], store.physical[Int(other)])
            guard left.layer == right.layer, left.parent != noIndex, right.parent != noIndex,
                bytesEqual(names[left.name], names[right.name])
            else { return false }
            (one, other) = (left.parent, right.parent)
        }
        return true
    }

    private func duplicate(_ handle: borrowing OwnedDescriptor, _ directory: UInt32)
        throws(LayerError) -> OwnedDescriptor
    {
        do throws(SystemCallError) { return try handle.duplicate() } catch {
            throw failure(error, "open directory", directory)
        }
    }

    private mutating func hasMarker(_ handle: borrowing OwnedDescriptor, _ directory: UInt32)
        throws(LayerError) -> Bool
    {
        do throws(SystemCallError) {
            return try handle.metadataIfPresent(NamePointer(".wh..wh..opq")) != nil
        } catch { throw failure(error, "look at", directory) }
    }

    /// Scans an upper directory into `scanned`, sorted.
    private mutating func scanUpper(
        _ directory: UInt32, _ record: DirectoryRecord, _ handle: borrowing OwnedDescriptor
    ) throws(LayerError) {
        scanned.removeAll(keepingCapacity: true)
        do throws(SystemCallOrLayerError) {
            try scan(
                handle, origin: record.upper, order: 0, isRoot: record.parent == noIndex, into: false)
        } catch { throw unwrap(error, "read directory", directory) }
        sortNames(&scanned, names)
    }

    /// An upper directory over nothing: all of it is new, and whiteouts mean nothing.
    private mutating func additions(
        _ directory: UInt32, _ record: DirectoryRecord, _ handle: borrowing OwnedDescriptor, _ marks: OverlayMarks
    ) throws(LayerError) {
        try scanUpper(directory, record, handle)
        var batch = try EntryBatch(store, capacity: scanned.count)
        for index in 0..<scanned.count {
            let name = scanned[index]
            if plan.needsMetadata { lookAhead(from: index, in: handle) }
            if name.flags.contains(.whiteout) { continue }
            guard passes(name.name, .unknown, in: directory) else { continue }
            if try leavesOut(name.name, directory) { continue }
            var entry = EntryRecord(name: name.name)
            entry.origin = name.origin
            entry.kind = name.kind
            if try isWhiteoutOrGone(&entry, handle, marks, directory) { continue }
            guard admits(entry, in: directory) else { continue }
            if entry.kind == .directory {
                entry.directory = try addDirectory(
                    directory, name: name.name, entry: batch.nextIndex,
                    upper: try physicalChild(name.origin, name.name), rest: .empty, base: .empty)
            }
            batch.append(entry)
        }
        batch.finish(directory)
    }

    /// Fills in the entry's metadata where this walk needs them; true where the entry vanished or is a whiteout.
    private mutating func isWhiteoutOrGone(
        _ entry: inout EntryRecord, _ handle: borrowing OwnedDescriptor, _ marks: OverlayMarks, _ directory: UInt32
    ) throws(LayerError) -> Bool {
        let mayBeDevice = entry.kind == .characterDevice
        // Elsewhere the kernel lists the name, though nothing can be found under it.
        let mayBeMarked = entry.kind == .regular && marks.attributeWhiteouts
        guard plan.needsMetadata || entry.kind == .unknown || mayBeDevice || mayBeMarked else { return false }
        guard let metadata = try look(at: entry.name, entry.origin, in: handle, directory) else { return true }
        entry.take(metadata)
        if try leavesOut(metadata, entry.name, directory) { return true }
        return try isWhiteout(entry.name, metadata, handle, directory)
    }

    private mutating func isWhiteout(
        _ name: NameRef, _ metadata: EntryMetadata, _ handle: borrowing OwnedDescriptor, _ directory: UInt32
    ) throws(LayerError) -> Bool {
        if plan.dialect.recognises.contains(.device), metadata.isWhiteoutDevice { return true }
        guard plan.dialect.recognises.contains(.attributeFile), metadata.kind == .regular, metadata.size == 0 else {
            return false
        }
        return try isAttributeWhiteout(name, handle, directory)
    }

    /// An upper directory over the very directories it is compared with: only its own names can differ.
    private mutating func changesOverBase(
        _ directory: UInt32, _ record: DirectoryRecord, _ handle: borrowing OwnedDescriptor
    ) throws(LayerError) {
        try scanUpper(directory, record, handle)
        var batch = try EntryBatch(store, capacity: scanned.count)
        let nearest = record.base.isEmpty ? noIndex : store.stacks[Int(record.base.start)]
        for index in 0..<scanned.count {
            let name = scanned[index]
            lookAhead(from: index, in: handle, lower: nearest)
            // `.wh.NAME` beside NAME itself: the name exists.
            if name.flags.contains(.whiteout), index > 0, scanned[index - 1].key == name.key,
                bytesEqual(names[scanned[index - 1].name], names[name.name])
            {
                continue
            }
            guard passes(name.name, .unknown, in: directory) else { continue }
            if try leavesOut(name.name, directory) { continue }
            var entry = EntryRecord(name: name.name)
            entry.origin = name.origin
            entry.kind = name.kind
            var metadata = EntryMetadata()
            var isWhiteout = name.flags.contains(.whiteout)
            if !isWhiteout {
                guard let found = try look(at: name.name, name.origin, in: handle, directory) else { continue }
                metadata = found
                try noteIndexed(name.name, found, in: handle, directory)
                entry.take(found)
                let isLeftOut = try leavesOut(found, name.name, directory)
                let isMark = try self.isWhiteout(name.name, found, handle, directory)
                isWhiteout = isLeftOut || isMark
            }
            let base = try lookUp(name.name, in: record.base, directory)
            if isWhiteout {
                guard base != nil else { continue }
                entry = EntryRecord(name: name.name)
                entry.change = .deleted
                guard admits(entry, in: directory) else { continue }
            } else if let base {
                guard passes(name.name, metadata.kind, in: directory) else { continue }
                let kinds = (base.metadata.kind == .directory, metadata.kind == .directory)
                let same = try isUnchanged(
                    base.metadata, metadata, base.parent, name.origin, name.name, directory)
                entry.change = same ? .unmodified : .modified
                if same, kinds != (true, true), !(plan.equality.keepsUnmodifiedLinks && metadata.linkCount > 1) {
                    continue
                }
                guard admits(entry, in: directory) else { continue }
                if metadata.kind == .socket, base.metadata.kind != .socket { entry.flags.insert(.replaces) }
                if kinds == (true, true) {
                    let below = try childStack(of: record.base, name.name, directory)
                    entry.directory = try addDirectory(
                        directory, name: name.name, entry: batch.nextIndex,
                        upper: try physicalChild(name.origin, name.name), rest: below, base: below)
                }
            } else if !admits(entry, in: directory) {
                continue
            }
            if entry.kind == .directory, entry.directory == noIndex, entry.change != .deleted {
                entry.directory = try addDirectory(
                    directory, name: name.name, entry: batch.nextIndex,
                    upper: try physicalChild(name.origin, name.name), rest: .empty, base: .empty)
            }
            batch.append(entry)
        }
        batch.finish(directory)
    }
}

/// The entries of one directory while they are being recorded.
struct EntryBatch {
    private let store: TreeStore
    private let first: Int
    private var count = 0
    private var changed = false

    init(_ store: TreeStore, capacity: Int) throws(LayerError) {
        self.store = store
        first = try store.entries.reserve(capacity)
    }

    /// The index that the next appended entry will have.
    var nextIndex: UInt32 { UInt32(first + count) }

    mutating func append(_ entry: EntryRecord) {
        store.entries[first + count] = entry
        count += 1
        if entry.change != .unmodified { changed = true }
    }

    func finish(_ directory: UInt32) {
        store.directories[Int(directory)].first = UInt32(first)
        store.directories[Int(directory)].count = UInt32(count)
        if changed { store.directories[Int(directory)].flags.insert(.changed) }
    }
}
