internal import Glibc

/// A mutex with one condition, around a value: for the few places where a thread must wait for another.
///
/// Synchronization has no condition variable, so this is pthread's. Never held across a system call that may block.
@safe
public final class Monitor<Value>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var value: Value
    private var waiting = 0

    public init(_ value: Value) {
        self.value = value
        // Reason, here and below: both objects are owned by self, initialised here, never moved, and destroyed in deinit.
        unsafe mutex = .allocate(capacity: 1)
        unsafe condition = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe condition.initialize(to: pthread_cond_t())
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(condition, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe pthread_cond_destroy(condition)
        unsafe mutex.deallocate()
        unsafe condition.deallocate()
    }

    /// Runs `body` alone; wakes everybody who waits if it returns `wake` as true in its second result.
    public func update<Result>(_ body: (inout Value) -> (result: Result, wake: Bool)) -> Result {
        unsafe pthread_mutex_lock(mutex)
        let (result, wake) = body(&value)
        let signal = wake && waiting > 0
        unsafe pthread_mutex_unlock(mutex)
        if signal { unsafe pthread_cond_broadcast(condition) }
        return result
    }

    /// Runs `body` alone; wakes one of those who wait, whichever, if it returns `wakeOne` as true in its second result.
    ///
    /// Only where all of them wait for the same, and one can do what there is to do: to wake the others would have each of them
    /// look in vain.
    public func hand<Result>(_ body: (inout Value) -> (result: Result, wakeOne: Bool)) -> Result {
        unsafe pthread_mutex_lock(mutex)
        let (result, wakeOne) = body(&value)
        let signal = wakeOne && waiting > 0
        unsafe pthread_mutex_unlock(mutex)
        if signal { unsafe pthread_cond_signal(condition) }
        return result
    }

    /// Runs `body` alone, and again after every wake-up, until it returns a value.
    ///
    /// `wake` in the result wakes the other waiters.
    public func waitFor<Result>(_ body: (inout Value) -> (result: Result, wake: Bool)?) -> Result {
        unsafe pthread_mutex_lock(mutex)
        while true {
            if let (result, wake) = body(&value) {
                let signal = wake && waiting > 0
                unsafe pthread_mutex_unlock(mutex)
                if signal { unsafe pthread_cond_broadcast(condition) }
                return result
            }
            waiting += 1
            unsafe pthread_cond_wait(condition, mutex)
            waiting -= 1
        }
    }
}

extension Monitor {
    /// Runs `body` alone and wakes everybody who waits; for state that changes too rarely to ask who cares.
    public func change<Result>(_ body: (inout Value) -> Result) -> Result {
        update { (body(&$0), true) }
    }

    /// Runs `body` alone, again after every change, until it gives a result; wakes the other waiters then.
    public func wait<Result>(_ body: (inout Value) -> Result?) -> Result {
        waitFor { value in body(&value).map { ($0, true) } }
    }
}
