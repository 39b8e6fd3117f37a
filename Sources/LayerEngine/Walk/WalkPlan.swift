import LayerModel
import LinuxIO
import Synchronization

/// What a walk is for; it decides what is looked at in each directory.
enum WalkPurpose: Sendable {
    /// Everything the upper directory holds, as native exports of Docker take it.
    case export
    /// The entries that differ from the lower side, with their metadata, for an archive of the difference.
    case difference
    /// The entries that differ, names only.
    case changes
    /// Sums over the upper directory; no entry is kept.
    case size
}

/// What becomes of names that begin with `.wh.` where they mean nothing.
enum ReservedNames: Sendable {
    case leftOut
    /// They are warned of, and go on like others.
    case kept
    case refused
}

/// Everything the workers of a walk share and nobody changes.
final class WalkPlan: Sendable {
    let purpose: WalkPurpose
    let dialect: WhiteoutDialect
    let equality: EqualityRule
    let skipUnreadable: Bool
    /// A name that is gone when it is looked at fails the walk, instead of being left out.
    let failsOnVanished: Bool
    /// Opaque directories count as such only where a lower layer has them.
    let opaqueNeedsLower: Bool
    let reservedNames: ReservedNames
    let io: IOMode
    /// What the workers may hold open.
    let descriptors: DescriptorShare
    let cancel: CancelFlag
    let progress: Progress?
    let ignoredAtTop: [PathBytes]
    let obeysOwnerOverrides: Bool
    let changedInodes: Set<UInt64>?
    /// Which paths count, and whether not all do.
    let filter: LayerFilter?
    let isFiltered: Bool
    let store: TreeStore
    let roots: LayerRoots
    let stack = WorkStack()
    /// Hears, once, that the tree is cold.
    let onCold = Mutex<(@Sendable () -> Void)?>(nil)
    /// The lower roots as physical directories.
    let lowerRoots: StackRange
    /// The roots of what is compared with: the lower ones, or others.
    let baseRoots: StackRange

    init(
        purpose: WalkPurpose, source: SourceOptions, equality: EqualityRule, skipUnreadable: Bool,
        failsOnVanished: Bool = false, opaqueNeedsLower: Bool = false, reservedNames: ReservedNames = .leftOut
    ) throws(LayerError) {
        self.purpose = purpose
        self.equality = equality
        self.skipUnreadable = skipUnreadable
        self.failsOnVanished = failsOnVanished
        self.opaqueNeedsLower = opaqueNeedsLower
        self.reservedNames = reservedNames
        dialect = source.dialect
        io = source.io
        cancel = source.cancel
        progress = source.progress
        ignoredAtTop = source.ignoredAtTop
        obeysOwnerOverrides = source.obeysOwnerOverrides
        changedInodes = source.changedInodes
        isFiltered = source.filter.map { !$0.isEmpty } ?? false
        filter = isFiltered ? source.filter : nil
        var readsContents = purpose == .export || purpose == .difference
        if case .never = equality.contents {} else { readsContents = true }
        roots = try LayerRoots(
            source, withoutDevices: readsContents && (source.dialect.name != .tree || source.hasNoMounts))
        // A cold tree takes more workers than there are cores; an export has the ring to wait for what it reads.
        let perCore = purpose == .changes || purpose == .size ? TreeWalk.coldWorkersPerCore : 2
        descriptors = DescriptorShare(
            workers: source.workers ?? perCore * WorkerPool.availableCores,
            slow: source.workers ?? Self.slowWorkersPerCore * WorkerPool.availableCores,
            directories: DirectoryOpener.largeCacheSize,
            reads: source.ringWindow)
        store = try TreeStore()
        for layer in 0..<roots.count {
            _ = try store.addPhysical(
                PhysicalDirectory(layer: UInt32(layer), parent: noIndex, name: .empty, depth: 0))
        }
        let count = source.lowers.count
        let start = try store.stacks.reserve(count)
        for index in 0..<count { store.stacks[start + index] = UInt32(index + 1) }
        lowerRoots = StackRange(start: UInt32(start), count: UInt32(count))
        guard let base = source.base else {
            baseRoots = lowerRoots
            return
        }
        let first = try store.stacks.reserve(base.count)
        for (index, path) in base.enumerated() {
            var layer = 0
            while roots.path(layer) != path { layer += 1 }
            store.stacks[first + index] = UInt32(layer)
        }
        baseRoots = StackRange(start: UInt32(first), count: UInt32(base.count))
    }

    /// Workers a core at most where each file must be waited for, and the caller names no number.
    private static let slowWorkersPerCore = 8

    /// Says that the tree is cold: names wait for a disk.
    func isCold() {
        let hear = onCold.withLock { hear in
            defer { hear = nil }
            return hear
        }
        hear?()
    }

    /// The directories that lie behind one layer's, as a stack and the position in it of the next.
    func behind(_ layer: UInt32) -> (stack: StackRange, position: Int) {
        // The upper directory is layer 0, so the layer behind stands at its index.
        if layer <= lowerRoots.count { return (lowerRoots, Int(layer)) }
        for index in 0..<Int(baseRoots.count) where store.stacks[Int(baseRoots.start) + index] == layer {
            return (baseRoots, index + 1)
        }
        return (.empty, 0)
    }

    /// Whether every entry's inode is looked at, not only where a rule asks.
    var needsMetadata: Bool { purpose == .export || purpose == .difference || asksOfEntries }

    /// Whether a callback wants to see entries.
    var asksOfEntries: Bool { isFiltered && filter?.admits != nil }

    /// Whether names that spell deletions are deletions; an export takes `.wh.` files as they are.
    var readsPrefixedWhiteouts: Bool {
        purpose != .export && purpose != .size && dialect.recognises.contains(.prefixedFile)
    }
}

/// What the workers found besides the entries.
struct WalkTally: Sendable {
    var io = IOCounters()
    var skippedUnreadable = 0
    var reservedNames = 0
    var warnings: [String] = []
    /// A redirect or a metadata-only copy was met.
    var sawRedirect = false
    /// An attribute was met that would be a mark in a mount with `userxattr`; said once.
    var sawForeignMark = false
    var indexed = IndexedFiles()
    var sums = SizeSums()

    mutating func note(_ marks: OverlayMarks) {
        if marks.metacopy || marks.redirect != nil { sawRedirect = true }
    }

    mutating func add(_ other: WalkTally) {
        io.add(other.io)
        skippedUnreadable += other.skippedUnreadable
        reservedNames += other.reservedNames
        warnings += other.warnings
        sawRedirect = sawRedirect || other.sawRedirect
        indexed.add(other.indexed)
        sums.add(other.sums)
    }
}
