internal import CLinux
internal import Dispatch
internal import Synchronization

/// Work done beside the calling thread's, on threads of Dispatch, by workers that the job can do without.
///
/// Dispatch promises nobody a second thread: its pool may be busy with others' work, or have one thread only. So a worker that
/// it has not begun when the job ends never begins, and `join` waits for those alone that have.
public final class Helpers: Sendable {
    private struct State {
        /// What Dispatch has not begun, by the number of its start; nil where it has.
        var waiting: [(@Sendable () -> Void)?] = []
        var running = 0
        var isOver = false
    }

    private let state = Monitor(State())
    /// Instead of Dispatch's, for a calling thread that has mounts of its own.
    private let threads = HelperThreads()
    private let width: Width

    /// How many threads there are: for tests, which must see the same result with each.
    public enum Width: UInt8, Sendable {
        /// As many as Dispatch gives.
        case real
        /// All helpers of the process take turns on one.
        case one
        /// None: no helper ever begins.
        case none
    }

    private static let narrow = DispatchQueue(label: "ldiff.helper")
    private static let pretended = Atomic<UInt8>(Width.real.rawValue)

    public init() {
        width = Width(rawValue: Self.pretended.load(ordering: .relaxed)) ?? .real
    }

    /// For tests: from now on, jobs of this process have helpers as if Dispatch had so many threads.
    public static func pretend(_ width: Width) { pretended.store(width.rawValue, ordering: .relaxed) }

    /// Has `body` run by another thread, if there is one before `join`.
    public func start(_ body: @escaping @Sendable () -> Void) {
        if width == .none { return }
        // Dispatch keeps its threads, and they inherit what the one has that makes them: mounts, and rights. A thread that
        // acts for another user has helpers that do so, too.
        if ldl_is_apart_thread() != 0 || Self.rights != Rights() {
            try? threads.start {
                // It may start others.
                ldl_set_apart_thread()
                body()
            }
            return
        }
        // Where the system gives no thread, Dispatch tries for ever, and the caller with it.
        guard let probe = try? WorkerThread({}) else { return }
        probe.join()
        let number = state.update { state -> (result: Int?, wake: Bool) in
            if state.isOver { return (nil, false) }
            state.waiting.append(body)
            return (state.waiting.count - 1, false)
        }
        guard let number else { return }
        // One queue each, for which Dispatch makes a thread at once. On a concurrent queue they would take the few threads of
        // its common pool, where also the tasks of Swift's concurrency run: helpers that wait for a slow reader kept a daemon
        // from answering anybody.
        let queue = width == .one ? Self.narrow : DispatchQueue(label: "ldiff.helper.\(number)")
        let state = state
        queue.async { Self.run(number, state) }
    }

    /// What a thread may do, of which each has its own.
    private struct Rights: Equatable {
        private let user: UInt32
        private let group: UInt32
        private let capabilities: UInt64

        /// Those of the calling thread.
        init() {
            let rights = ldl_thread_rights()
            (user, group, capabilities) = (rights.user, rights.group, rights.capabilities)
        }
    }

    /// Those of the first thread that has helpers, which Dispatch's threads must have as well.
    private static let rights = Rights()

    private static func run(_ number: Int, _ state: Monitor<State>) {
        guard Self.rights == Rights() else { return }
        var body = state.update { state -> (result: (@Sendable () -> Void)?, wake: Bool) in
            guard number < state.waiting.count, let body = state.waiting[number] else { return (nil, false) }
            state.waiting[number] = nil
            state.running += 1
            return (body, false)
        }
        guard body != nil else { return }
        body?()
        // What it holds goes away before anybody hears that it has ended.
        body = nil
        state.change { $0.running -= 1 }
    }

    /// Waits for the helpers that have begun; the others never do, nor do any that are started later.
    public func join() {
        let abandoned = state.update { state in
            state.isOver = true
            defer { state.waiting = [] }
            return (state.waiting, false)
        }
        // What they hold goes away now, not when Dispatch comes to them.
        _ = consume abandoned
        state.wait { $0.running == 0 ? () : nil }
        threads.join()
    }
}
