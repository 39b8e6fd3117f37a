import LayerModel
import LinuxIO
import Synchronization

/// The queue of one writing thread, filled and waited for by one other, the decoder.
///
/// Each wakes the other only for what it waits for: a wake-up a batch would cost more than writing the batch's smallest files.
final class WriterLane: Sendable {
    private struct State {
        var waiting: [FileBatch] = []
        /// The next of `waiting`; the ones before it were taken.
        var next = 0
        var spare: [FileBatch] = []
        var completed: UInt64 = 0
        /// Jobs of the completed batches that were done.
        var done: UInt64 = 0
        var isClosed = false
        /// The decoder waits for room: it is woken when half of the queue is free.
        var lacksRoom = false
        /// The number of completed batches for which the decoder waits.
        var awaited = UInt64.max
    }

    private let state = Monitor(State())
    /// Batches given to the lane that are not done yet; a hint for who has least to do.
    let outstanding = Atomic<Int>(0)

    /// Batches that may wait in the lane. Each keeps its directory open.
    private let bound: Int

    init(bound: Int) { self.bound = bound }

    /// Queues a batch, after waiting while the queue is full.
    func push(_ batch: FileBatch) {
        outstanding.add(1, ordering: .relaxed)
        state.waitFor { [bound] (state) -> (result: Void, wake: Bool)? in
            state.lacksRoom = state.waiting.count - state.next >= bound
            guard !state.lacksRoom else { return nil }
            if state.next == state.waiting.count {
                state.waiting.removeAll(keepingCapacity: true)
                state.next = 0
            } else if state.next >= 4 * bound {
                state.waiting.removeFirst(state.next)
                state.next = 0
            }
            state.waiting.append(batch)
            return ((), true)
        }
    }

    /// The next batch, or nil once the lane is closed and empty.
    func pop() -> FileBatch? {
        state.waitFor { [bound] (state) -> (result: FileBatch?, wake: Bool)? in
            if state.next < state.waiting.count {
                state.next += 1
                let left = state.waiting.count - state.next
                return (state.waiting[state.next - 1], state.lacksRoom && left <= bound / 2)
            }
            return state.isClosed ? (nil, false) : nil
        }
    }

    /// Gives a popped batch back, of whose jobs `done` were done, and keeps it for reuse.
    func complete(_ batch: FileBatch, done: Int) {
        precondition(0...batch.files.count ~= done)
        batch.reset()
        outstanding.subtract(1, ordering: .relaxed)
        state.update { [bound] state in
            state.completed += 1
            state.done += UInt64(done)
            if state.spare.count < bound { state.spare.append(batch) }
            return ((), state.completed >= state.awaited)
        }
    }

    /// An empty batch.
    func takeSpare() -> FileBatch {
        state.update { ($0.spare.popLast(), false) } ?? FileBatch()
    }

    /// Number of batches given back since the start.
    var completed: UInt64 { state.update { ($0.completed, false) } }

    /// Jobs done since the start.
    var done: UInt64 { state.update { ($0.done, false) } }

    /// Waits until that many batches are given back.
    func wait(until count: UInt64) {
        state.waitFor { (state) -> (result: Void, wake: Bool)? in
            let isReached = state.completed >= count
            state.awaited = isReached ? .max : count
            return isReached ? ((), false) : nil
        }
    }

    func close() {
        state.update { state in
            state.isClosed = true
            return ((), true)
        }
    }
}

/// What the writing threads share: the first failure, warnings, counts.
final class WriterResults: Sendable {
    struct Totals: Sendable {
        var failure: WriteFailure?
        /// Batches were given back unwritten because the caller wanted no more.
        var wasCancelled = false
        var tolerated = ToleratedFailures()
        /// Where the names of files lie whose modes were limited.
        var limited: Set<Int> = []
        var counters = IOCounters()
    }

    /// Behind a monitor, which the thread sanitizer can follow; it is taken once a writer.
    let totals = Monitor(Totals())
    /// Something is not written, for one reason or the other; then nothing more will be.
    let hasFailed = Atomic<Bool>(false)
    private let hasLimited = Atomic<Bool>(false)

    func fail(_ failure: WriteFailure) {
        totals.change { if $0.failure == nil { $0.failure = failure } }
        hasFailed.store(true, ordering: .releasing)
    }

    func cancel() {
        totals.change { $0.wasCancelled = true }
        hasFailed.store(true, ordering: .releasing)
    }

    func tolerate(_ failure: WriteFailure) {
        totals.change { $0.tolerated.add(failure) }
    }

    /// A file's access list could not be set, and its mode gives less than its entry's.
    func limit(_ name: NameRef) {
        totals.change { _ = $0.limited.insert(name.offset) }
        hasLimited.store(true, ordering: .releasing)
    }

    /// Whether that is so of the file that a record names; for who knows that it is written.
    func isLimited(_ name: NameRef) -> Bool {
        hasLimited.load(ordering: .acquiring) && totals.change { $0.limited.contains(name.offset) }
    }
}

/// The writing threads, one lane each. A directory's files go to one lane while any of them is under way, so that
/// two threads never wait for the same directory's lock.
final class WriterCrew {
    private let lanes: [WriterLane]
    private var pushed: [UInt64]
    /// Jobs of all batches handed over.
    private var jobs: UInt64 = 0
    private var threads: [ThreadBox] = []
    let results = WriterResults()

    private final class ThreadBox {
        private var thread: WorkerThread?
        init(_ thread: consuming WorkerThread) { self.thread = consume thread }
        func join() { if let thread = thread.take() { thread.join() } }
    }

    /// Batches that may wait for one writer where there are descriptors enough.
    static let longestQueue = 64

    init(workers: Int, queue: Int, arena: NameArena, settings: FileWriter.Settings) throws(LayerError) {
        lanes = (0..<workers).map { _ in WriterLane(bound: queue) }
        pushed = [UInt64](repeating: 0, count: workers)
        let results = results
        for lane in lanes {
            do throws(LayerError) {
                threads.append(
                    ThreadBox(
                        try WorkerThread {
                            var writer = FileWriter(arena: arena, settings: settings, results: results)
                            writer.run(lane)
                        }))
            } catch {
                shutDown()
                throw error
            }
        }
    }

    deinit { shutDown() }

    var laneCount: Int { lanes.count }

    /// Batches given to a lane so far.
    func pushed(_ lane: Int) -> UInt64 { pushed[lane] }

    /// The lane for a directory whose last batch is given: the same one while that is under way, else the emptiest.
    func lane(after node: DirectoryNode) -> Int {
        let last = Int(node.lane)
        if node.lastBatch > 0, lanes[last].completed < node.lastBatch { return last }
        var best = last < lanes.count ? last : 0
        for index in lanes.indices
        where lanes[index].outstanding.load(ordering: .relaxed) < lanes[best].outstanding.load(ordering: .relaxed) {
            best = index
        }
        return best
    }

    func takeBatch() -> FileBatch { lanes[0].takeSpare() }

    /// Hands over a batch; returns its number in the lane.
    func push(_ batch: FileBatch, lane: Int) -> UInt64 {
        pushed[lane] += 1
        jobs += UInt64(batch.files.count)
        lanes[lane].push(batch)
        return pushed[lane]
    }

    func wait(lane: Int, until count: UInt64) { lanes[lane].wait(until: count) }

    func isDone(lane: Int, _ count: UInt64) -> Bool { lanes[lane].completed >= count }

    /// Waits until everything handed over is done.
    func drain() {
        for index in lanes.indices { lanes[index].wait(until: pushed[index]) }
    }

    /// Whether everything handed over was given back as done; only when all lanes are idle.
    var hasDoneAll: Bool { lanes.reduce(0) { $0 + $1.done } == jobs }

    /// Ends the threads after what they have; a file whose end never came is removed.
    func shutDown() {
        for lane in lanes { lane.close() }
        for thread in threads { thread.join() }
        threads.removeAll()
    }
}
