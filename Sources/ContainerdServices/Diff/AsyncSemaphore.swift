import Synchronization

/// Lets so many jobs run at once; the others wait without a thread.
///
/// Each job has threads and buffers of its own, and more jobs than cores finish no sooner.
final class AsyncSemaphore: Sendable {
    private typealias Continuation = CheckedContinuation<Void, any Error>

    private struct State {
        var free: Int
        var waiting: [(number: UInt64, continuation: Continuation)] = []
        /// Cancelled before they came to wait.
        var cancelled: Set<UInt64> = []
        var next: UInt64 = 0
    }

    private let state: Mutex<State>

    init(limit: Int) { state = Mutex(State(free: max(1, limit))) }

    /// Runs `body` when there is room. Throws `CancellationError` when the task is cancelled before.
    func run<Result: Sendable>(_ body: () async throws -> Result) async throws -> Result {
        let number = state.withLock { state in
            state.next += 1
            return state.next
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { enter(number, $0) }
        } onCancel: {
            cancel(number)
        }
        defer { leave(number) }
        return try await body()
    }

    private func enter(_ number: UInt64, _ continuation: Continuation) {
        let outcome: Result<Void, any Error>? = state.withLock { state in
            if state.cancelled.remove(number) != nil { return .failure(CancellationError()) }
            if state.free > 0 {
                state.free -= 1
                return .success(())
            }
            state.waiting.append((number, continuation))
            return nil
        }
        if let outcome { continuation.resume(with: outcome) }
    }

    private func cancel(_ number: UInt64) {
        let waiter = state.withLock { state -> Continuation? in
            guard let index = state.waiting.firstIndex(where: { $0.number == number }) else {
                state.cancelled.insert(number)
                return nil
            }
            return state.waiting.remove(at: index).continuation
        }
        waiter?.resume(throwing: CancellationError())
    }

    private func leave(_ number: UInt64) {
        let waiter = state.withLock { state -> Continuation? in
            state.cancelled.remove(number)
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst().continuation
        }
        waiter?.resume()
    }
}
