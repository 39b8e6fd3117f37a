import LayerModel
import LayerMounts
import LinuxIO

/// What crashes leave in a store of zfs, and how it is mended.
///
/// Left over is what carries our property and whose maker has ended; it is looked at again, under the layer's lock, before it is
/// changed. What is only called as we call such things is somebody else's.
struct ZFSCheck {
    private let view: ZFSView
    private let mounts: ZFSMounts
    private let sizes: ZFSSizeRecords
    private(set) var findings: Findings<Mender>

    struct Mender {
        let store: ZFSStore
        let sizes: ZFSSizeKeeper
        let locks: ZFSLocks
    }

    init(_ view: ZFSView, _ mounts: ZFSMounts, _ sizes: ZFSSizeRecords, _ mender: Mender?) {
        self.view = view
        self.mounts = mounts
        self.sizes = sizes
        findings = Findings(mendingWith: mender)
    }

    /// Looks for everything.
    mutating func run() throws(LayerError) -> [Finding] {
        let datasets = try view.list()
        try points()
        leftovers(datasets, all: true)
        try sizes(datasets)
        return findings.list
    }

    // MARK: datasets

    /// Looks through a listing for what this program was at work on. `all`: also for what an earlier version of it may have left,
    /// without a property that says so.
    mutating func leftovers(_ datasets: [ZFSDataset], all: Bool) {
        for dataset in datasets {
            switch dataset.kind {
            case .snapshot:
                guard let id = view.names.layer(dataset.datasetName), view.isKnown(id) else { continue }
                snapshot(dataset, id, all)
            case .fileSystem:
                guard let name = view.names.component(dataset.name), dataset.layer != nil else { continue }
                if name.hasPrefix(ZFSNames.makingPrefix), dataset.maker != nil {
                    unfinished(dataset)
                } else if name.hasPrefix(ZFSNames.removingPrefix) {
                    removed(dataset, name, all)
                }
            case .other: continue
            }
        }
    }

    private mutating func snapshot(_ snapshot: ZFSDataset, _ id: LayerID, _ all: Bool) {
        let (view, path) = (view, PathBytes(snapshot.name))
        switch snapshot.purpose {
        case .clone where !snapshot.isDeferred:
            let what = "a snapshot that a layer was being made of"
            leftover(.dataset, snapshot, what, "it goes, or does so with its clones") { (mender) throws(LayerError) in
                try mender.locks.withLock(id) { () throws(LayerError) in
                    guard try Self.isLeftStill(snapshot, view) else { return }
                    _ = try attemptZFS("destroy the snapshot", path) { () throws(ZFSFailure) in
                        try mender.store.tool.zfs(["destroy", "-d", snapshot.name])
                    }
                }
            }
        case .apply:
            let what = "a layer that was being unpacked into"
            leftover(.unfinished, snapshot, what, "what was unpacked is taken back") { (mender) throws(LayerError) in
                try mender.locks.withLock(id) { () throws(LayerError) in
                    guard try Self.isLeftStill(snapshot, view) else { return }
                    try mender.store.takeBackApply(id)
                }
            }
        case nil where all && snapshot.snapshotName == ZFSNames.applySnapshot[...]:
            findings.add(
                .unfinished, path,
                "it is called like the state of a layer before an unpacking, and nothing says that this program made it; while "
                    + "it is there nothing can be unpacked into the layer: zfs rollback takes back what came since, zfs "
                    + "destroy keeps it")
        default: return
        }
    }

    /// One that has a maker: mended where that is known to have ended, told where nobody can know, and left alone otherwise.
    private mutating func leftover(
        _ kind: Finding.Kind, _ dataset: ZFSDataset, _ what: String, _ remedy: String,
        _ mend: (Mender) throws(LayerError) -> Void
    ) {
        switch dataset.makerState {
        case .alive: return
        case .gone: findings.add(kind, PathBytes(dataset.name), what, remedy, mend)
        case .unknown:
            findings.add(
                kind, PathBytes(dataset.name),
                "what a process of another PID namespace makes or left (\(dataset.maker ?? "unknown")); if that has ended, "
                    + "the next start of the machine, or zfs destroy, ends it")
        }
    }

    /// Whether it is there as it was listed.
    private static func isLeftStill(_ dataset: ZFSDataset, _ view: ZFSView) throws(LayerError) -> Bool {
        guard let now = try view.look(dataset.name) else { return false }
        return now.guid == dataset.guid && now.makerState == .gone && now.isDeferred == dataset.isDeferred
    }

    /// A layer that was being unpacked when its process ended; it was never there.
    private mutating func unfinished(_ dataset: ZFSDataset) {
        let (view, mounts) = (view, mounts)
        leftover(.unfinished, dataset, "a layer that was being made", "it is destroyed") {
            (mender) throws(LayerError) in
            guard try Self.isLeftStill(dataset, view), let name = view.names.component(dataset.name) else { return }
            try mounts.clear(mounts.graph.appending(PathBytes(Array(name.utf8))), "destroy what was being made")
            try mender.store.destroyLeftover(dataset.name)
        }
    }

    /// What was busy when it was removed. If it still is, it stays for the next time.
    private mutating func removed(_ dataset: ZFSDataset, _ name: Substring, _ all: Bool) {
        // Earlier versions renamed without a mark, and kept the id in the name.
        guard dataset.isRemoved || all && dataset.layer == String(name.dropFirst(ZFSNames.removingPrefix.count)) else {
            return
        }
        let path = PathBytes(dataset.name)
        if let holders = ZFSHolders.text(of: dataset.name) {
            return findings.add(.dataset, path, "a removed layer that is busy still: \(holders)")
        }
        let view = view
        findings.add(.dataset, path, "a removed layer that was busy", "it is destroyed") {
            (mender) throws(LayerError) in
            guard try view.look(dataset.name)?.guid == dataset.guid else { return }
            try mender.store.destroyLeftover(dataset.name)
        }
    }

    // MARK: sizes

    /// Records of sizes without a layer, and snapshots without a record.
    mutating func sizes(_ datasets: [ZFSDataset]) throws(LayerError) {
        let (view, records) = (view, sizes)
        for name in try records.files() {
            guard let id = try? LayerID(name), records.isRecord(id), try view.find(id) == nil else { continue }
            let path = records.directory.appending(name)
            findings.add(.recordedSize, path, "of a layer that is gone", "it is removed") {
                (mender) throws(LayerError) in
                try mender.locks.withLock(id) { () throws(LayerError) in
                    if try view.prove(id).isEmpty { try mender.sizes.forget(id) }
                }
            }
        }
        for dataset in datasets where dataset.kind == .snapshot && dataset.sizeToken != nil {
            guard let id = view.names.layer(dataset.datasetName), view.isKnown(id), !records.isExpected(id),
                dataset.snapshotName == ZFSSizeRecords.snapshotName[...],
                // An earlier version did not say who made it.
                dataset.maker == nil || dataset.makerState == .gone
            else { continue }
            findings.add(
                .recordedSize, PathBytes(dataset.name), "the snapshot of a size that is no longer kept",
                "it is destroyed"
            ) { (mender) throws(LayerError) in
                try mender.locks.withLock(id) { () throws(LayerError) in
                    guard try view.look(dataset.name)?.guid == dataset.guid, !records.isExpected(id) else { return }
                    _ = mender.store.dropSnapshot(dataset.name)
                }
            }
        }
    }

    // MARK: mounts

    /// Mounts whose server is dead or whose layer is gone, and empty mount points of layers.
    mutating func points() throws(LayerError) {
        let (view, mounts) = (view, mounts)
        for entry in try MountTable.read().entries where mounts.isOurs(entry) {
            let point = entry.mountPoint
            if try MountTable.state(of: point) == .stale {
                findings.add(.staleMount, point, "its server is dead", "it is unmounted") { (_) throws(LayerError) in
                    try KernelMount.unmount(point, [.detach, .noFollow])
                    mounts.removePoint(point)
                }
            } else if try view.look(String(decoding: entry.source.bytes, as: UTF8.self)) == nil {
                findings.add(.staleMount, point, "its layer is gone", "it is unmounted") { (_) throws(LayerError) in
                    try mounts.unmount(point)
                }
            }
        }
        for name in try StoreFiles.names(in: mounts.graph) {
            let (point, id) = (mounts.graph.appending(name), LayerID(trusted: name))
            guard try MountTable.state(of: point) == .notMounted, try StoreFiles.isDirectory(point),
                try view.find(id) != nil, try StoreFiles.isEmpty(point)
            else { continue }
            findings.add(.unfinished, point, "a mount point without a mount", "it is removed") {
                (mender) throws(LayerError) in
                try mender.locks.withLock(id) { () throws(LayerError) in mounts.removePoint(point) }
            }
        }
    }
}
