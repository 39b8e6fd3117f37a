/// What a snapshot is, by containerd's words.
package enum SnapshotKind: Int64, Sendable, CaseIterable {
    case view = 1
    case active = 2
    case committed = 3

    /// The word that filters compare with.
    package var word: String {
        switch self {
        case .view: "view"
        case .active: "active"
        case .committed: "committed"
        }
    }
}

/// What a snapshot occupies.
package struct SnapshotUsage: Sendable, Equatable {
    /// Allocated bytes.
    package var size: Int64
    /// Inodes; -1 where the driver cannot tell (zfs).
    package var inodes: Int64

    package init(size: Int64 = 0, inodes: Int64 = 0) {
        self.size = size
        self.inodes = inodes
    }
}

/// All that is kept of a snapshot.
struct SnapshotRecord: Sendable, Equatable {
    /// Names its directory; never reused.
    let id: Int64
    /// Key or name: one space for all kinds.
    var name: String
    var kind: SnapshotKind
    var parent: Int64?
    /// Nanoseconds since 1970.
    var created: Int64
    var updated: Int64
    var labels: [String: String]
    /// Of a committed snapshot; 0 for the others.
    var usage = SnapshotUsage()
    /// Prepared without a parent but mounted over an empty directory, since a parent comes with Commit (`rebase`).
    var isRebased = false
}

/// The labels that mean something to the snapshotter.
enum SnapshotLabel {
    /// The chain id of the layer that is unpacked into a snapshot.
    static let reference = "containerd.io/snapshot.ref"
    static let uidMapping = "containerd.io/snapshot/uidmapping"
    static let gidMapping = "containerd.io/snapshot/gidmapping"
    /// From containerd 2.3 on: the layer is unpacked before its parent is there.
    static let parentChain = "containerd.io/snapshot/parent-chain-id"
    /// Added to answers, never stored.
    static let upperDirectory = "containerd.io/snapshot/overlay.upperdir"
}
