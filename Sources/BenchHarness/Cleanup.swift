import Glibc
import Synchronization

/// What must be taken back however the process ends: running programs, mounts, directories.
///
/// Whoever makes such a thing does so inside `start` or `make`, under the lock that `runAll` takes for good. So at a
/// signal nothing is made that is not known here.
final class Cleanup: Sendable {
    static let shared = Cleanup()

    private struct Held {
        var processes: [pid_t] = []
        var actions: [(number: Int, action: @Sendable () -> Void)] = []
        var next = 0
    }

    private let held = Mutex(Held())
    private let isEnding = Atomic<Bool>(false)

    /// Starts a program and keeps its pid; `body` returns it, or a negated errno.
    func start(_ body: () -> Int64) -> Int64 {
        held.withLock { held in
            let outcome = body()
            if outcome > 0 { held.processes.append(pid_t(outcome)) }
            return outcome
        }
    }

    /// Says that a program was waited for.
    func forget(_ process: pid_t) { held.withLock { $0.processes.removeAll { $0 == process } } }

    /// Kills a program with its children, and waits for it.
    func endProcess(_ process: pid_t) {
        kill(-process, SIGKILL)
        kill(process, SIGKILL)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        forget(process)
    }

    /// Makes something, and notes how it is taken back. Returns a number for `takeBack`; nil when nothing was made.
    func make(_ body: () -> Bool, undo: @escaping @Sendable () -> Void) -> Int? {
        held.withLock { held in
            guard body() else { return nil }
            held.next += 1
            held.actions.append((held.next, undo))
            return held.next
        }
    }

    /// Takes one thing back now.
    func takeBack(_ number: Int) {
        held.withLock { held in
            guard let index = held.actions.firstIndex(where: { $0.number == number }) else { return }
            held.actions.remove(at: index).action()
        }
    }

    /// Does not return once a signal came: for the main thread while it makes files without a program's help.
    func stopAtSignal() {
        while isEnding.load(ordering: .relaxed) { pause() }
    }

    /// Takes everything back, newest first: the ordinary end.
    func runAll() { held.withLock { Self.empty(&$0) } }

    /// Has SIGINT, SIGTERM and SIGHUP end the process with status 130 after `runAll`. Before other threads are started.
    func watchSignals(_ farewell: @escaping @Sendable () -> Void) {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&set, number) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        self.farewell.withLock { $0 = farewell }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { _ in
                Cleanup.shared.waitForSignal()
                return nil
            }, nil)
        pthread_detach(thread)
    }

    private let farewell = Mutex<(@Sendable () -> Void)?>(nil)

    private func waitForSignal() {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&set, number) }
        var number: Int32 = 0
        guard sigwait(&set, &number) == 0 else { return }
        isEnding.store(true, ordering: .relaxed)
        held.withLock { held in
            Self.empty(&held)
            farewell.withLock { $0 }?()
            // With the lock held: the main thread cannot start or mount anything any more.
            _exit(130)
        }
    }

    private static func empty(_ held: inout Held) {
        for process in held.processes {
            kill(-process, SIGKILL)
            kill(process, SIGKILL)
        }
        // The main thread may reap them first; then there is nobody to wait for.
        for process in held.processes {
            var status: Int32 = 0
            while waitpid(process, &status, 0) < 0, errno == EINTR {}
        }
        held.processes = []
        while let last = held.actions.popLast() { last.action() }
    }
}
