import LayerDrivers
import LayerModel

/// Which of our snapshots a list of mounts is.
extension SnapshotterSet: SnapshotLookup {
    package func snapshot(for mounts: [MountSpec]) -> OwnSnapshot? {
        guard mounts.count == 1, let mount = mounts.first, mount.target.isEmpty else { return nil }
        for snapshotter in all {
            if let found = snapshotter.snapshot(for: mount) { return found }
        }
        return nil
    }

    package func packing(of snapshot: OwnSnapshot) -> PackedContents? {
        all.first { $0.backend.driver == snapshot.driver }?.backend.packed
    }

    package func recordUsage(of snapshot: OwnSnapshot, size: Int64, inodes: Int64) {
        guard let snapshotter = all.first(where: { $0.backend.driver == snapshot.driver }) else { return }
        let isActive =
            (try? snapshotter.store.look { index in
                index.records[snapshot.id]?.kind == .active
            }) ?? false
        guard isActive else { return }
        snapshotter.unpacked.withLock { $0[snapshot.id] = SnapshotUsage(size: size, inodes: inodes) }
    }
}

extension Snapshotter {
    /// The snapshot that a mount shows; nil where it is not one that this snapshotter gives out.
    fileprivate func snapshot(for mount: MountSpec) -> OwnSnapshot? {
        guard let candidate = backend.candidate(mount) else { return nil }
        let found = try? store.look { (index) -> (record: SnapshotRecord, ancestors: [Int64])? in
            index.records[candidate].map { ($0, index.ancestors(of: $0)) }
        }
        guard let (record, ancestors) = found else { return nil }
        if record.kind != .committed, shows(mount, backend.mounts(record, ancestors: ancestors)) {
            return describe(record, ancestors, isWritable: record.kind == .active)
        }
        // A view of one layer or of several shows the layers themselves; its own record is not among the paths.
        guard record.kind == .committed else { return nil }
        let view = SnapshotRecord(
            id: .max, name: "", kind: .view, parent: record.id, created: 0, updated: 0, labels: [:])
        guard shows(mount, backend.mounts(view, ancestors: [record.id] + ancestors)) else { return nil }
        return describe(record, ancestors, isWritable: false)
    }

    /// Whether two mounts show the same: type, source and the directories.
    private func shows(_ mount: MountSpec, _ own: [MountSpec]) -> Bool {
        guard let own = own.first, mount.type == own.type, mount.source == own.source else { return false }
        if own.type == "bind" { return mount.options.contains("rw") == own.options.contains("rw") }
        if own.type == "zfs" { return mount.options.contains("ro") == own.options.contains("ro") }
        let directories = ["lowerdir", "upperdir", "workdir"]
        let branches = { (mount: MountSpec) in mount.options.first { $0.hasPrefix("br:") } }
        return directories.allSatisfy { mount.value($0) == own.value($0) } && branches(mount) == branches(own)
    }

    private func describe(_ record: SnapshotRecord, _ ancestors: [Int64], isWritable: Bool) -> OwnSnapshot {
        let isZFS = backend.driver == .zfs
        let mounted = backend.mounts(record, ancestors: ancestors).first
        var lowers = ancestors.compactMap(backend.contents)
        // What is committed, or only viewed, is not written to: it is one more layer below.
        var upper = backend.contents(record.id)
        if record.kind == .committed, let own = upper {
            lowers.insert(own, at: 0)
            upper = nil
        }
        return OwnSnapshot(
            driver: backend.driver, id: record.id, key: record.name, kind: record.kind,
            namespace: record.name.firstIndex(of: "/").map { String(record.name[..<$0]) },
            upper: upper, lowers: isZFS ? [] : lowers, dataset: isZFS ? mounted?.source : nil,
            dialect: backend.dialect, isWritable: isWritable)
    }
}
