import Glibc
import LayerModel

/// A thread that nobody waits for; it ends with its closure or with the process.
enum DetachedThread {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts `body` with a 1 MiB stack, as the engine's own threads have.
    ///
    /// Signals are left to other threads. Throws `io` where the system gives no thread.
    static func start(_ body: @escaping @Sendable () -> Void) throws(LayerError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        pthread_attr_setstacksize(&attributes, 1 << 20)
        defer { pthread_attr_destroy(&attributes) }
        let retained = Unmanaged.passRetained(Body(body))
        var thread = pthread_t()
        let result = pthread_create(
            &thread, &attributes,
            { argument in
                if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, retained.toOpaque())
        guard result == 0 else {
            retained.release()
            throw LayerError(SystemCallError("pthread_create", errno: result), "start a thread", path: nil)
        }
    }
}
