import Glibc

/// State that several threads share, with waiting for it to change.
///
/// The standard library has `Mutex` but no condition to wait on. Hand-over here happens once per slab, a megabyte
/// of data, so every change simply wakes everyone who waits.
@safe
final class Monitor<State>: @unchecked Sendable {
    private var state: State
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let changed: UnsafeMutablePointer<pthread_cond_t>

    init(_ state: State) {
        self.state = state
        // Reason: both objects are allocated and initialised here, never moved, and freed once, in deinit.
        unsafe mutex = .allocate(capacity: 1)
        unsafe changed = .allocate(capacity: 1)
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(changed, nil)
    }

    deinit {
        // Reason: the last reference is gone, so no thread holds or waits for them.
        unsafe pthread_cond_destroy(changed)
        unsafe pthread_mutex_destroy(mutex)
        unsafe changed.deallocate()
        unsafe mutex.deallocate()
    }

    /// Runs `body` on the state, alone, and wakes whoever waits.
    func update<Result>(_ body: (inout State) -> Result) -> Result {
        // Reason: the mutex lives as long as self.
        unsafe pthread_mutex_lock(mutex)
        defer {
            unsafe pthread_cond_broadcast(changed)
            unsafe pthread_mutex_unlock(mutex)
        }
        return body(&state)
    }

    /// Runs `body` on the state, again after each change, until it gives a result.
    func wait<Result>(_ body: (inout State) -> Result?) -> Result {
        // Reason: the mutex lives as long as self, and is held around every use of the state.
        unsafe pthread_mutex_lock(mutex)
        defer {
            unsafe pthread_cond_broadcast(changed)
            unsafe pthread_mutex_unlock(mutex)
        }
        while true {
            if let result = body(&state) { return result }
            unsafe pthread_cond_wait(changed, mutex)
        }
    }
}
