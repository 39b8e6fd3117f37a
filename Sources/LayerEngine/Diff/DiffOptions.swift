public import LayerModel
public import LinuxIO

/// How a layer is written.
public struct DiffOptions: Sendable {
    /// What happens to a file that is shorter than it was when the tree was read.
    public enum ShrunkPolicy: Sendable {
        /// The diff fails.
        case fail
        /// The rest is filled with zeros, and the report says so.
        case zeroPad
    }

    /// What happens to a name that is gone when its contents are read.
    public enum VanishedPolicy: Sendable {
        /// It is left out, as if it had been deleted a moment earlier.
        case skip
        /// The diff fails.
        case fail
    }

    /// What happens to a name that begins with `.wh.`, in a tree in which it means nothing: in the layer it would say that
    /// another name is deleted.
    public enum ReservedNamesPolicy: String, Sendable, CaseIterable {
        /// It is left out with all below it, and counted. Profiles that equal another program's archives write it as that
        /// program does; it is counted all the same.
        case leaveOut = "leave-out"
        /// The diff fails.
        case fail
    }

    public var profile = LayerProfile.full
    public var uidMap = IDMap.identity
    public var gidMap = IDMap.identity
    /// Files and directories that may not be read are left out and counted, instead of failing the diff.
    public var skipUnreadable = false
    public var shrunk = ShrunkPolicy.fail
    public var vanished = VanishedPolicy.skip
    public var reservedNames = ReservedNamesPolicy.leaveOut
    /// Latest mtime, in seconds since 1970, for the profile `containerd` (SOURCE_DATE_EPOCH).
    public var sourceDateEpoch: Int64?
    /// With any profile no entry has a newer time than `sourceDateEpoch`.
    public var clampsTimes = false
    /// The layer has all that another store on this host can hold: times to the nanosecond, `trusted.` and `security.`
    /// attributes, capabilities as they are. With the profile `full` only.
    public var isExact = false
    /// An exact layer says nothing of the root itself, as other layers.
    public var leavesOutRoot = false
    /// The layer names nothing twice, as one need not that a store has kept as it came.
    public var namesOnce = false
    /// The present time in seconds, which Docker's profiles write on deletions found by comparing trees.
    public var now: Int64 = 0

    public init() {}
}

/// What a diff wrote.
public struct DiffReport: Sendable {
    /// Headers with a name of their own: entries, whiteouts and markers.
    public var entries = 0
    /// Bytes of the tar stream.
    public var bytes: UInt64 = 0
    /// The newest time of an entry, deletions aside, in seconds since 1970; nil where there is none.
    public var newestTime: Int64?
    /// Bytes of file contents, each inode once.
    public var size: UInt64 = 0
    /// Sockets, which have no place in a layer. What one replaced in a lower directory is deleted.
    public var skippedSockets = 0
    /// Names that begin with `.wh.`: see `ReservedNamesPolicy`.
    public var reservedNames = 0
    /// Of a copy that stays on this host (`isExact`): attributes that /etc/xattr.conf keeps out of copies.
    public var leftOutAttributes = LeftOutAttributes()
    /// Attributes that a copy within this host leaves out since no layer can hold their names.
    public var unwritableAttributes = LeftOutAttributes()
    public var skippedUnreadable = 0
    /// Files of an overlay's upper directory that the mount, having an index, shows under names of lower directories too.
    /// The result lacks these; a warning names the first file.
    public var indexedFiles = 0
    /// Files that vanished while the layer was written.
    public var skippedVanished = 0
    /// A directory's `overlay.redirect` or a file's `overlay.metacopy` was met. Both are followed through the lower
    /// directories, so the result does not suffer; a driver may want to say so in its status.
    public var sawRedirect = false
    /// The first hundred things worth knowing.
    public var warnings: [String] = []
    public var io = IOCounters()

    public init() {}
}

/// What a listing of changes met.
public struct ChangesReport: Sendable {
    public var added = 0
    public var modified = 0
    public var deleted = 0
    /// Names that begin with `.wh.` in a tree in which that means nothing. They are not listed: no layer could hold them.
    public var reservedNames = 0
    public var skippedUnreadable = 0
    /// As in `DiffReport`.
    public var indexedFiles = 0
    /// As in `DiffReport`, as far as the comparison had to look: a file that differs anyway is not asked.
    public var sawRedirect = false
    public var warnings: [String] = []
    public var io = IOCounters()
}

/// The size of a difference.
public struct SizeReport: Sendable {
    /// The number Docker's API gives: bytes of all changed non-directories, each inode once.
    public var bytes: UInt64 = 0
    /// The same as `bytes`, by its other name: what the files seem to hold.
    public var apparent: UInt64 = 0
    /// Bytes allocated on disk, directories included.
    public var allocated: UInt64 = 0
    /// Bytes that the headers of a layer would name.
    public var headerSum: UInt64 = 0
    public var entries: UInt64 = 0
    public var inodes: UInt64 = 0
    public var skippedUnreadable = 0
    public var warnings: [String] = []
    public var io = IOCounters()
}
