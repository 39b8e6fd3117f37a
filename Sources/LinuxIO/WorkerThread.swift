internal import Glibc
public import LayerModel

/// A thread that runs one closure and is joined by its owner, or detached.
///
/// For what cannot go on without it: Dispatch would give the same a queue of its own, but where the system has no thread left
/// it waits for ever instead of saying so. What can go on alone takes `Helpers`.
public struct WorkerThread: ~Copyable {
    private let thread: pthread_t

    private final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }

    /// Starts `body` on a new thread with a 1 MiB stack.
    ///
    /// Throws `.io` when the system gives no thread.
    public init(_ body: @escaping @Sendable () -> Void) throws(LayerError) {
        var attributes = pthread_attr_t()
        var thread = pthread_t()
        // Reason: plain pthread use; the body is retained for the thread and released by it.
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setstacksize(&attributes, 1 << 20)
        defer { unsafe pthread_attr_destroy(&attributes) }
        let retained = unsafe Unmanaged.passRetained(Body(body))
        let result = unsafe pthread_create(
            &thread, &attributes,
            { argument in
                // Reason: the argument is the retained body that was passed below.
                if let argument = unsafe argument {
                    unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, retained.toOpaque())
        guard result == 0 else {
            unsafe retained.release()
            throw LayerError(
                SystemCallError("pthread_create", errno: result), "start a worker thread", path: nil,
                hint: "raise the limit of processes and threads (ulimit -u, TasksMax=, pids.max)")
        }
        self.thread = thread
    }

    /// Waits for the thread to end.
    public consuming func join() {
        let thread = thread
        discard self
        // The thread was created joinable and is joined once.
        _ = pthread_join(thread, nil)
    }

    /// Lets the thread end by itself, whenever its closure does.
    public consuming func detach() {
        let thread = thread
        discard self
        _ = pthread_detach(thread)
    }

    deinit {
        _ = pthread_join(thread, nil)
    }
}
