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
    /// Items of a segment at most: where each must be waited for, many workers share them.
    static let segmentItems = 64
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

/// Cuts the items of a plan into segments, as they come.
struct SegmentCutter {
    private var current = ExportSegment(first: 0, count: 0)
    private var next = 0
    /// The directory of the last item, and the length of its path.
    private var directory = noIndex
    private var pathByteCount = 0
    /// Estimated bytes of all that was taken: attributes make headers longer.
    private(set) var byteCount: UInt64 = 0

    /// Takes the items that were added since the last time.
    mutating func cut(_ plan: ExportPlan, _ store: TreeStore) throws(LayerError) {
        while next < plan.items.count {
            let index = next
            next += 1
            let item = plan.items[index]
            let entry = store.entries[Int(item.entry)]
            let hasBody = item.action == .entry && item.link == noIndex && entry.kind == .regular
            let size = hasBody ? entry.size : 0
            let bytes = headerByteCount(item, entry, store) + (Int(size) + 511) & ~511
            byteCount += UInt64(bytes)
            if size > ExportPlan.pieceSize {
                try close(plan, next: index + 1)
                try cutLarge(plan, UInt32(index), size)
                continue
            }
            let isFull = current.byteCount + bytes > ExportPlan.segmentSize || current.count == ExportPlan.segmentItems
            if isFull, current.count > 0 {
                try close(plan, next: index)
            }
            current.count += 1
            current.byteCount += bytes
        }
    }

    /// Blocks of an item's header, as far as its numbers and the length of its path tell; attributes make it longer, and
    /// then the segment goes on in another slab.
    private mutating func headerByteCount(_ item: ExportItem, _ entry: EntryRecord, _ store: TreeStore) -> Int {
        if item.directory != directory {
            directory = item.directory
            pathByteCount = store.pathByteCount(of: item.directory)
        }
        var extended = 0
        if pathByteCount + entry.name.length > 98 { extended += pathByteCount + entry.name.length + 16 }
        if entry.uid > 0o7777777 { extended += 16 }
        if entry.gid > 0o7777777 { extended += 16 }
        return extended == 0 ? 512 : 3 * 512 + extended & ~511
    }

    /// Closes the last segment.
    mutating func finish(_ plan: ExportPlan) throws(LayerError) {
        try close(plan, next: next)
    }

    private mutating func close(_ plan: ExportPlan, next: Int) throws(LayerError) {
        if current.count > 0 { try append(plan, current) }
        current = ExportSegment(first: UInt32(next), count: 0)
    }

    private func cutLarge(_ plan: ExportPlan, _ item: UInt32, _ size: Int64) throws(LayerError) {
        var offset: Int64 = 0
        while offset < size {
            let length = min(ExportPlan.pieceSize, size - offset)
            try append(
                plan,
                ExportSegment(first: item, count: 1, offset: offset, length: length, byteCount: Int(length) + 1024))
            offset += length
        }
    }

    private func append(_ plan: ExportPlan, _ segment: ExportSegment) throws(LayerError) {
        plan.segments[try plan.segments.reserve(1)] = segment
    }
}
