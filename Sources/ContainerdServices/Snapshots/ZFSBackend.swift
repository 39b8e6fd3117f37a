import LayerDrivers
import LayerModel
import LayerMounts
import LinuxIO
import Synchronization

/// Snapshots as datasets of a ZFS pool, each a clone of its parent: nothing lies over anything when they are mounted.
final class ZFSBackend: SnapshotBackend {
    let driver = DriverName.zfs
    let dialect = WhiteoutDialect.tree
    let takesLateParents = false
    /// Thousands of datasets take minutes to list.
    let listsQuickly = false
    let removesInAnyOrder = false
    private let home: PathBytes
    private let named: String?
    private let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void
    private let found = Mutex<ZFSSnapshots?>(nil)

    /// `root` is the dataset that holds the others; nil takes the one that is mounted at `home` or above.
    init(
        home: PathBytes, root: String?, log: @escaping @Sendable (DriverConfiguration.LogLevel, String) -> Void
    ) throws(LayerError) {
        self.home = home
        named = root
        self.log = log
        try SnapshotDirectories.make(home, mode: 0o700)
    }

    func prepare() throws(LayerError) { _ = try datasets() }

    private func datasets() throws(LayerError) -> ZFSSnapshots {
        if let found = found.withLock({ $0 }) { return found }
        let datasets = try ZFSSnapshots(home: home, root: named, log: log)
        found.withLock { $0 = datasets }
        return datasets
    }

    func create(_ snapshot: NewSnapshot, _ ids: SnapshotIDs, condemn: (Int64) throws(LayerError) -> Void)
        throws(LayerError) -> NewStorage
    {
        for _ in 0..<Self.idTries {
            let id = ids.reserve()
            do throws(LayerError) {
                // A dataset of this name that has lost its record must not be taken for what a kill left here.
                guard try isFree(id) else { throw LayerError(.alreadyExists, "make a dataset") }
                try condemn(id)
                try create(id, snapshot)
                return NewStorage(id: id)
            } catch {
                // A dataset that a crash left, or somebody else's: neither is ours to touch here. Otherwise none was made.
                ids.release(id)
                if error.code != .alreadyExists { throw error }
            }
        }
        throw LayerError(
            .alreadyExists, "make a dataset", cause: .reason("\(Self.idTries) new ids were taken already"))
    }

    private static let idTries = 1000

    private func isFree(_ id: Int64) throws(LayerError) -> Bool {
        do throws(LayerError) { _ = try datasets().used(id) } catch {
            guard error.code == .notFound else { throw error }
            return true
        }
        return false
    }

    private func create(_ id: Int64, _ snapshot: NewSnapshot) throws(LayerError) {
        let datasets = try datasets()
        try datasets.create(id, parent: snapshot.parent)
        guard let owner = snapshot.owner, owner != (0, 0) else { return }
        do throws(LayerError) {
            try setOwner(id, owner, datasets)
        } catch {
            try? datasets.destroy(id)
            throw error
        }
    }

    private func setOwner(_ id: Int64, _ owner: (uid: UInt32, gid: UInt32), _ datasets: ZFSSnapshots)
        throws(LayerError)
    {
        let mounts = home.appending("mounts")
        try SnapshotDirectories.make(mounts, mode: 0o700)
        let path = mounts.appending(String(id))
        try SnapshotDirectories.make(path, mode: 0o700)
        defer { removeDirectory(path) }
        try datasets.whileMounted(id, at: path) { () throws(LayerError) in
            try attempt("change the owner of", path) { () throws(SystemCallError) in
                try path.open([.readOnly, .directory]).setOwner(uid: owner.uid, gid: owner.gid)
            }
        }
    }

    private func removeDirectory(_ path: PathBytes) {
        guard let (above, name) = path.splitLast(), let parent = try? above.open([.pathOnly, .directory]) else {
            return
        }
        try? name.withName { (name) throws(SystemCallError) in try parent.removeDirectory(name) }
    }

    func freeze(_ id: Int64) throws(LayerError) { try datasets().freeze(id) }
    func discard(_ id: Int64) throws(LayerError) { try datasets().destroy(id) }
    func storedIDs() throws(LayerError) -> [Int64] { try datasets().ids() }

    /// What is in a dataset shows only when it is mounted; those that were being made are condemned.
    func sweep(_ id: Int64) throws(LayerError) -> Sweep { .lost }

    func holdsSnapshots(_ silence: SnapshotDatabase.Silence) throws(LayerError) -> Bool {
        // Without a condemnation no dataset goes, so a database that is there may be believed.
        guard silence == .absent else { return false }
        do throws(LayerError) { return try !datasets().ids().isEmpty } catch {
            // Nothing can be made or removed here.
            if error.code == .driverUnavailable { return false }
            throw error
        }
    }

    /// Mounts that a killed process made to change an owner.
    func settle(_ index: SnapshotIndex) throws(LayerError) -> [String] {
        let mounts = home.appending("mounts")
        try KernelMount.unmountAll(atOrBelow: mounts)
        return []
    }

    func place(_ id: Int64) -> String { "the dataset \(found.withLock { $0?.name(id) } ?? String(id))" }

    func measure(_ id: Int64, cancel: CancelFlag) throws(LayerError) -> SnapshotUsage {
        SnapshotUsage(size: Int64(clamping: try datasets().used(id)), inodes: -1)
    }

    func mounts(_ record: SnapshotRecord, ancestors: [Int64]) -> [MountSpec] {
        let source = found.withLock { $0?.name(record.id) } ?? ""
        return [MountSpec(type: "zfs", source: source, options: record.kind == .view ? ["ro"] : [])]
    }

    func contents(_ id: Int64) -> PathBytes? { nil }

    func candidate(_ mount: MountSpec) -> Int64? {
        guard mount.type == "zfs", let root = found.withLock({ $0?.root }), mount.source.hasPrefix(root + "/") else {
            return nil
        }
        let digits = mount.source.dropFirst(root.count + 1)
        guard let id = Int64(digits), String(id) == digits else { return nil }
        return id
    }
}
