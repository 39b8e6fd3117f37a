public import LayerModel

/// Threads that a job cannot do without, joined together at its end: each waits for another's result, so all must exist at
/// once, and one that cannot be made is an error. Dispatch promises neither; see `Helpers` for those who can do without.
public final class HelperThreads: Sendable {
    private final class Held: @unchecked Sendable {
        // Touched under the monitor's lock, and by the one thread that joins.
        var thread: WorkerThread?
        init(_ thread: consuming WorkerThread) { self.thread = consume thread }
    }
    private let threads = Monitor<[Held]>([])

    public init() {}

    /// Threads started and not yet joined.
    public var count: Int { threads.update { ($0.count, false) } }

    /// Starts a thread.
    public func start(_ body: @escaping @Sendable () -> Void) throws(LayerError) {
        let held = Held(try WorkerThread(body))
        threads.update { threads in
            threads.append(held)
            return ((), false)
        }
    }

    /// Waits for all of them, also for those that the last ones start meanwhile.
    public func join() {
        while let held = threads.update({ ($0.isEmpty ? nil : $0.removeFirst(), false) }) {
            if let thread = held.thread.take() { thread.join() }
        }
    }
}
