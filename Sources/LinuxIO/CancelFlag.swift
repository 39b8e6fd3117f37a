internal import CLinux
public import LayerModel
internal import Synchronization

/// Asks running work to stop, for good; set from a signal handler's thread, another worker, or a caller that gave up.
public final class CancelFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    /// Becomes readable with the request, so that poll(2) wakes a thread that waits for input; negative where the
    /// system gave none.
    public let descriptor: Int32

    /// Makes a flag that is not set.
    public init() { descriptor = ldl_eventfd() }

    deinit {
        if descriptor >= 0 { _ = ldl_close(descriptor) }
    }

    /// Sets the flag.
    public func cancel() {
        flag.store(true, ordering: .releasing)
        if descriptor >= 0 { ldl_eventfd_signal(descriptor) }
    }

    /// Whether the flag was set.
    public var isCancelled: Bool { flag.load(ordering: .relaxed) }

    /// Throws `.cancelled` once `cancel` was called; `operation` says what was being done.
    @inline(__always)
    public func check(_ operation: String = "run") throws(LayerError) {
        if isCancelled { throw Self.interrupted(operation) }
    }

    @inline(never)
    private static func interrupted(_ operation: String) -> LayerError {
        LayerError(.cancelled, operation, cause: .reason("interrupted"))
    }
}
