import Glibc
import LayerModel

/// A thread of the system that runs one closure. Whoever starts it joins it, exactly once.
struct WorkerThread: Sendable {
    private let handle: pthread_t

    /// Starts a thread that runs `body`; throws when the system has no room for one.
    init(_ body: @escaping @Sendable () -> Void) throws(LayerError) {
        // Reason: the retained box is taken over by the thread, or released below when none was started.
        let box = unsafe Unmanaged.passRetained(Body(body))
        var handle = pthread_t()
        let error = unsafe pthread_create(&handle, nil, runBody, box.toOpaque())
        guard error == 0 else {
            unsafe box.release()
            throw LayerError(SystemCallError("pthread_create", errno: error), "start a thread", path: nil)
        }
        self.handle = handle
    }

    /// Waits until the closure has returned.
    func join() {
        pthread_join(handle, nil)
    }

    fileprivate final class Body: Sendable {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
}

private func runBody(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument = unsafe argument else { return nil }
    // Reason: the argument is the box that init retained for this thread.
    let body = unsafe Unmanaged<WorkerThread.Body>.fromOpaque(argument).takeRetainedValue()
    body.run()
    return nil
}
