internal import CLinux
public import LayerModel
public import Synchronization

/// Counts that a progress bar reads while the work goes on.
public final class Progress: Sendable {
    /// Bytes done; of the stream for an apply, of the layer for a diff.
    public let bytes = Atomic<UInt64>(0)
    /// Entries done.
    public let entries = Atomic<UInt64>(0)
    /// Bytes in all, 0 while unknown.
    public let totalBytes = Atomic<UInt64>(0)
    /// Entries in all, 0 while unknown.
    public let totalEntries = Atomic<UInt64>(0)

    public init() {}
}

/// Runs one job on a fixed number of threads.
public struct WorkerPool: Sendable {
    /// Number of workers.
    public let count: Int

    /// `count` nil or 0 means one worker a core.
    public init(count: Int? = nil) {
        if let count, count > 0 {
            self.count = min(count, 64)
        } else {
            self.count = Self.availableCores
        }
    }

    /// Cores this process may use.
    public static var availableCores: Int { max(1, Int(ldl_active_cores())) }

    /// Runs `body` once for each worker index, each on a thread of its own (index 0 on the caller's), and waits for
    /// all of them.
    ///
    /// The first error wins: `cancel` is set, so that the others stop soon, and the error is thrown when all have.
    public func run(
        cancel: CancelFlag, _ body: @escaping @Sendable (Int) throws(LayerError) -> Void
    ) throws(LayerError) {
        let failure = FirstError()
        let guarded: @Sendable (Int) -> Void = { index in
            do throws(LayerError) {
                try body(index)
            } catch {
                failure.record(error)
                cancel.cancel()
            }
        }
        let threads = HelperThreads()
        for index in 1..<max(count, 1) {
            do throws(LayerError) {
                try threads.start { guarded(index) }
            } catch {
                failure.record(error)
                cancel.cancel()
                break
            }
        }
        guarded(0)
        threads.join()
        if let error = failure.value { throw error }
    }
}

/// The first error that any worker met; one that says more replaces a mere "interrupted".
public final class FirstError: Sendable {
    private let held = Mutex<LayerError?>(nil)

    public init() {}

    public func record(_ error: LayerError) {
        held.withLock { held in
            if held == nil || (held?.code == .cancelled && error.code != .cancelled) { held = error }
        }
    }

    public var value: LayerError? { held.withLock { $0 } }
}

/// Threads that help the calling one, joined together at the end of its work.
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
