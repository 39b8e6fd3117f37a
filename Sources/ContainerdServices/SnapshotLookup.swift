import LayerDrivers
import LayerModel

/// A mount as containerd's API carries it: the arguments of a mount(2) that somebody else makes.
package struct MountSpec: Sendable, Equatable {
    package var type: String
    package var source: String
    /// A directory below the root of the mount; empty for the root itself.
    package var target: String
    package var options: [String]

    package init(type: String, source: String, target: String = "", options: [String] = []) {
        self.type = type
        self.source = source
        self.target = target
        self.options = options
    }
}

/// A snapshot of ours, recognised by the mounts that we gave out for it.
package struct OwnSnapshot: Sendable, Equatable {
    package var driver: DriverName
    /// The number that names its directory or dataset. Never given out twice.
    package var id: Int64
    /// Its key while it is active or a view, its name once it is committed.
    package var key: String
    package var kind: SnapshotKind
    /// containerd's namespace: what its metadata layer puts before the first slash of a key; nil where there is no slash.
    package var namespace: String?
    /// Where its own changes lie; nil where nothing may be written (views of several layers), and for zfs.
    package var upper: PathBytes?
    /// The directories below, nearest first. For a view these are all of its layers; for zfs there are none.
    package var lowers: [PathBytes]
    /// zfs: the dataset.
    package var dataset: String?
    /// How `upper` and `lowers` spell deletions.
    package var dialect: WhiteoutDialect
    /// Whether the mounts allow writing.
    package var isWritable: Bool
}

/// What the differ asks the snapshotter.
///
/// None of it blocks: answers come from memory.
package protocol SnapshotLookup: Sendable {
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

    /// What packs snapshots of the driver; nil where that is not done.
    func packing(of snapshot: OwnSnapshot) -> PackedContents?
}
