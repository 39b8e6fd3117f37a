import Glibc
import LayerModel
import LinuxIO
import Synchronization

/// The metadata of one driver's snapshots: in memory for everybody who asks, in a database for the next start.
///
/// Reading never waits. All changes go through one thread, which takes what has gathered while it synced the last
/// transaction and makes one of it, so that callers at the same time share a sync. An answer is given when its
/// transaction is on disk, and only then do others see the change.
final class SnapshotStore: Sendable {
    private struct Visible {
        var index: SnapshotIndex
        /// Ids that are given out but have no record yet, whose directories are no leftovers.
        var reserved: Set<Int64> = []
        var highest: Int64
    }

    private struct Queue {
        var jobs: [Job] = []
        var isClosing = false
    }

    /// Makes its changes, and says what to answer once they are on disk or failed.
    private typealias Job = @Sendable (inout SnapshotEdit) -> (@Sendable (ServiceFailure?) -> Void)

    private let database: SnapshotDatabase
    private let visible: Mutex<Visible>
    private let queue = Monitor(Queue())
    private let threads = HelperThreads()
    /// Makes new directories durable before the transaction that records them.
    private let syncDirectories: @Sendable () throws(LayerError) -> Void

    /// Opens the database at `path`. `taken` is the highest id that storage knows.
    init(
        path: String, taken: Int64, syncDirectories: @escaping @Sendable () throws(LayerError) -> Void
    ) throws {
        database = try SnapshotDatabase(path: path)
        let (records, highest) = try database.load()
        visible = Mutex(Visible(index: SnapshotIndex(records), highest: max(highest, taken)))
        self.syncDirectories = syncDirectories
        try threads.start { [self] in write() }
    }

    /// The state of this moment; it stays as it is. Whoever holds one makes the next change copy the tables.
    var index: SnapshotIndex { visible.withLock { $0.index } }

    /// Looks something up; others wait meanwhile.
    func look<Value: Sendable>(
        _ body: (SnapshotIndex) throws(ServiceFailure) -> Value
    ) throws(ServiceFailure) -> Value {
        try visible.withLock { (visible) throws(ServiceFailure) in try body(visible.index) }
    }

    // MARK: ids

    /// A new id. Give it back with `release` when its record is made, or its storage is gone again.
    func reserve() -> Int64 {
        visible.withLock { visible in
            visible.highest += 1
            visible.reserved.insert(visible.highest)
            return visible.highest
        }
    }

    func release(_ id: Int64) { visible.withLock { _ = $0.reserved.remove(id) } }

    /// Which of these are in no record and not being made.
    func strays(among ids: [Int64]) -> [Int64] {
        visible.withLock { visible in
            ids.filter { !visible.reserved.contains($0) && visible.index.records[$0] == nil }
        }
    }

    // MARK: changes

    /// Runs `body` on the newest state, alone, and waits until what it changed is on disk.
    ///
    /// `body` must look at everything before its first change: what it throws leaves no trace.
    func change<Value: Sendable>(
        _ body: @escaping @Sendable (inout SnapshotEdit) throws(ServiceFailure) -> Value
    ) async throws(ServiceFailure) -> Value {
        let outcome: Result<Value, ServiceFailure> = await withCheckedContinuation { continuation in
            let job: Job = { edit in
                let outcome = Result { () throws(ServiceFailure) in try body(&edit) }
                return { failure in continuation.resume(returning: failure.map { .failure($0) } ?? outcome) }
            }
            let isClosed = queue.update { queue in
                if queue.isClosing { return (true, false) }
                queue.jobs.append(job)
                return (false, true)
            }
            if isClosed {
                continuation.resume(returning: .failure(ServiceFailure(.unavailable, "the daemon is stopping")))
            }
        }
        return try outcome.get()
    }

    /// Lets what has begun end, and closes the database.
    func close() {
        queue.change { $0.isClosing = true }
        threads.join()
        database.close()
    }

    /// The writer's thread.
    private func write() {
        var newest = index
        while true {
            let jobs: [Job] = queue.waitFor { queue in
                guard !queue.jobs.isEmpty || queue.isClosing else { return nil }
                defer { queue.jobs = [] }
                return (queue.jobs, false)
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
        var failure: ServiceFailure?
        if !edit.changes.isEmpty {
            do {
                if edit.needsDirectories { try syncDirectories() }
                try database.write(edit.changes)
                visible.withLock { visible in for change in edit.changes { visible.index.apply(change) } }
            } catch let error as LayerError {
                failure = ServiceFailure(error, "sync the snapshots' directory")
            } catch {
                failure = SnapshotDatabase.failure(error)
            }
        }
        newest = failure == nil ? edit.index : index
        for answer in answers { answer(failure) }
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
    fileprivate(set) var needsDirectories = false
    /// Nanoseconds since 1970: when the transaction began.
    let now: Int64

    /// Adds the record of storage that was just made.
    mutating func insert(_ record: SnapshotRecord) {
        needsDirectories = true
        put(record)
    }

    mutating func put(_ record: SnapshotRecord) { add(.put(record)) }
    mutating func remove(_ id: Int64) { add(.remove(id: id)) }

    private mutating func add(_ change: SnapshotChange) {
        index.apply(change)
        changes.append(change)
    }
}
