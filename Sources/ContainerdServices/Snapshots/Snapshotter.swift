import DaemonSupport
import GRPCCore
import LayerDrivers
import LayerEngine
import LayerModel
import LinuxIO
import Synchronization

/// How snapshots are kept, besides the driver.
package struct SnapshotterOptions: Sendable {
    /// Remove data before Remove is answered, not at the next Cleanup.
    package var removesAtOnce = false
    /// Answer a Prepare for a layer that is there already, in whatever namespace, with `AlreadyExists`.
    package var sharesLayers = false
    /// Tell the directory of a snapshot's own changes in a label of the answers.
    package var tellsUpperDirectory = false
    /// Mount every snapshot for unpacking that has no parent over an empty directory, since its parent comes with Commit:
    /// for containerd 2.2, configured with the capability `rebase`. Later ones say so with a label.
    package var rebases = false
    /// Map the ids of snapshots whose labels say so, with options of their mounts: for a containerd that was told of the
    /// capability `remap-ids`. Any other copies the snapshot with shifted ids first, and they would be shifted twice.
    package var remapsIDs = false
    /// erofs: which layers that are unpacked are kept as their own tar.
    package var packedForm = PackedForm.auto
    /// erofs: how the kernel comes by the files of packed layers.
    package var packedWay = PackedWay.auto
    /// erofs: whether what a container wrote is packed, too, when it is committed.
    package var packsOnCommit = false

    package init() {}
}

/// What the service answers about a snapshot.
struct SnapshotInfo: Sendable, Equatable {
    var record: SnapshotRecord
    var parent: String
    var labels: [String: String]
}

/// The snapshots of one driver: every operation, checked, made durable, and taken back where it fails.
///
/// Handlers of the service call it on the cooperative pool; what can block goes through the bridge.
final class Snapshotter: Sendable {
    let backend: any SnapshotBackend
    let store: SnapshotStore
    let options: SnapshotterOptions
    let bridge: BlockingBridge
    /// What was unpacked into active snapshots, so that Commit need not measure it.
    let unpacked = Mutex<[Int64: SnapshotUsage]>([:])
    /// Snapshots that a Commit is at work on.
    private let commits = CommitTurns()
    /// Storage that this process made for snapshots that came to nothing, and could not remove at once.
    let unmade = Mutex<Set<Int64>>([])
    /// Condemned storage that this process removed, and of which the records do not say so yet.
    let gone = Mutex<Set<Int64>>([])
    let isPrepared = Mutex(false)
    /// Held by the thread that cleans up: two would remove the same.
    let cleaning = Mutex(())

    init(
        _ backend: any SnapshotBackend, _ store: SnapshotStore, _ options: SnapshotterOptions, _ bridge: BlockingBridge
    ) {
        self.backend = backend
        self.store = store
        self.options = options
        self.bridge = bridge
    }

    /// Tries the driver out before the first mount is told.
    func prepareBackend() async throws {
        if isPrepared.withLock({ $0 }) { return }
        try await bridge.run { [backend] in try backend.prepare() }
        isPrepared.withLock { $0 = true }
    }

    // MARK: making

    func create(_ kind: SnapshotKind, key: String, parent: String, labels: [String: String]) async throws
        -> [MountSpec]
    {
        let operation = "failed to \(kind == .view ? "create view" : "prepare snapshot") \(quoted(key))"
        let labels = try SnapshotRules.labels(labels, operation)
        try SnapshotRules.name(key, operation)
        let owner = try IDMapping.rootOwner(labels, operation)
        let reference = options.sharesLayers && kind == .active ? labels[SnapshotLabel.reference] : nil
        var attempts = 0
        while true {
            attempts += 1
            do {
                return try await make(kind, key, parent, labels, owner: owner, sharing: reference, operation)
            } catch {
                // The parent was committed anew under its name while the storage was made.
                guard (error as? ServiceFailure)?.class == .aborted, attempts < Self.parentTries else { throw error }
            }
        }
    }

    private static let parentTries = 100

    /// One try to make a snapshot.
    ///
    /// Throws `aborted` where another snapshot has the parent's name by the time it is recorded: what was made lies upon the one
    /// before, and is taken back.
    private func make(
        _ kind: SnapshotKind, _ key: String, _ parent: String, _ labels: [String: String],
        owner: (uid: UInt32, gid: UInt32)?, sharing reference: String?, _ operation: String
    ) async throws -> [MountSpec] {
        // Looked at before anything is made, and again when it is recorded.
        let (base, below) = try store.look { (index) throws(ServiceFailure) -> (Int64?, [Int64]) in
            let base = try SnapshotRules.base(index, key: key, parent: parent, sharing: reference, operation)
            guard backend.packed != nil, let base, let record = index.records[base] else { return (base, []) }
            return (base, [base] + index.ancestors(of: record))
        }
        try await prepareBackend()
        let isRebased = kind == .active && base == nil && backend.takesLateParents && expectsParent(key, labels)
        let new = NewSnapshot(kind: kind, parent: base, owner: owner)
        do {
            let (id, mounts) = try await store.change(
                after: { [backend, store] in
                    try backend.packed?.show(below)
                    return try backend.create(new, store.ids) { (id) throws(LayerError) in try store.condemn(id) }
                },
                undo: { [self] storage in
                    discard(storage.id)
                    store.ids.release(storage.id)
                }
            ) { [backend] (edit, storage) throws(ServiceFailure) in
                let base = try SnapshotRules.base(edit.index, key: key, parent: parent, sharing: reference, operation)
                guard base == new.parent else {
                    throw ServiceFailure(.aborted, "\(operation): its parent \(quoted(parent)) was replaced meanwhile")
                }
                let record = SnapshotRecord(
                    id: storage.id, name: key, kind: kind, parent: base, created: edit.now, updated: edit.now,
                    labels: labels, isRebased: isRebased)
                edit.insert(record, storage)
                return (record.id, backend.mounts(record, ancestors: edit.index.ancestors(of: record)))
            }
            store.ids.release(id)
            return mounts
        } catch {
            throw Self.named(error, operation)
        }
    }

    /// Whether a layer is being unpacked whose parent comes with Commit.
    private func expectsParent(_ key: String, _ labels: [String: String]) -> Bool {
        if let chain = labels[SnapshotLabel.parentChain], !chain.isEmpty { return true }
        return options.rebases && SnapshotRules.isUnpacked(intoKey: key)
    }

    /// Removes what was made for a snapshot that came to nothing. What fails is left to Cleanup. Blocks.
    private func discard(_ id: Int64) {
        do { try backend.discard(id) } catch { unmade.withLock { _ = $0.insert(id) } }
    }

    // MARK: committing

    func commit(name: String, key: String, parent: String, labels: [String: String], _ context: ServerContext)
        async throws
    {
        let operation = "failed to commit snapshot \(quoted(key))"
        let labels = try SnapshotRules.labels(labels, operation)
        try SnapshotRules.name(name, operation)
        let takesLateParents = backend.takesLateParents
        // Of two at once the second hears what it would have heard had it come later.
        let record = try await beginCommit { () throws(ServiceFailure) in
            try store.look { (index) throws(ServiceFailure) in
                try SnapshotRules.commit(
                    index, name: name, key: key, parent: parent, takesLateParents: takesLateParents, operation
                ).record
            }
        }
        defer { commits.end(record.id) }
        /// Measures, and records; nothing, with false, where `measure` cannot tell.
        func end(_ measure: @escaping @Sendable () throws -> SnapshotUsage?) async throws -> Bool {
            try await store.change(after: { [backend] in
                guard let usage = try measure() else { return SnapshotUsage?.none }
                try backend.freeze(record.id)
                return usage
            }) { (edit, usage) throws(ServiceFailure) in
                guard let usage else { return false }
                var (record, parent) = try SnapshotRules.commit(
                    edit.index, name: name, key: key, parent: parent, takesLateParents: takesLateParents, operation)
                record.name = name
                record.kind = .committed
                record.parent = parent
                record.labels = labels
                record.usage = usage
                record.created = edit.now
                record.updated = edit.now
                edit.put(record)
                return true
            }
        }
        do {
            try await prepareBackend()
            let known = unpacked.withLock { $0[record.id] }
            // What came as a tar is that one or none: another would have another digest.
            if options.packsOnCommit, known == nil, !SnapshotRules.isUnpacked(intoKey: key) {
                try await pack(record, context)
            }
            if try await !end({ [backend] in try known ?? backend.measureAtOnce(record.id) }) {
                let usage = try await measure(record.id, context)
                _ = try await end { usage }
            }
            unpacked.withLock { _ = $0.removeValue(forKey: record.id) }
        } catch {
            throw Self.named(error, operation)
        }
    }

    /// The record that is to be committed, once no other commit of it is at work.
    private func beginCommit(_ find: () throws(ServiceFailure) -> SnapshotRecord) async throws -> SnapshotRecord {
        while true {
            let record = try find()
            if await commits.begin(record.id) { return record }
        }
    }

    /// Packs what is about to be committed, if an index can hold it.
    private func pack(_ record: SnapshotRecord, _ context: ServerContext) async throws {
        guard let packed = backend.packed else { return }
        let lowers = try store.look { index in index.ancestors(of: record) }.compactMap(backend.contents)
        var diff = DiffOptions()
        // With times to the nanosecond: a layer that is committed shows what it showed before.
        diff.isExact = true
        diff.leavesOutRoot = true
        try await Cancellation.carry(context) { [backend, bridge, diff] in
            try await bridge.runLong { flag in
                _ = try packed.pack(
                    record.id, lowers: record.isRebased ? nil : lowers, dialect: backend.dialect, diff: diff,
                    cancel: flag)
            }
        }
    }

    private func measure(_ id: Int64, _ context: ServerContext) async throws -> SnapshotUsage {
        try await Cancellation.carry(context) { [backend, bridge] in
            try await bridge.runLong { flag in try backend.measure(id, cancel: flag) }
        }
    }

    // MARK: removing

    func remove(key: String) async throws {
        let operation = "failed to remove snapshot \(quoted(key))"
        let id = try await store.change { [options] (edit) throws(ServiceFailure) in
            let record = try SnapshotRules.find(edit.index, key, operation)
            guard edit.index.childCount(of: record.id) == 0 else {
                throw ServiceFailure(.failedPrecondition, "\(operation): cannot remove a snapshot that has children")
            }
            edit.remove(record.id, atOnce: options.removesAtOnce)
            return record.id
        }
        unpacked.withLock { _ = $0.removeValue(forKey: id) }
        if options.removesAtOnce {
            // A large tree takes its time, and short calls do not wait for it.
            try await bridge.runLong { [self] _ in
                // What fails is left to Cleanup.
                if (try? backend.discard(id)) != nil { gone.withLock { _ = $0.insert(id) } }
            }
        }
    }

    /// An error with the operation that failed, unless it says so itself.
    static func named(_ error: any Error, _ operation: String) -> any Error {
        (error as? LayerError).map { ServiceFailure($0, operation) } ?? error
    }
}

/// A name in the quotes of messages, which are sent in a header: long ones are cut.
func quoted(_ name: String) -> String {
    let bytes = Array(name.utf8)
    guard bytes.count > 300 else { return "\"\(escapedText(bytes))\"" }
    return "\"\(escapedText(Array(bytes.prefix(300))))...\""
}
