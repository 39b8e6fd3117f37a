import LayerModel
import LinuxIO

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

/// Everything the workers of a walk share and nobody changes.
final class WalkPlan: Sendable {
    let purpose: WalkPurpose
    let dialect: WhiteoutDialect
    let equality: EqualityRule
    let skipUnreadable: Bool
    /// Opaque directories count as such only where a lower layer has them.
    let opaqueNeedsLower: Bool
    let io: IOMode
    let ringWindow: Int
    let cancel: CancelFlag
    let progress: Progress?
    let ignoredAtTop: [PathBytes]
    let changedInodes: Set<UInt64>?
    let store: TreeStore
    let roots: LayerRoots
    let stack = WorkStack()
    /// The lower roots as physical directories.
    let lowerRoots: StackRange

    init(
        purpose: WalkPurpose, source: SourceOptions, equality: EqualityRule, skipUnreadable: Bool,
        opaqueNeedsLower: Bool = false
    ) throws(LayerError) {
        self.purpose = purpose
        self.equality = equality
        self.skipUnreadable = skipUnreadable
        self.opaqueNeedsLower = opaqueNeedsLower
        dialect = source.dialect
        io = source.io
        ringWindow = source.ringWindow
        cancel = source.cancel
        progress = source.progress
        ignoredAtTop = source.ignoredAtTop
        changedInodes = source.changedInodes
        roots = try LayerRoots(source)
        store = try TreeStore()
        for layer in 0..<roots.count {
            _ = try store.addPhysical(
                PhysicalDirectory(layer: UInt32(layer), parent: noIndex, name: .empty, depth: 0))
        }
        let count = roots.count - 1
        let start = try store.stacks.reserve(count)
        for index in 0..<count { store.stacks[start + index] = UInt32(index + 1) }
        lowerRoots = StackRange(start: UInt32(start), count: UInt32(count))
    }

    /// Whether every entry's inode is looked at, not only where a rule asks.
    var needsMetadata: Bool { purpose == .export || purpose == .difference }

    /// Whether names that spell deletions are deletions; an export takes `.wh.` files as they are.
    var readsPrefixedWhiteouts: Bool {
        purpose != .export && purpose != .size && dialect.recognises.contains(.prefixedFile)
    }
}

/// What the workers found besides the entries.
struct WalkTally: Sendable {
    var io = IOCounters()
    var skippedUnreadable = 0
    var warnings: [String] = []
    /// A redirect or a metadata-only copy was met.
    var sawRedirect = false
    var sums = SizeSums()

    mutating func note(_ marks: OverlayMarks) {
        if marks.metacopy || marks.redirect != nil { sawRedirect = true }
    }

    mutating func add(_ other: WalkTally) {
        io.add(other.io)
        skippedUnreadable += other.skippedUnreadable
        warnings += other.warnings
        sawRedirect = sawRedirect || other.sawRedirect
        sums.add(other.sums)
    }
}
