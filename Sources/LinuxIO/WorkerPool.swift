internal import CLinux
public import LayerModel
public import Synchronization

/// Asks running work to stop; set from a signal handler's thread, another worker, or a caller that gave up.
public final class CancelFlag: Sendable {
    private let flag = Atomic<Bool>(false)

    public init() {}

    public func cancel() { flag.store(true, ordering: .relaxed) }

    public var isCancelled: Bool { flag.load(ordering: .relaxed) }

    /// Throws `.cancelled` once `cancel` was called.
    @inline(__always)
    public func check() throws(LayerError) {
        if isCancelled { throw LayerError(.cancelled, "run", cause: .reason("interrupted")) }
    }
}

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
        var threads = RigidThreads()
        for index in 1..<max(count, 1) {
            do throws(LayerError) {
                threads.append(try WorkerThread { guarded(index) })
            } catch {
                failure.record(error)
                cancel.cancel()
                break
            }
        }
        guarded(0)
        threads.joinAll()
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

/// The threads of one run; Array cannot hold values that are not copyable.
private struct RigidThreads: ~Copyable {
    private final class Box {
        var thread: WorkerThread?
        init(_ thread: consuming WorkerThread) { self.thread = consume thread }
    }
    private var boxes: [Box] = []

    mutating func append(_ thread: consuming WorkerThread) { boxes.append(Box(thread)) }

    mutating func joinAll() {
        for box in boxes {
            if let thread = box.thread.take() { thread.join() }
        }
        boxes.removeAll()
    }
}

/// Threads that help the calling one, joined together at the end of its work.
public final class HelperThreads {
    private var threads = RigidThreads()

    public init() {}

    /// Starts a thread.
    public func start(_ body: @escaping @Sendable () -> Void) throws(LayerError) {
        threads.append(try WorkerThread(body))
    }

    /// Waits for all of them.
    public func join() { threads.joinAll() }
}
