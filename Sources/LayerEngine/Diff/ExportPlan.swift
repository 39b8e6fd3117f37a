import LayerModel
import LinuxIO

/// What one item of a layer is.
enum ExportAction: UInt8, BitwiseCopyable, Sendable {
    /// An entry with its own header and, for files, its body.
    case entry
    /// A whiteout that lies on disk.
    case whiteout
    /// A deletion that a comparison found.
    case deletion
    /// The opaque marker of the directory whose entry this is.
    case opaqueMarker
}

/// One header of the layer to come.
struct ExportItem: BitwiseCopyable, Sendable {
    var entry: UInt32
    /// The directory the entry stands in, which gives its path.
    var directory: UInt32
    /// The item that carries the data, for later names of one inode.
    var link: UInt32 = noIndex
    var action: ExportAction
}

/// A run of items, or a piece of one large file, that one worker turns into bytes.
struct ExportSegment: BitwiseCopyable, Sendable {
    var first: UInt32
    var count: UInt32
    /// Where in the file the piece begins; 0 brings the header too.
    var offset: Int64 = 0
    /// Bytes of the piece; 0 for a run of whole items.
    var length: Int64 = 0
    /// Estimated bytes in all.
    var byteCount: Int = 0
}

/// The layer in order: every header decided, every hard link resolved, cut into pieces for the workers.
final class ExportPlan: Sendable {
    let items: StableArray<ExportItem>
    let segments: StableArray<ExportSegment>

    /// Bytes that a segment aims at: enough that handing it over costs nothing, little enough to stay in cache.
    static let segmentSize = 256 << 10
    /// Files above this are cut into pieces of this size.
    static let pieceSize: Int64 = 256 << 10

    init() throws(LayerError) {
        items = try StableArray(limit: 400_000_000)
        segments = try StableArray(limit: 400_000_000)
    }

    func append(_ item: ExportItem) throws(LayerError) -> UInt32 {
        let index = try items.reserve(1)
        items[index] = item
        return UInt32(index)
    }
}

/// Decides the items of a layer from a finished walk; runs on one thread, in order.
struct ExportPlanner {
    private let store: TreeStore
    private let plan: ExportPlan
    private let rules: ProfileRules
    private let purpose: WalkPurpose
    private var firstNames: [InodeKey: UInt32] = [:]
    /// Names of unchanged inodes, until a changed name of the inode comes (layer-archive.md D22).
    private var unchangedNames: [InodeKey: [(entry: UInt32, directory: UInt32)]] = [:]
    private var written: Set<UInt32> = []
    var skippedSockets = 0
    /// Bytes of file contents, each inode once.
    var contentBytes: UInt64 = 0

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

    /// Fills the plan's items.
    mutating func run() throws(LayerError) {
        let order = purpose == .export ? PathOrder.depthFirst : rules.comparisonOrder
        var entries = OrderedEntries(store, order: order)
        while let (index, directory) = entries.next() {
            let entry = store.entries[Int(index)]
            if entry.kind == .directory, entry.change != .deleted {
                let changedBelow =
                    entry.directory != noIndex
                    && store.directories[Int(entry.directory)].flags.contains(.changed)
                if entry.change != .unmodified || changedBelow {
                    try addDirectory(index, directory)
                }
                if purpose == .export || changedBelow || rules.equality.keepsUnmodifiedLinks {
                    entries.descend(index)
                }
            } else {
                try add(index, entry, directory)
            }
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
            return
        }
        if entry.flags.contains(.whiteout), !entry.flags.contains(.prefixed) {
            let link = rules.whiteoutLinkNames ? firstName(of: entry) : nil
            let item = ExportItem(
                entry: index, directory: directory, link: link ?? noIndex, action: .whiteout)
            let place = try plan.append(item)
            if rules.whiteoutLinkNames, link == nil { remember(entry, place) }
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
        remember(entry, place)
        try addUnchangedNames(of: entry, place)
    }

    private func firstName(of entry: EntryRecord) -> UInt32? {
        guard entry.linkCount > 1 else { return nil }
        return firstNames[InodeKey(device: entry.device, inode: entry.inode)]
    }

    private mutating func remember(_ entry: EntryRecord, _ place: UInt32) {
        guard entry.linkCount > 1 else { return }
        firstNames[InodeKey(device: entry.device, inode: entry.inode)] = place
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

    /// Makes sure that the directories above an item have their headers (layer-archive.md D39).
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

extension ExportPlan {
    /// Cuts the items into segments.
    func cut(_ store: TreeStore) throws(LayerError) {
        var current = ExportSegment(first: 0, count: 0)
        for index in 0..<items.count {
            let item = items[index]
            let entry = store.entries[Int(item.entry)]
            let hasBody = item.action == .entry && item.link == noIndex && entry.kind == .regular
            let size = hasBody ? entry.size : 0
            if size > Self.pieceSize {
                try close(&current, next: index + 1)
                try cutLarge(UInt32(index), size)
                continue
            }
            let bytes = 512 + 128 + (Int(size) + 511) & ~511
            if current.byteCount + bytes > Self.segmentSize, current.count > 0 {
                try close(&current, next: index)
            }
            current.count += 1
            current.byteCount += bytes
        }
        try close(&current, next: items.count)
    }

    private func close(_ segment: inout ExportSegment, next: Int) throws(LayerError) {
        if segment.count > 0 { try append(segment) }
        segment = ExportSegment(first: UInt32(next), count: 0)
    }

    private func cutLarge(_ item: UInt32, _ size: Int64) throws(LayerError) {
        var offset: Int64 = 0
        while offset < size {
            let length = min(Self.pieceSize, size - offset)
            try append(
                ExportSegment(first: item, count: 1, offset: offset, length: length, byteCount: Int(length) + 1024))
            offset += length
        }
    }

    private func append(_ segment: ExportSegment) throws(LayerError) {
        segments[try segments.reserve(1)] = segment
    }
}
