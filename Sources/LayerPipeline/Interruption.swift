package import LinuxIO
import Synchronization

/// Stops a running job from another thread, a signal handler's for instance, also where it waits for a pipe.
package final class Interruption: Sendable {
    /// What the engine asks between entries, and what wakes a reader that waits for input.
    package let flag: CancelFlag

    private let cleaning = Atomic<Bool>(false)

    /// Nothing is interrupted yet. `flag` may be one that somebody else has.
    package init(_ flag: CancelFlag = CancelFlag()) { self.flag = flag }

    /// Whether the job is taking back what it did: it will end by itself and should not be killed.
    package var isCleaningUp: Bool { cleaning.load(ordering: .relaxed) }

    func beginCleaningUp() { cleaning.store(true, ordering: .relaxed) }

    /// Stops the job, for good.
    package func interrupt() {
        flag.cancel()
    }
}
