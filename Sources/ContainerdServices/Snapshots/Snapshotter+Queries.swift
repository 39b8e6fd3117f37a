import GRPCCore
import LayerModel
import LinuxIO
import Synchronization

/// Looking, and what needs no new storage.
extension Snapshotter {
    func info(_ index: SnapshotIndex, _ record: SnapshotRecord) -> SnapshotInfo {
        var labels = record.labels
        if options.tellsUpperDirectory, let upper = backend.contents(record.id) {
            labels[SnapshotLabel.upperDirectory] = String(decoding: upper.bytes, as: UTF8.self)
        }
        return SnapshotInfo(record: record, parent: index.parentName(of: record), labels: labels)
    }

    func stat(key: String) throws(ServiceFailure) -> SnapshotInfo {
        try store.look { (index) throws(ServiceFailure) in
            info(index, try SnapshotRules.find(index, key, "failed to stat snapshot \(quoted(key))"))
        }
    }

    /// The mounts that Prepare and View gave.
    func mounts(key: String) async throws -> [MountSpec] {
        let operation = "failed to get mounts of snapshot \(quoted(key))"
        let lookUp = { [self] () throws(ServiceFailure) in
            try store.look { (index) throws(ServiceFailure) in
                let record = try SnapshotRules.find(index, key, operation)
                guard record.kind != .committed else {
                    throw ServiceFailure(.failedPrecondition, "\(operation): it is committed")
                }
                return (record, index.ancestors(of: record))
            }
        }
        let (record, ancestors) = try lookUp()
        try await prepareBackend()
        // Who asks for mounts may write through them.
        unpacked.withLock { _ = $0.removeValue(forKey: record.id) }
        if let packed = backend.packed {
            let isActive = record.kind == .active
            do {
                // What may be written to is a directory.
                let isPacked = try await bridge.run {
                    try packed.show(ancestors)
                    return try isActive && packed.view.isPacked(record.id)
                }
                if isPacked { try await bridge.runLong { [self] flag in try unpack(record, ancestors, flag) } }
            } catch {
                throw Self.named(error, operation)
            }
        }
        return backend.mounts(record, ancestors: ancestors)
    }

    private func unpack(_ record: SnapshotRecord, _ ancestors: [Int64], _ cancel: CancelFlag) throws(LayerError) {
        try backend.packed?.unpack(
            record.id, lowers: ancestors.compactMap(backend.contents), dialect: backend.dialect, cancel: cancel)
    }

    /// Everything that a filter takes, as it is at this moment. Matching many takes long enough to be done elsewhere; with
    /// expressions so long that it ends with the call, and keeps no thread from the short ones.
    func list(_ filter: SnapshotFilter, _ context: ServerContext) async throws -> [SnapshotInfo] {
        let index = store.index
        guard filter.hasExpressions else {
            return try await bridge.run { [self] in
                index.records.values.lazy.map { self.info(index, $0) }.filter {
                    filter.matches($0.record, parent: $0.parent, labels: $0.labels)
                }
            }
        }
        return try await Cancellation.carry(context) { [self] in
            try await bridge.runLong { [self] flag in
                var found: [SnapshotInfo] = []
                for record in index.records.values {
                    try flag.check("list snapshots")
                    let info = info(index, record)
                    if filter.matches(record, parent: info.parent, labels: info.labels) { found.append(info) }
                }
                return found
            }
        }
    }

    /// Changes labels: all of them without paths, else what the paths name.
    func update(name: String, labels new: [String: String], paths: [String]) async throws -> SnapshotInfo {
        let operation = "failed to update snapshot \(quoted(name))"
        let new = try SnapshotRules.labels(new, operation)
        for path in paths where path != "labels" && !path.hasPrefix("labels.") {
            throw ServiceFailure(.invalidArgument, "\(operation): cannot update field \(quoted(path))")
        }
        return try await store.change { [self] edit throws(ServiceFailure) in
            var record = try SnapshotRules.find(edit.index, name, operation)
            if paths.isEmpty { record.labels = new }
            for path in paths {
                guard path != "labels" else {
                    record.labels = new
                    continue
                }
                record.labels[String(path.dropFirst("labels.".count))] =
                    new[String(path.dropFirst("labels.".count))]
            }
            // They become options of mounts, as those of Prepare do.
            _ = try IDMapping.rootOwner(record.labels, operation)
            record.updated = edit.now
            edit.put(record)
            return info(edit.index, record)
        }
    }

    func usage(key: String, _ context: ServerContext) async throws -> SnapshotUsage {
        let operation = "failed to get usage of snapshot \(quoted(key))"
        let record = try store.look { (index) throws(ServiceFailure) in
            try SnapshotRules.find(index, key, operation)
        }
        guard record.kind == .active else { return record.usage }
        do {
            return try await Cancellation.carry(context) { [backend, bridge] in
                try await bridge.runLong { flag in try backend.measure(record.id, cancel: flag) }
            }
        } catch {
            throw Self.named(error, operation)
        }
    }

    /// Removes the storage of removed snapshots, and what crashes left.
    ///
    /// Goes on behind what cannot be removed; the first such error is thrown at the end.
    func cleanUp() async throws {
        if let first = try await sweep(isStart: false).failures.first { throw first }
    }

    /// What a cleaning up leaves.
    struct Rest: Sendable {
        var failures: [LayerError] = []
        /// Ids of storage that looks like a snapshot's which has lost its record.
        var lost: [Int64] = []
        fileprivate var gone: [Int64] = []
    }

    /// The same; what cannot be removed is told.
    func sweep(isStart: Bool) async throws -> Rest {
        await store.clearDoubts()
        return try await bridge.runLong { [self] flag in
            try cleaning.withLock { _ in try sweep(isStart: isStart, flag) }
        }
    }

    private func sweep(isStart: Bool, _ flag: CancelFlag) throws(LayerError) -> Rest {
        let proven = unmade.withLock { $0 }.union(store.condemned).subtracting(gone.withLock { $0 })
        var candidates = Array(proven)
        if isStart || backend.listsQuickly { candidates += try backend.storedIDs() }
        // The youngest first: a dataset can go only after its clones.
        let ids = Mutex(Set(store.strays(among: candidates)).sorted(by: <))
        let count = ids.withLock { $0.count }
        if count > 0 { try store.syncRemovals() }
        // Containerd waits, and each Prepare with it; where blocks are discarded as they are freed each waits for the disk.
        let workers = backend.removesInAnyOrder && count >= 8 ? 4 : 1
        let rest = Mutex(Rest())
        try WorkerPool(count: workers).run(cancel: CancelFlag()) { [self] () throws(LayerError) in
            while let id = ids.withLock({ $0.popLast() }) {
                try flag.check("clean up")
                do throws(LayerError) {
                    // Without proof only what is empty goes: the rest may be all that is left of a snapshot.
                    guard proven.contains(id) else {
                        if try backend.sweep(id) == .lost { rest.withLock { $0.lost.append(id) } }
                        continue
                    }
                    try backend.discard(id)
                    rest.withLock { $0.gone.append(id) }
                } catch {
                    rest.withLock { $0.failures.append(error) }
                }
            }
        }
        let found = rest.withLock { $0 }
        unmade.withLock { $0.subtract(found.gone) }
        let isMuch = gone.withLock { gone in
            gone.formUnion(found.gone)
            return gone.count >= Self.mostGone
        }
        if isStart || isMuch { try acquitGone() }
        return found
    }

    private static let mostGone = 256

    /// Has the records forget what is gone, once that is on disk: what a power failure brings back must be condemned still. Not
    /// at each Cleanup, because the sync of a directory takes long. Blocks.
    func acquitGone() throws(LayerError) {
        let ids = gone.withLock { $0 }
        guard !ids.isEmpty else { return }
        try backend.sync()
        store.acquit(ids)
        gone.withLock { $0.subtract(ids) }
    }
}

/// The way of a call's cancellation, which gRPC keeps apart from the task's, into the task.
enum Cancellation {
    static func carry<Result: Sendable>(
        _ context: ServerContext, _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        let task = Task { try await body() }
        return try await withTaskCancellationHandler {
            try await withRPCCancellationHandler {
                try await task.value
            } onCancelRPC: {
                task.cancel()
            }
        } onCancel: {
            task.cancel()
        }
    }
}
