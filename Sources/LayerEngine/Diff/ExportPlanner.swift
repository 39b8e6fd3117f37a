import LayerModel
import LinuxIO

/// Decides the items of a layer, in order; one worker at a time, a turn each.
struct ExportPlanner {
    private let store: TreeStore
    private let plan: ExportPlan
    private let rules: ProfileRules
    private let purpose: WalkPurpose
    private var entries: OrderedEntries?
    /// A directory entry that waits until its directory is walked.
    private var held: (entry: UInt32, directory: UInt32)?
    private var cutter = SegmentCutter()
    private var firstNames: [InodeKey: UInt32] = [:]
    /// The same of files whose names spell deletions: aufs links them all to one. No other file may lead to one of these,
    /// which nobody unpacks.
    private var firstMarkers: [InodeKey: UInt32] = [:]
    /// Names of unchanged inodes, until a changed name of the inode comes.
    private var unchangedNames: [InodeKey: [(entry: UInt32, directory: UInt32)]] = [:]
    private var written: Set<UInt32> = []
    var skippedSockets = 0
    /// Bytes of file contents, each inode once.
    var contentBytes: UInt64 = 0
    /// Bytes of the archive so far, as far as a plan can know.
    var archiveBytes: UInt64 { cutter.byteCount }

    struct InodeKey: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    init(_ store: TreeStore, _ plan: ExportPlan, _ rules: ProfileRules, purpose: WalkPurpose) {
        self.store = store
        self.plan = plan
        self.rules = rules
        self.purpose = purpose
    }

    /// Segments that a turn decides at most: few, so that files are read soon after their directories.
    private static let turn = 8

    /// Goes on until enough is decided for now, a directory is needed that is not walked, or all is decided.
    mutating func advance(_ isWalked: (UInt32) -> Bool) throws(LayerError) -> (wanted: UInt32, isComplete: Bool) {
        if entries == nil {
            if purpose != .export { TreeWalk.propagateChanges(store) }
            entries = OrderedEntries(
                store, order: purpose == .export ? PathOrder.depthFirst : rules.comparisonOrder)
        }
        let goal = plan.segments.count + Self.turn
        while plan.segments.count < goal {
            guard let (index, directory) = held ?? entries?.next() else {
                try cutter.finish(plan)
                return (noIndex, true)
            }
            held = nil
            let entry = store.entries[Int(index)]
            if entry.kind == .directory, entry.change != .deleted {
                // What a directory is, opaque or not, shows only when it is walked.
                if purpose == .export, entry.directory != noIndex, !isWalked(entry.directory) {
                    held = (index, directory)
                    return (entry.directory, false)
                }
                try visit(index, entry, directory)
            } else {
                try add(index, entry, directory)
            }
            try cutter.cut(plan, store)
        }
        return (noIndex, false)
    }

    private mutating func visit(_ index: UInt32, _ entry: EntryRecord, _ directory: UInt32) throws(LayerError) {
        let changedBelow =
            entry.directory != noIndex && store.directories[Int(entry.directory)].flags.contains(.changed)
        if entry.change != .unmodified || changedBelow {
            try addDirectory(index, directory)
        }
        if purpose == .export || changedBelow || rules.equality.keepsUnmodifiedLinks {
            entries?.descend(index)
        }
    }

    private mutating func addDirectory(_ index: UInt32, _ directory: UInt32) throws(LayerError) {
        if rules.equality.keepsUnmodifiedLinks, !written.insert(index).inserted { return }
        _ = try plan.append(ExportItem(entry: index, directory: directory, action: .entry))
        let contents = store.entries[Int(index)].directory
        if contents != noIndex, store.directories[Int(contents)].flags.contains(.opaque) {
            _ = try plan.append(ExportItem(entry: index, directory: directory, action: .opaqueMarker))
        }
    }

    private mutating func add(_ index: UInt32, _ entry: EntryRecord, _ directory: UInt32) throws(LayerError) {
        if entry.change == .deleted {
            try addParents(directory)
            _ = try plan.append(ExportItem(entry: index, directory: directory, action: .deletion))
            return
        }
        if entry.kind == .socket {
            skippedSockets += 1
            guard entry.flags.contains(.replaces) else { return }
            try addParents(directory)
            _ = try plan.append(ExportItem(entry: index, directory: directory, action: .deletion))
            return
        }
        if entry.flags.contains(.whiteout), !entry.flags.contains(.prefixed) {
            let link = rules.whiteoutLinkNames ? firstName(of: entry) : nil
            let item = ExportItem(
                entry: index, directory: directory, link: link ?? noIndex, action: .whiteout)
            let place = try plan.append(item)
            if rules.whiteoutLinkNames, link == nil { remember(entry, directory, place) }
            return
        }
        let link = firstName(of: entry)
        if entry.change == .unmodified {
            if let link {
                try addParents(directory)
                _ = try plan.append(ExportItem(entry: index, directory: directory, link: link, action: .entry))
            } else {
                unchangedNames[InodeKey(device: entry.device, inode: entry.inode), default: []]
                    .append((index, directory))
            }
            return
        }
        try addParents(directory)
        let place = try plan.append(
            ExportItem(entry: index, directory: directory, link: link ?? noIndex, action: .entry))
        guard link == nil else { return }
        if entry.kind == .regular, entry.size > 0 { contentBytes += UInt64(entry.size) }
        if remember(entry, directory, place) { try addUnchangedNames(of: entry, place) }
    }

    private func firstName(of entry: EntryRecord) -> UInt32? {
        guard entry.linkCount > 1 else { return nil }
        let key = InodeKey(device: entry.device, inode: entry.inode)
        guard entry.flags.contains(.marker) else { return firstNames[key] }
        return rules.linksMarkers ? firstMarkers[key] : nil
    }

    /// Notes the name that further names of a file will lead to; false for one that none may lead to.
    ///
    /// Docker and containerd link to a file's first name whatever it is called, so their archives of a file called `.wh.a` and
    /// `b` cannot be unpacked by themselves: the first is read as a deletion, and the second leads to nothing. No reader
    /// can want those bytes, so here the contents come again with the first name that is one.
    @discardableResult
    private mutating func remember(_ entry: EntryRecord, _ directory: UInt32, _ place: UInt32) -> Bool {
        guard entry.linkCount > 1 else { return true }
        let key = InodeKey(device: entry.device, inode: entry.inode)
        if entry.flags.contains(.marker) {
            firstMarkers[key] = place
        } else {
            if rules.keepsReservedNames, isReserved(entry, directory) { return false }
            firstNames[key] = place
        }
        return true
    }

    /// Whether a name, or that of a directory above it, means a deletion to whoever unpacks the layer.
    private func isReserved(_ entry: EntryRecord, _ directory: UInt32) -> Bool {
        let names = store.names
        if bytes(names[entry.name], startWith: WhiteoutName.prefix) { return true }
        var current = directory
        while store.directories[Int(current)].parent != noIndex {
            let record = store.directories[Int(current)]
            if bytes(names[record.name], startWith: WhiteoutName.prefix) { return true }
            current = record.parent
        }
        return false
    }

    /// Links the names that did not change to the one that did.
    private mutating func addUnchangedNames(of entry: EntryRecord, _ place: UInt32) throws(LayerError) {
        guard rules.equality.keepsUnmodifiedLinks, entry.linkCount > 1 else { return }
        let key = InodeKey(device: entry.device, inode: entry.inode)
        for name in unchangedNames.removeValue(forKey: key) ?? [] {
            try addParents(name.directory)
            _ = try plan.append(
                ExportItem(entry: name.entry, directory: name.directory, link: place, action: .entry))
        }
    }

    /// Makes sure that the directories above an item have their headers.
    private mutating func addParents(_ directory: UInt32) throws(LayerError) {
        guard rules.equality.keepsUnmodifiedLinks else { return }
        var missing: [UInt32] = []
        var current = directory
        while store.directories[Int(current)].parent != noIndex {
            let entry = store.directories[Int(current)].entry
            if written.contains(entry) { break }
            missing.append(current)
            current = store.directories[Int(current)].parent
        }
        for directory in missing.reversed() {
            let record = store.directories[Int(directory)]
            try addDirectory(record.entry, record.parent)
        }
    }
}
