public import LayerModel
public import LinuxIO

/// When written data must be on disk before an apply counts as done.
public enum SyncPolicy: Sendable, Equatable {
    /// Never: the system writes it in its own time.
    case none
    /// Once, with syncfs(2), after the last entry.
    case syncfs
}

/// What an entry for a directory that is there already does to the directory's extended attributes and access lists.
public enum DirectoryAttributes: String, Sendable, CaseIterable {
    /// The directory has those of the entry afterwards, as it would in the merged view of an upper directory. Attributes
    /// that layers do not carry, such as `trusted.`, are left alone.
    case replace
    /// Those of the entry are added to the others, as Docker's and containerd's code does.
    case add
}

/// How a layer is unpacked.
public struct ApplyOptions: Sendable {
    /// `.tree`: the root is a whole tree and whiteouts delete from it. Others: it is an upper directory, and
    /// deletions are written in that dialect's form.
    public var dialect: WhiteoutDialect
    /// For an upper directory, the directories below it, nearest first; nil when unknown, empty for the bottom layer.
    public var lowers: [PathBytes]?
    public var uidMap: IDMap
    public var gidMap: IDMap
    /// Threads that write files; nil means one a core.
    public var workers: Int?
    public var io: IOMode
    /// Whether an entry for the root itself sets the root's metadata.
    public var applyRootMetadata: Bool
    /// Whether names that climb above the root are held at it instead of refused.
    public var lenientNames: Bool
    /// Whether attributes and owners that cannot be set are warnings only.
    public var bestEffort: Bool
    public var directoryAttributes: DirectoryAttributes
    /// Whether what is mounted below the root belongs to it, and layers change it too: for a caller who has put the root
    /// together of several mounts himself. Otherwise an entry or a deletion there ends the apply with `inUse`.
    public var ownsMounts: Bool
    /// The time of directories that the archive does not describe, in seconds since 1970; nil: when they are made.
    public var impliedTime: Int64?
    /// Whether long runs of zeros in files become holes; those that the archive itself has as holes always do.
    public var sparse: SparsePolicy
    /// The stream was written with `DiffOptions.isExact`, by this program on this host: `trusted.` attributes are set, and
    /// times before 1970.
    public var isExact: Bool
    /// Whether `security.selinux` attributes of the archive are set.
    public var keepSELinux: Bool
    /// The most bytes that all files together may have, holes included; nil for no limit.
    public var maxBytes: UInt64?
    /// The most bytes that may follow the archive's end in the stream.
    public var maxTrailingBytes: UInt64
    public var sync: SyncPolicy
    /// Which entries count; nil for all.
    public var filter: LayerFilter?
    public var cancel: CancelFlag
    public var progress: Progress?

    public init() {
        dialect = .tree
        lowers = nil
        uidMap = .identity
        gidMap = .identity
        workers = nil
        io = .auto
        applyRootMetadata = false
        lenientNames = false
        bestEffort = false
        directoryAttributes = .replace
        ownsMounts = false
        impliedTime = nil
        sparse = .auto
        isExact = false
        keepSELinux = false
        maxBytes = nil
        maxTrailingBytes = 16 << 30
        sync = .none
        cancel = CancelFlag()
        progress = nil
    }
}

/// What an apply did.
public struct ApplyReport: Sendable {
    /// Entries of the archive, whiteouts and ignored ones included, but not what a filter left out.
    public var entries = 0
    /// Of these the ones that `filter` includes by a pattern, not as a directory on the way; deletions aside.
    public var chosenEntries = 0
    /// Sum of the sizes in their headers.
    public var size: UInt64 = 0
    /// Bytes of the unpacked non-directories, each inode once.
    public var uniqueFileBytes: UInt64 = 0
    /// Names that lie in the target because of this apply, whiteouts and markers included: all there are, where it was
    /// empty before.
    public var presentEntries: UInt64 = 0
    /// Bytes of the uncompressed stream, whatever follows the archive's end included.
    public var streamBytes: UInt64 = 0
    /// Device nodes left out because this user may not make them.
    public var skippedDevices = 0
    /// The first warnings, each one line.
    public var warnings: [String] = []
    /// All warnings, those not kept included.
    public var warningCount = 0
    public var io = IOCounters()

    public init() {}

    /// Warnings kept: a hostile archive could cause one an entry.
    static let keptWarnings = 100

    mutating func warn(_ text: @autoclosure () -> String) {
        warningCount += 1
        if warnings.count < Self.keptWarnings { warnings.append(text()) }
    }
}
