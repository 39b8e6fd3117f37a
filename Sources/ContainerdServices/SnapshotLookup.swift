import LayerDrivers
import LayerModel

/// A mount as containerd's API carries it: the arguments of a mount(2) that somebody else makes.
public struct MountSpec: Sendable, Equatable {
    public var type: String
    public var source: String
    /// A directory below the root of the mount; empty for the root itself.
    public var target: String
    public var options: [String]

    public init(type: String, source: String, target: String = "", options: [String] = []) {
        self.type = type
        self.source = source
        self.target = target
        self.options = options
    }
}

/// A snapshot of ours, recognised by the mounts that we gave out for it.
public struct OwnSnapshot: Sendable, Equatable {
    public var driver: DriverName
    /// The number that names its directory or dataset. Never given out twice.
    public var id: Int64
    /// Its key while it is active or a view, its name once it is committed.
    public var key: String
    public var kind: SnapshotKind
    /// containerd's namespace: what its metadata layer puts before the first slash of a key; nil where there is no slash.
    public var namespace: String?
    /// Where its own changes lie; nil where nothing may be written (views of several layers), and for zfs.
    public var upper: PathBytes?
    /// The directories below, nearest first. For a view these are all of its layers; for zfs there are none.
    public var lowers: [PathBytes]
    /// zfs: the dataset.
    public var dataset: String?
    /// How `upper` and `lowers` spell deletions.
    public var dialect: WhiteoutDialect
    /// Whether the mounts allow writing.
    public var isWritable: Bool
}

/// What the differ asks the snapshotter.
///
/// None of it blocks: answers come from memory.
public protocol SnapshotLookup: Sendable {
    /// The snapshot that these mounts show, or nil where they are not exactly what we gave out for one that exists.
    ///
    /// Every path is compared with what the metadata says, so that what comes back never lies outside of our root. Options
    /// that only say how to mount (`index=off`, `uidmap=`) do not matter.
    func snapshot(for mounts: [MountSpec]) -> OwnSnapshot?

    /// Remembers what an active snapshot holds after a layer was unpacked into it, so that its Commit need not walk it.
    ///
    /// Allocated bytes and inodes, the root directory included (`SizeReport.allocated`, `.inodes`). Ignored for what is
    /// not active any more.
    func recordUsage(of snapshot: OwnSnapshot, size: Int64, inodes: Int64)
}
