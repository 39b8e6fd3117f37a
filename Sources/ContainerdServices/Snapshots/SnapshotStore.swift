import DaemonSupport
import Glibc
import LayerModel
import LinuxIO
import Synchronization

/// The metadata of one driver's snapshots: in memory for everybody who asks, in a database for the next start.
///
/// Reading never waits. Changes are made by one thread at a time: the first that comes, which takes what has gathered while it
/// synced the last transaction and makes one of it, so that callers at the same time share a sync. An answer is given when its
/// transaction is on disk, and only then do others see the change. Removals alone are not synced: containerd's collection makes
/// one after the other while it lets no other call pass, and their storage stays until `syncRemovals`.
final class SnapshotStore: Sendable {
    private struct Queue {
        var jobs: [Job] = []
        var isClosing = false
    }

    /// Makes its changes, and says what to answer once they are on disk or failed.
    private typealias Job = @Sendable (inout SnapshotEdit) -> (@Sendable (Outcome) -> Void)

    /// What became of a transaction.
    private enum Outcome {
        case written
        case failed(ServiceFailure)
        /// It failed, and the next start may find it done all the same: its last page was in the log when the sync failed, and
        /// stays there until another transaction is written over it.
        case unknown(ServiceFailure)

        var failure: ServiceFailure? {
            switch self {
            case .written: nil
            case .failed(let failure), .unknown(let failure): failure
            }
        }
    }

    let ids: SnapshotIDs
    private let database: SnapshotDatabase
    private let visible: Mutex<SnapshotIndex>
    private let queue = Mutex(Queue())
    /// The newest state; held by the thread that writes.
    private let newest: Mutex<SnapshotIndex>
    /// What is to be taken back of transactions whose outcome is unknown, once another one is on disk. Until then their storage
    /// stays: a record that the next start finds must have it.
    private let doubtful = Mutex<[@Sendable () -> Void]>([])
    /// Whether there is something that the copy of the records does not say.
    private let hasChanged = Atomic<Bool>(false)
    /// Whether removals were written that no sync has followed. A power failure may bring these records back, and their storage
    /// is there until `syncRemovals`; containerd removes again what it does not know. At first those of a process that was killed.
    private let isUnsynced = Atomic<Bool>(true)
    private let bridge: BlockingBridge
    /// Makes new directories durable before the transaction that records them.
    private let syncDirectories: @Sendable () throws(LayerError) -> Void
    /// Up to which id new directories are on disk where they belong.
    private let settled: @Sendable () -> Int64

    /// Opens the database at `path`. `taken` is the highest id that storage knows; `believing` is asked about a database that
    /// says nothing.
    convenience init(
        path: String, taken: Int64, bridge: BlockingBridge,
        believing: (SnapshotDatabase.Silence) throws -> Bool,
        syncDirectories: @escaping @Sendable () throws(LayerError) -> Void
    ) throws {
        try self.init(
            SnapshotDatabase(path: path, believing: believing), taken: taken, bridge: bridge, settled: { 0 },
            syncDirectories: syncDirectories)
    }

    /// With a database that is open.
    init(
        _ database: SnapshotDatabase, taken: Int64, bridge: BlockingBridge, settled: @escaping @Sendable () -> Int64,
        syncDirectories: @escaping @Sendable () throws(LayerError) -> Void
    ) throws {
        self.database = database
        self.settled = settled
        let (index, highest) = try database.load()
        ids = SnapshotIDs(highest: max(highest, taken))
        visible = Mutex(index)
        newest = Mutex(index)
        self.bridge = bridge
        self.syncDirectories = syncDirectories
    }

    /// The state of this moment; it stays as it is. Whoever holds one makes the next change copy the tables.
    var index: SnapshotIndex { visible.withLock { $0 } }

    /// Looks something up; others wait meanwhile.
    func look<Value: Sendable>(
        _ body: (SnapshotIndex) throws(ServiceFailure) -> Value
    ) throws(ServiceFailure) -> Value {
        try visible.withLock { (index) throws(ServiceFailure) in try body(index) }
    }

    /// Ids whose storage may go, unless a record speaks of them or they are being made.
    var condemned: Set<Int64> { visible.withLock { $0.condemned } }

    /// Which of these are in no record and not being made.
    func strays(among candidates: [Int64]) -> [Int64] {
        // In this order: an id that is released meanwhile has its record.
        let free = candidates.filter { !ids.isReserved($0) }
        return visible.withLock { index in free.filter { index.records[$0] == nil } }
    }

    // MARK: changes

    /// Runs `body` on the newest state, alone, and waits until what it changed is on disk.
    ///
    /// `make` runs before, beside others, on a thread that may block; `undo` takes back what it made if the change fails, and when
    /// that is certain.
    /// `body` must look at everything before its first change: what it throws leaves no trace.
    func change<Made: Sendable, Value: Sendable>(
        after make: @escaping @Sendable () throws -> Made, undo: @escaping @Sendable (Made) -> Void = { _ in },
        _ body: @escaping @Sendable (inout SnapshotEdit, Made) throws(ServiceFailure) -> Value
    ) async throws -> Value {
        let outcome: Result<Value, any Error> = await withCheckedContinuation { continuation in
            do throws(LayerError) {
                try bridge.start { [self] in
                    do {
                        let made = try make()
                        add { edit in
                            let outcome = Result { () throws(ServiceFailure) in try body(&edit, made) }
                            return { [self] written in
                                let outcome = written.failure.map { .failure($0) } ?? outcome
                                if case .unknown = written {
                                    doubtful.withLock { $0.append { undo(made) } }
                                } else if case .failure = outcome {
                                    undo(made)
                                }
                                continuation.resume(returning: outcome.mapError { $0 })
                            }
                        }
                    } catch {
                        continuation.resume(returning: .failure(error))
                    }
                }
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        return try outcome.get()
    }

    /// The same, with nothing to be made before.
    func change<Value: Sendable>(
        _ body: @escaping @Sendable (inout SnapshotEdit) throws(ServiceFailure) -> Value
    ) async throws -> Value {
        try await change(after: {}) { (edit, _) throws(ServiceFailure) in try body(&edit) }
    }

    /// Writes something where the outcome of an earlier transaction is unknown, so that it is known. What fails leaves that to
    /// the next one.
    func clearDoubts() async {
        guard doubtful.withLock({ !$0.isEmpty }) else { return }
        try? await change { (edit) throws(ServiceFailure) in edit.confirms = true }
    }

    /// Writes down that what is made under this id may go as long as no record speaks of it. A kill does not lose that. Blocks.
    func condemn(_ id: Int64) throws(LayerError) {
        let outcome = Monitor<Outcome?>(nil)
        add { edit in
            edit.condemn(id)
            return { written in outcome.change { $0 = written } }
        }
        guard let failure = outcome.wait({ $0 }).failure else { return }
        throw LayerError(
            failure.class == .resourceExhausted ? .noSpace : .io, "write down what is made",
            path: PathBytes(database.path), cause: .reason(failure.text))
    }

    /// Forgets ids whose storage is gone; what is not written now, Cleanup does again. Blocks.
    func acquit(_ ids: some Sequence<Int64> & Sendable) {
        guard visible.withLock({ index in ids.contains { index.condemned.contains($0) } }) else { return }
        add { edit in
            edit.acquit(ids)
            return { _ in }
        }
    }

    var hasUnsyncedRemovals: Bool { isUnsynced.load(ordering: .acquiring) }

    /// Has the disk know of all removals that anybody sees by now, so that no power failure brings a record back whose storage
    /// goes next. Blocks.
    func syncRemovals() throws(LayerError) {
        guard isUnsynced.exchange(false, ordering: .acquiringAndReleasing) else { return }
        do throws(LayerError) {
            try database.sync()
        } catch {
            isUnsynced.store(true, ordering: .releasing)
            throw error
        }
    }

    /// Lets what has begun end, copies the records for whoever has to read them without this program, and closes the
    /// database. Blocks. What kept it from copying is given to `complain`.
    func close(_ complain: (any Error) -> Void) {
        queue.withLock { $0.isClosing = true }
        newest.withLock { newest in
            write(&newest)
            if hasChanged.load(ordering: .relaxed) { noteSettled(&newest) }
            if hasChanged.load(ordering: .relaxed) {
                do { try database.backUp() } catch { complain(error) }
            }
            database.close()
        }
    }

    /// Writes down, where all directories are where they belong, that they are on disk so. What fails only makes the records
    /// prove less. Blocks.
    func noteSettled() {
        newest.withLock { noteSettled(&$0) }
    }

    private func noteSettled(_ newest: inout SnapshotIndex) {
        guard newest.identity != nil, let highest = newest.records.keys.max(), highest > newest.settled,
            (try? syncDirectories()) != nil, (try? database.write([.settled(upTo: highest)], syncs: false)) != nil
        else { return }
        newest.apply(.settled(upTo: highest))
        visible.withLock { $0.apply(.settled(upTo: highest)) }
    }

    // MARK: writing

    /// Queues a job, and writes until nothing waits unless another thread does.
    private func add(_ job: @escaping Job) {
        let isOpen = queue.withLock { queue in
            if !queue.isClosing { queue.jobs.append(job) }
            return !queue.isClosing
        }
        guard isOpen else {
            var none = SnapshotEdit(index: SnapshotIndex(), now: 0)
            return job(&none)(.failed(ServiceFailure(.unavailable, "the daemon is stopping")))
        }
        // Whoever held it may have looked for the last time before this job came; then it looks again.
        while newest.withLockIfAvailable({ write(&$0) }) != nil, queue.withLock({ !$0.jobs.isEmpty }) {}
    }

    private func write(_ newest: inout SnapshotIndex) {
        while true {
            let jobs = queue.withLock { queue in
                defer { queue.jobs = [] }
                return queue.jobs
            }
            if jobs.isEmpty { return }
            write(jobs, &newest)
        }
    }

    private func write(_ jobs: [Job], _ newest: inout SnapshotIndex) {
        var edit = SnapshotEdit(index: newest, now: Self.now())
        // One owner, so that changes do not copy the tables.
        newest = SnapshotIndex()
        let answers = jobs.map { $0(&edit) }
        edit.settle(upTo: settled())
        let outcome = write(edit)
        newest = outcome.failure == nil ? edit.index : index
        for answer in answers { answer(outcome) }
    }

    private func write(_ edit: SnapshotEdit) -> Outcome {
        if edit.changes.isEmpty, !edit.confirms { return .written }
        do {
            if edit.needsSync { try syncDirectories() }
        } catch {
            return .failed(ServiceFailure(error, "sync the snapshots' directory"))
        }
        do {
            let syncs = edit.confirms || edit.changes.contains(where: \.isNew)
            try database.write(edit.changes, syncs: syncs)
            // Set before the removal is answered, so before anybody cleans up after it.
            if !syncs, edit.changes.contains(where: \.isRemoval) { isUnsynced.store(true, ordering: .releasing) }
        } catch {
            let failure = SnapshotDatabase.failure(error, "write the records in", database.path)
            return SnapshotDatabase.mayBeWritten(error) ? .unknown(failure) : .failed(failure)
        }
        hasChanged.store(true, ordering: .relaxed)
        visible.withLock { index in for change in edit.changes { index.apply(change) } }
        let undos = doubtful.withLock { doubtful in
            defer { doubtful = [] }
            return doubtful
        }
        for undo in undos { undo() }
        return .written
    }

    /// Nanoseconds since 1970.
    static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}

/// The newest state while it is being changed.
struct SnapshotEdit {
    fileprivate(set) var index: SnapshotIndex
    fileprivate(set) var changes: [SnapshotChange] = []
    fileprivate(set) var needsSync = false
    /// Whether something is written even where nothing changes.
    fileprivate(set) var confirms = false
    /// Nanoseconds since 1970: when the transaction began.
    let now: Int64

    /// Adds the record of storage that was just made.
    mutating func insert(_ record: SnapshotRecord, _ storage: NewStorage) {
        needsSync = needsSync || storage.needsSync
        put(record)
        acquit(CollectionOfOne(record.id))
    }

    mutating func put(_ record: SnapshotRecord) { add(.put(record)) }

    /// Removes a record, from the disk as well when this transaction is over if its storage is to go `atOnce`.
    mutating func remove(_ id: Int64, atOnce: Bool = false) {
        add(.remove(id: id))
        condemn(id)
        confirms = confirms || atOnce
    }

    fileprivate mutating func condemn(_ id: Int64) { add(.condemn(id: id)) }

    fileprivate mutating func acquit(_ ids: some Sequence<Int64>) {
        for id in ids where index.condemned.contains(id) { add(.acquit(id: id)) }
    }

    /// Goes along with what is written anyhow.
    fileprivate mutating func settle(upTo id: Int64) {
        if !changes.isEmpty, id > index.settled, index.identity != nil { add(.settled(upTo: id)) }
    }

    private mutating func add(_ change: SnapshotChange) {
        index.apply(change)
        changes.append(change)
    }
}
