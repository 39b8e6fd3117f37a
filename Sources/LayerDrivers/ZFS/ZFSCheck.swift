import LayerModel
import LayerMounts
import LinuxIO

/// What crashes leave in a store of zfs, and how it is mended (drivers.md 15).
struct ZFSCheck {
    private let store: ZFSStore
    private let records: ZFSSizeRecords
    private let graph: PathBytes
    private(set) var findings: Findings

    init(_ store: ZFSStore, _ records: ZFSSizeRecords, graph: PathBytes, repair: Bool) {
        self.store = store
        self.records = records
        self.graph = graph
        findings = Findings(repair: repair)
    }

    /// Looks through a listing. `isAlone` says whether no other process has the store open: only then is what looks
    /// unfinished really left over.
    mutating func datasets(_ datasets: [ZFSDataset], isAlone: Bool) throws(LayerError) {
        guard isAlone else { return }
        let store = store
        // Undone first: a snapshot for a clone that is newer than the layer's own would be in the way.
        for dataset in datasets where dataset.kind == .snapshot { try cloneSnapshot(dataset) }
        for dataset in datasets where dataset.kind == .snapshot {
            guard let (id, name) = layer(of: dataset.name), name == ZFSNames.applySnapshot else { continue }
            try found(
                .unfinished, dataset.name, "a layer that was being unpacked into; what was unpacked is taken back"
            ) {
                () throws(LayerError) in
                if let failure = ZFSApply.takeBack(id, store) {
                    throw failure.error("take back what was unpacked into", id.component)
                }
            }
        }
        let removing = store.names.root + "/" + ZFSNames.removingPrefix
        for dataset in datasets where dataset.kind == .fileSystem && dataset.name.hasPrefix(removing) {
            guard !dataset.name.dropFirst(removing.count).contains("/") else { continue }
            try destroyRemoved(dataset.name)
        }
    }

    /// Snapshots that clones were to be made of: without clones they are left over, with clones they must go with the last.
    private mutating func cloneSnapshot(_ dataset: ZFSDataset) throws(LayerError) {
        guard let (_, name) = layer(of: dataset.name), name.hasPrefix(ZFSNames.clonePrefix), !dataset.isDeferred
        else { return }
        let store = store
        try found(
            .dataset, dataset.name, "a snapshot that a layer was being made of; it goes, or does so with its clones"
        ) {
            () throws(LayerError) in
            _ = try attemptZFS("destroy the snapshot", PathBytes(dataset.name)) { () throws(ZFSFailure) in
                try store.tool.zfs(["destroy", "-d", dataset.name])
            }
        }
    }

    /// What was busy when it was removed. If it still is, it stays for the next time.
    private mutating func destroyRemoved(_ name: String) throws(LayerError) {
        let store = store
        if let holders = ZFSHolders.text(of: name) {
            return try findings.add(.dataset, PathBytes(name), "a removed layer that is busy still: \(holders)")
        }
        try found(.dataset, name, "a removed layer that was busy; it is destroyed") { () throws(LayerError) in
            do throws(ZFSFailure) { try store.tool.zfs(["destroy", "-r", name]) } catch {
                guard error.kind != .missing else { return }
                throw error.error("destroy the removed layer", PathBytes(name))
            }
        }
    }

    /// Records of sizes without a layer, and snapshots without a record.
    mutating func sizes(_ datasets: [ZFSDataset], isAlone: Bool) throws(LayerError) {
        guard isAlone else { return }
        let (store, records) = (store, records)
        for name in try records.files() {
            if let id = try? LayerID(name), try store.find(id) != nil { continue }
            let path = records.directory.appending(name)
            try findings.add(.recordedSize, path, "of a layer that is gone; it is removed") { () throws(LayerError) in
                try StoreFiles.unlink(path)
            }
        }
        for dataset in datasets where dataset.kind == .snapshot {
            guard let (id, name) = layer(of: dataset.name), name == ZFSSizeRecords.snapshotName,
                !records.isExpected(id)
            else { continue }
            try found(.recordedSize, dataset.name, "the snapshot of a size that is no longer kept; it is destroyed") {
                () throws(LayerError) in
                _ = store.dropSnapshot(dataset.name)
            }
        }
    }

    private mutating func found(
        _ kind: Finding.Kind, _ name: String, _ what: String, _ mend: @escaping () throws(LayerError) -> Void
    ) throws(LayerError) { try findings.add(kind, PathBytes(name), what, mend) }

    private func layer(of snapshot: String) -> (LayerID, String)? {
        guard let cut = snapshot.firstIndex(of: "@"), let id = store.names.layer(String(snapshot[..<cut])) else {
            return nil
        }
        return (id, String(snapshot[snapshot.index(after: cut)...]))
    }

    /// Mounts whose server is dead or whose layer is gone, and empty mount points.
    mutating func mounts() throws(LayerError) {
        for name in try StoreFiles.names(in: graph) {
            let point = graph.appending(name)
            let state = try MountTable.state(of: point)
            if state == .stale {
                try findings.add(.staleMount, point, "its server is dead; it is unmounted") { () throws(LayerError) in
                    try Self.unmount(point)
                }
            } else if state == .mounted, try store.find(LayerID(trusted: name)) == nil {
                try findings.add(.staleMount, point, "its layer is gone; it is unmounted") { () throws(LayerError) in
                    try Self.unmount(point)
                }
            } else if state == .notMounted, try StoreFiles.isDirectory(point), try StoreFiles.isEmpty(point) {
                try findings.add(.unfinished, point, "a mount point without a mount; it is removed") {
                    () throws(LayerError) in
                    try StoreFiles.removeDirectory(point)
                }
            }
        }
    }

    private static func unmount(_ point: PathBytes) throws(LayerError) {
        try KernelMount.unmount(point, [.detach, .noFollow])
        try StoreFiles.removeDirectory(point)
    }
}
