import LayerModel
import LinuxIO

extension WalkWorker {
    /// Lists a merged view of a directory into `scanned` (or `scannedBase`): sorted, each visible name once, from the
    /// nearest directory that has it; whiteouts and what they hide left out.
    mutating func gather(upper: UInt32, rest: StackRange, of directory: UInt32, base: Bool) throws(LayerError) {
        if base { scannedBase.removeAll(keepingCapacity: true) } else { scanned.removeAll(keepingCapacity: true) }
        let isRoot = store.directories[Int(directory)].parent == noIndex
        var order = 0
        if upper != noIndex {
            try gatherOne(upper, order, isRoot, directory, base)
            order += 1
        }
        for index in 0..<Int(rest.count) {
            try gatherOne(store.stacks[Int(rest.start) + index], order, isRoot, directory, base)
            order += 1
        }
        // Taken out and put back: what is visible needs the rest of the worker.
        var list: [ScannedName] = []
        if base { swap(&list, &scannedBase) } else { swap(&list, &scanned) }
        sortNames(&list, names)
        try keepVisible(&list, merged: order > 1, directory)
        if base { swap(&list, &scannedBase) } else { swap(&list, &scanned) }
    }

    private mutating func gatherOne(
        _ physical: UInt32, _ order: Int, _ isRoot: Bool, _ directory: UInt32, _ base: Bool
    ) throws(LayerError) {
        let handle: OwnedDescriptor
        do throws(SystemCallError) { handle = try opener.open(physical) } catch {
            if skips(error, "directory", directory, .empty) { return }
            throw LayerError(error, "open directory", path: physicalPath(physical))
        }
        do throws(SystemCallOrLayerError) {
            // Names count twice in the order, so that a name beside its own `.wh.` file is visible.
            try scan(handle, origin: physical, order: order, isRoot: isRoot, into: base)
        } catch {
            switch error {
            case .layer(let error): throw error
            case .call(let error): throw LayerError(error, "read directory", path: physicalPath(physical))
            }
        }
        opener.keep(physical, handle)
    }

    /// Drops whiteouts and the names that nearer directories hide from a sorted list.
    private mutating func keepVisible(_ list: inout [ScannedName], merged: Bool, _ directory: UInt32)
        throws(LayerError)
    {
        let forms = plan.dialect.recognises
        guard merged || !forms.isEmpty else { return }
        var kept = 0
        var index = 0
        while index < list.count {
            var winner = list[index]
            var next = index + 1
            while next < list.count, compareNames(list[index], list[next], names) == 0 {
                if list[next].order == winner.order, winner.flags.contains(.whiteout) { winner = list[next] }
                next += 1
            }
            if try !isHidden(winner, directory) {
                list[kept] = winner
                kept += 1
            }
            index = next
        }
        list.removeLast(list.count - kept)
    }

    private mutating func isHidden(_ name: ScannedName, _ directory: UInt32) throws(LayerError) -> Bool {
        let forms = plan.dialect.recognises
        if name.flags.contains(.whiteout) { return true }
        if forms.contains(.device), name.kind == .characterDevice || name.kind == .unknown {
            if let metadata = try look(atPhysical: name.origin, name.name, directory), metadata.isWhiteoutDevice {
                return true
            }
        }
        if forms.contains(.attributeFile), name.kind == .regular {
            guard let metadata = try look(atPhysical: name.origin, name.name, directory), metadata.size == 0 else {
                return false
            }
            return try marks(of: name.name, in: name.origin, isDirectory: false, directory).whiteout
        }
        return false
    }

    /// Compares two listed views name by name.
    mutating func compareViews(_ directory: UInt32, _ record: DirectoryRecord) throws(LayerError) {
        try gather(upper: record.upper, rest: record.rest, of: directory, base: false)
        try gather(upper: noIndex, rest: record.base, of: directory, base: true)
        // Asked when the first inode number agrees: of two copies of a tree, none does.
        var sameDevice: Bool?
        var batch = try EntryBatch(store, capacity: scanned.count + scannedBase.count)
        var new = 0
        var old = 0
        while new < scanned.count || old < scannedBase.count {
            if ahead.isOn {
                // Names that lie on both sides as one inode are not looked at.
                if sameDevice == nil { sameDevice = try isSameDevice(record) }
                lookAhead(new: new, old: old, sameDevice: sameDevice == true)
            }
            let order =
                new == scanned.count
                ? 1
                : old == scannedBase.count
                    ? -1
                    : compareNames(scanned[new], scannedBase[old], names)
            if order > 0 {
                let name = scannedBase[old].name
                if passes(name, .unknown, in: directory), try !leavesOut(name, directory) {
                    var entry = EntryRecord(name: name)
                    entry.change = .deleted
                    if admits(entry, in: directory) { batch.append(entry) }
                }
                old += 1
            } else if order < 0 {
                try added(scanned[new], directory, record, &batch)
                new += 1
            } else {
                if scannedBase[old].inode == scanned[new].inode, sameDevice == nil {
                    sameDevice = try isSameDevice(record)
                }
                try both(scannedBase[old], scanned[new], directory, record, sameDevice == true, &batch)
                new += 1
                old += 1
            }
        }
        batch.finish(directory)
    }

    /// Whether equal inode numbers mean equal files: both sides are single directories of one file system.
    private mutating func isSameDevice(_ record: DirectoryRecord) throws(LayerError) -> Bool {
        guard record.upper != noIndex, record.rest.isEmpty, record.base.count == 1 else { return false }
        do throws(SystemCallError) {
            let new = try opener.handle(record.upper).descriptor.metadata()
            let old = try opener.handle(store.stacks[Int(record.base.start)]).descriptor.metadata()
            return new.device == old.device
        } catch { throw LayerError(error, "look at", path: physicalPath(record.upper)) }
    }

    private mutating func added(
        _ name: ScannedName, _ directory: UInt32, _ record: DirectoryRecord, _ batch: inout EntryBatch
    ) throws(LayerError) {
        guard passes(name.name, .unknown, in: directory) else { return }
        if try leavesOut(name.name, directory) { return }
        var entry = EntryRecord(name: name.name)
        entry.origin = name.origin
        entry.kind = name.kind
        if plan.needsMetadata || name.kind == .unknown || name.kind == .characterDevice {
            guard let metadata = try look(atPhysical: name.origin, name.name, directory) else {
                return try noteVanished(directory, name.name)
            }
            if try leavesOut(metadata, name.name, directory) { return }
            entry.take(metadata)
        }
        guard admits(entry, in: directory) else { return }
        if entry.kind == .directory {
            entry.directory = try addNewSide(name, directory, record, base: .empty, batch.nextIndex)
        }
        batch.append(entry)
    }

    private mutating func addNewSide(
        _ name: ScannedName, _ directory: UInt32, _ record: DirectoryRecord, base: StackRange, _ entry: UInt32
    ) throws(LayerError) -> UInt32 {
        let inUpper = record.upper != noIndex && name.origin == record.upper
        return try addDirectory(
            directory, name: name.name, entry: entry,
            upper: inUpper ? try physicalChild(name.origin, name.name) : noIndex,
            rest: try childStack(of: record.rest, name.name, directory), base: base)
    }

    private mutating func both(
        _ old: ScannedName, _ new: ScannedName, _ directory: UInt32, _ record: DirectoryRecord, _ sameDevice: Bool,
        _ batch: inout EntryBatch
    ) throws(LayerError) {
        // One inode under both names: equal by construction, with all that is below.
        if sameDevice, old.inode == new.inode, !plan.equality.keepsUnmodifiedLinks || new.kind == .directory { return }
        if new.kind != .directory, isSameDirectory(old.origin, new.origin) { return }
        if let changed = plan.changedInodes, old.inode == new.inode, !changed.contains(new.inode) { return }
        guard passes(new.name, .unknown, in: directory) else { return }
        guard let newData = try look(atPhysical: new.origin, new.name, directory) else {
            return try noteVanished(directory, new.name)
        }
        guard let oldData = try look(atPhysical: old.origin, old.name, directory) else {
            return try added(new, directory, record, &batch)
        }
        var entry = EntryRecord(name: new.name)
        entry.origin = new.origin
        entry.take(newData)
        guard passes(new.name, newData.kind, in: directory) else { return }
        let same = try isUnchanged(oldData, newData, old.origin, new.origin, new.name, directory)
        entry.change = same ? .unmodified : .modified
        if !same || newData.kind == .directory, try leavesOut(new.name, directory) { return }
        if !same, try leavesOut(newData, new.name, directory) {
            guard !oldData.isWhiteoutDevice else { return }
            entry = EntryRecord(name: new.name)
            entry.change = .deleted
            if admits(entry, in: directory) { batch.append(entry) }
            return
        }
        if same, newData.kind != .directory, !(plan.equality.keepsUnmodifiedLinks && newData.linkCount > 1) { return }
        guard admits(entry, in: directory) else { return }
        if newData.kind == .socket, oldData.kind != .socket { entry.flags.insert(.replaces) }
        if newData.kind == .directory {
            var base = StackRange.empty
            if oldData.kind == .directory {
                let single = plan.dialect.name == .tree
                base =
                    single
                    ? try singleStack(try physicalChild(old.origin, old.name))
                    : try childStack(of: record.base, new.name, directory)
            }
            entry.directory = try addNewSide(new, directory, record, base: base, batch.nextIndex)
        }
        batch.append(entry)
    }

    /// The path of a physical directory, for errors.
    func physicalPath(_ physical: UInt32) -> PathBytes {
        var parts: [[UInt8]] = []
        var current = physical
        while store.physical[Int(current)].parent != noIndex {
            parts.append(names[store.physical[Int(current)].name].copied())
            current = store.physical[Int(current)].parent
        }
        var bytes = plan.roots.path(Int(store.physical[Int(physical)].layer)).bytes
        for part in parts.reversed() { bytes += [UInt8(ascii: "/")] + part }
        return PathBytes(bytes)
    }
}
