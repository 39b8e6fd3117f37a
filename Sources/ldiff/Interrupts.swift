import Glibc
import LayerPipeline
import Synchronization

/// SIGINT, SIGTERM and SIGHUP: the job is asked to stop and cleans up; one that is stuck in a write is ended.
///
/// A thread waits for the signals, so nothing here runs in a signal handler.
enum Interrupts {
    private static let interruption = Mutex<Interruption?>(nil)
    private static let isEnding = Atomic<Bool>(false)
    private static let patience = Atomic<Int>(0)

    /// How many milliseconds a job has to notice, before it counts as stuck.
    enum Patience: Int {
        /// It may wait in a write that does not wake, and nothing of it stays when it is ended.
        case writes = 600
        /// It wakes from waiting, and has something to take back.
        case takesBack = 5000
        /// It unmounts or removes layers, which may be large: only a second signal ends it sooner.
        case store = 120_000
    }

    /// Has signals interrupt `interruption` from now on. Called before any other thread is started, so that all of
    /// them leave the signals to the one that waits.
    ///
    /// A job that cannot wake from a write is ended after a moment: nothing of it stays. See `Patience` for others.
    static func watch(_ interruption: Interruption, patience: Patience = .writes) {
        self.patience.store(patience.rawValue, ordering: .relaxed)
        self.interruption.withLock { $0 = interruption }
        var set = waited()
        pthread_sigmask(SIG_BLOCK, &set, nil)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        pthread_attr_setstacksize(&attributes, 256 << 10)
        var thread = pthread_t()
        let result = pthread_create(
            &thread, &attributes,
            { _ in
                Interrupts.wait()
                return nil
            }, nil)
        pthread_attr_destroy(&attributes)
        if result != 0 { pthread_sigmask(SIG_UNBLOCK, &set, nil) }
    }

    /// Taken by whoever ends the process; the other waits for that end.
    static func claimEnd() {
        guard isEnding.exchange(true, ordering: .acquiringAndReleasing) else { return }
        while true { pause() }
    }

    /// The signals, without those that whoever started the program wants ignored (nohup, `&` in scripts).
    private static func waited() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGINT, SIGTERM, SIGHUP] {
            var action = sigaction()
            let isKnown = sigaction(number, nil, &action) == 0
            let handler = unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            if isKnown, handler == 1 { continue }
            sigaddset(&set, number)
        }
        return set
    }

    private static func wait() {
        var set = waited()
        var number: Int32 = 0
        guard sigwait(&set, &number) == 0 else { return }
        guard let interruption = interruption.withLock({ $0 }) else { return }
        interruption.interrupt()
        var waitedSoFar = 0
        while waitedSoFar < self.patience.load(ordering: .relaxed) || interruption.isCleaningUp {
            var slice = timespec(tv_sec: 0, tv_nsec: 20_000_000)
            let again = sigtimedwait(&set, nil, &slice) > 0
            waitedSoFar += 20
            // A signal a second later: somebody wants the end now. Sooner, timeout(1) and the like send two for one.
            if again, waitedSoFar > 1000 { break }
        }
        claimEnd()
        ProgressBar.clearLine()
        AbandonedFile.remove()
        Console.error("ldiff: interrupted\n")
        _exit(ExitStatus.interrupted.rawValue)
    }
}
