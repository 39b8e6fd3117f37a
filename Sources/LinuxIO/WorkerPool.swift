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

/// Runs one job with a number of workers, one of them the calling thread.
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

    /// Runs `body` on the calling thread, and beside it on as many threads of Dispatch as make `count`; returns when all
    /// have ended.
    ///
    /// The work is such that one worker alone can do all of it: workers that Dispatch has not begun when the caller's ends
    /// never begin (`Helpers`). The first error wins: `cancel` is set, so that the others stop soon, and the error is thrown
    /// when all have.
    public func run(
        cancel: CancelFlag, _ body: @escaping @Sendable () throws(LayerError) -> Void
    ) throws(LayerError) {
        let failure = FirstError()
        let guarded: @Sendable () -> Void = {
            do throws(LayerError) {
                try body()
            } catch {
                failure.record(error)
                cancel.cancel()
            }
        }
        let helpers = Helpers()
        for _ in 1..<max(count, 1) { helpers.start(guarded) }
        guarded()
        helpers.join()
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
