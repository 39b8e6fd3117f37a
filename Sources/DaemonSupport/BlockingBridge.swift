import LayerModel
import LinuxIO
import Synchronization

/// The only way from asynchronous code into the engine, which blocks: work runs on threads of its own, never on those of
/// Swift's cooperative pool.
///
/// There are several lanes, so that a short call (look up, mount) never waits behind a layer that is being unpacked, nor the
/// unpacking of a layer behind those that write the very layers that are to be unpacked, as Docker's commit has it, nor any
/// call that needs nobody behind one whose peer is silent. Each has a bounded number of threads, which are started when
/// they are needed; more work waits in order.
package final class BlockingBridge: Sendable {
    private let short: ThreadLane
    private let long: ThreadLane
    private let incoming: ThreadLane
    private let outgoing: ThreadLane
    private let running = Mutex<[ObjectIdentifier: CancelFlag]>([:])
    private let isStopped = Atomic<Bool>(false)

    /// Where long work runs.
    package enum Lane: Sendable {
        /// It needs nobody to go on.
        case own
        /// It unpacks a layer that somebody sends: a stream that waits for its peer holds a thread.
        case incoming
        /// It writes a layer that somebody is to take from here: the same.
        case outgoing
    }

    package init(shortThreads: Int = 16, longThreads: Int = 64, incomingThreads: Int = 64) {
        short = ThreadLane(limit: shortThreads, keep: shortThreads)
        long = ThreadLane(limit: longThreads, keep: 2)
        incoming = ThreadLane(limit: incomingThreads, keep: 2)
        outgoing = ThreadLane(limit: longThreads, keep: 2)
    }

    /// Runs a short piece of work and gives its result. Work that has begun is not stopped when the task is cancelled;
    /// work that has not is left out, with a `CancellationError`.
    package func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await Job.perform(on: short, flag: nil, body)
    }

    /// Has a short piece of work done, which says itself when it is over. Throws `io` where the system gives no thread for it.
    package func start(_ body: @escaping @Sendable () -> Void) throws(LayerError) { try short.add(body) }

    /// Runs long work on a lane. Its flag is set when the task is cancelled and by `cancelAll`.
    package func runLong<Result: Sendable>(
        _ lane: Lane = .own, _ body: @escaping @Sendable (CancelFlag) throws -> Result
    ) async throws -> Result {
        let flag = CancelFlag()
        if isStopped.load(ordering: .acquiring) { flag.cancel() }
        running.withLock { $0[ObjectIdentifier(flag)] = flag }
        defer { running.withLock { $0[ObjectIdentifier(flag)] = nil } }
        // `cancelAll` may have looked between the two lines above.
        if isStopped.load(ordering: .acquiring) { flag.cancel() }
        let threads =
            switch lane {
            case .own: long
            case .incoming: incoming
            case .outgoing: outgoing
            }
        return try await Job.perform(on: threads, flag: flag) { try body(flag) }
    }

    /// Asks all long work, also what comes later, to stop: for a shutdown that cannot wait.
    package func cancelAll() {
        isStopped.store(true, ordering: .releasing)
        for flag in running.withLock({ Array($0.values) }) { flag.cancel() }
    }

    /// Long work that runs or waits.
    package var longCount: Int { running.withLock { $0.count } }
}

/// One piece of work: waiting, then running; its continuation is resumed exactly once.
private final class Job<Result: Sendable>: Sendable {
    private enum State {
        case new
        case waiting(CheckedContinuation<Result, any Error>)
        case over
    }

    private let state = Mutex(State.new)

    static func perform(
        on lane: ThreadLane, flag: CancelFlag?, _ body: @escaping @Sendable () throws -> Result
    ) async throws -> Result {
        let job = Job()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                guard job.wait(continuation) else { return continuation.resume(throwing: CancellationError()) }
                do throws(LayerError) {
                    try lane.add { job.run(body) }
                } catch {
                    job.take()?.resume(throwing: error)
                }
            }
        } onCancel: {
            flag?.cancel()
            job.cancel()
        }
    }

    /// False where it was cancelled before.
    private func wait(_ continuation: CheckedContinuation<Result, any Error>) -> Bool {
        state.withLock { state in
            guard case .new = state else { return false }
            state = .waiting(continuation)
            return true
        }
    }

    private func take() -> CheckedContinuation<Result, any Error>? {
        state.withLock { state in
            defer { state = .over }
            if case .waiting(let continuation) = state { return continuation }
            return nil
        }
    }

    private func run(_ body: () throws -> Result) {
        // Whoever cancelled it has had an answer already.
        guard let continuation = take() else { return }
        do {
            continuation.resume(returning: try body())
        } catch {
            continuation.resume(throwing: error)
        }
    }

    private func cancel() { take()?.resume(throwing: CancellationError()) }
}

/// Threads that take work from one queue, the oldest first.
private final class ThreadLane: Sendable {
    private struct State {
        var queue: [@Sendable () -> Void] = []
        /// The first that still waits; what lies before it is done.
        var first = 0
        var threads = 0
        var idle = 0
    }

    private let limit: Int
    private let keep: Int
    private let monitor = Monitor(State())

    init(limit: Int, keep: Int) {
        self.limit = limit
        self.keep = keep
    }

    /// Queues work. Throws when the system gives no thread and none is there.
    func add(_ work: @escaping @Sendable () -> Void) throws(LayerError) {
        // One thread is woken: the others would look in vain, and keep the processors from what it does.
        let (needsThread, isFirst) = monitor.hand { state in
            state.queue.append(work)
            guard state.idle < state.queue.count - state.first, state.threads < limit else {
                return ((false, false), true)
            }
            state.threads += 1
            return ((true, state.threads == 1), false)
        }
        guard needsThread else { return }
        do throws(LayerError) {
            try WorkerThread { [self] in serve() }.detach()
        } catch {
            monitor.update { state in
                state.threads -= 1
                return ((), false)
            }
            // Where there are others they will come to it; else its caller hears of this, and it does nothing when it is met.
            if isFirst { throw error }
        }
    }

    private func serve() {
        while let work = next() { work() }
    }

    /// The next piece of work; nil where enough threads wait without this one.
    private func next() -> (@Sendable () -> Void)? {
        var isIdle = false
        return monitor.waitFor { state in
            guard state.first < state.queue.count else {
                if isIdle { return nil }
                guard state.idle < keep else {
                    state.threads -= 1
                    return (nil, false)
                }
                state.idle += 1
                isIdle = true
                return nil
            }
            if isIdle { state.idle -= 1 }
            let work = state.queue[state.first]
            state.first += 1
            if state.first == state.queue.count {
                state.queue.removeAll(keepingCapacity: true)
                state.first = 0
            } else if state.first > 64, state.first * 2 > state.queue.count {
                state.queue.removeFirst(state.first)
                state.first = 0
            }
            return (work, false)
        }
    }
}
