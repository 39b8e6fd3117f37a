import LayerDrivers
import LayerModel
import LinuxIO

/// What is to be made for a new snapshot.
struct NewSnapshot: Sendable {
    var kind: SnapshotKind
    var parent: Int64?
    /// The owner of its root directory, where the request maps ids; else that of the parent's, or root.
    var owner: (uid: UInt32, gid: UInt32)?
}

/// The storage of a new snapshot.
struct NewStorage: Sendable {
    var id: Int64
    /// Whether a power failure can still undo it: then `sync` must come before the record.
    var needsSync = false
}

/// What became of storage of which nothing is known.
enum Sweep {
    case gone
    /// It stays: it is a snapshot's that has lost its record.
    case lost
    /// It stays: it is somebody else's.
    case foreign
}

/// Where the snapshots of a driver lie, and how they are mounted. Calls that throw may block.
protocol SnapshotBackend: Sendable {
    var driver: DriverName { get }
    /// How its directories spell deletions.
    var dialect: WhiteoutDialect { get }
    /// Whether a parent may be named at Commit only (`rebase`).
    var takesLateParents: Bool { get }
    /// Whether `storedIDs` is quick enough to be asked at each Cleanup.
    var listsQuickly: Bool { get }
    /// Whether storage can be removed before that of what was made from it.
    var removesInAnyOrder: Bool { get }
    /// Its snapshots that may be packed; nil where none is.
    var packed: PackedContents? { get }

    /// Finds out, once, what mounts need here.
    ///
    /// Throws `driverUnavailable` with the reason where the driver cannot be used.
    func prepare() throws(LayerError)

    /// Makes the storage of a new snapshot, as a whole or not at all. Its id is reserved, and stays so.
    ///
    /// Storage that does not show by itself that nothing was put into it is written down with `condemn` before it is made, so
    /// that what a kill leaves of it can be told from a snapshot that has lost its record.
    func create(_ snapshot: NewSnapshot, _ ids: SnapshotIDs, condemn: (Int64) throws(LayerError) -> Void)
        throws(LayerError) -> NewStorage

    /// Does what must be done before a snapshot becomes the parent of others. Called again after a failure.
    func freeze(_ id: Int64) throws(LayerError)

    /// Removes a snapshot's storage; none is fine.
    func discard(_ id: Int64) throws(LayerError)

    /// What a snapshot's own data occupies, where that is known at once; nil where `measure` must walk it.
    func measureAtOnce(_ id: Int64) throws(LayerError) -> SnapshotUsage?

    /// What a snapshot's own data occupies.
    func measure(_ id: Int64, cancel: CancelFlag) throws(LayerError) -> SnapshotUsage

    /// Ids that have storage, of whatever snapshots, and those under which others keep something.
    func storedIDs() throws(LayerError) -> [Int64]

    /// Removes storage that neither a record nor a condemnation speaks of, if it shows that nothing was ever put into it.
    func sweep(_ id: Int64) throws(LayerError) -> Sweep

    /// Whether anything is stored that records must have spoken of: as a whole, or once a database could hold records.
    func holdsSnapshots(_ silence: SnapshotDatabase.Silence) throws(LayerError) -> Bool

    /// Removes what a killed process left half made, and completes the storage of recorded snapshots that a power failure
    /// undid in part. Only before the first `create`. Says what lies there without a record, and which record has lost what
    /// was its.
    func settle(_ index: SnapshotIndex) throws(LayerError) -> [String]

    /// The storage of snapshots up to this id is on disk where it belongs, whatever becomes of the power.
    var settled: Int64 { get }

    /// Where the storage of an id lies, for messages.
    func place(_ id: Int64) -> String

    /// Makes the directories of new snapshots durable.
    func sync() throws(LayerError)

    /// The mounts that show a snapshot; `ancestors` are the ids below it, nearest first.
    func mounts(_ record: SnapshotRecord, ancestors: [Int64]) -> [MountSpec]

    /// Where a snapshot's own changes lie; nil where that is no directory.
    func contents(_ id: Int64) -> PathBytes?

    /// Which snapshot a mount seems to be of, by its paths or its source. Not yet compared with the metadata.
    func candidate(_ mount: MountSpec) -> Int64?
}

extension SnapshotBackend {
    var takesLateParents: Bool { true }
    var listsQuickly: Bool { true }
    var removesInAnyOrder: Bool { true }
    var settled: Int64 { 0 }
    var packed: PackedContents? { nil }
    func freeze(_ id: Int64) throws(LayerError) {}
    func measureAtOnce(_ id: Int64) throws(LayerError) -> SnapshotUsage? { nil }
    func sync() throws(LayerError) {}
}
