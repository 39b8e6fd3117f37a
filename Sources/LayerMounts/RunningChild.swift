internal import CLinux
internal import LayerModel
internal import LinuxIO

/// A started child until it has ended and is reaped; there is no way out of `waitForEnd` without that.
struct RunningChild: ~Copyable {
    private let process: Int32
    private var output: Capture
    private var errors: Capture

    init(process: Int32, output: consuming OwnedDescriptor, errors: consuming OwnedDescriptor, limit: Int) {
        self.process = process
        self.output = Capture(output, limit: limit)
        self.errors = Capture(errors, limit: limit)
    }

    /// Reads both outputs until the child has ended; kills its group after the timeout.
    mutating func waitForEnd(_ command: Command) throws(LayerError) -> CommandResult {
        let opened = ldl_pidfd_open(process)
        // ENOSYS, EPERM: before Linux 5.3, and where a filter knows no pidfd_open. Then one has to look again and again.
        guard opened >= 0 || opened == -38 || opened == -1 else {
            ldl_signal_group(process, sigkill)
            _ = reap()
            throw LayerError(SystemCallError("pidfd_open", errno: -opened), "wait for", path: command.program)
        }
        let timedOut = !follow(opened, milliseconds: command.timeoutMilliseconds)
        if timedOut {
            // First politely: zfs and the like undo what they began. Then everything that is left of the group.
            ldl_signal_group(process, sigterm)
            if !follow(opened, milliseconds: graceMilliseconds) {
                ldl_signal_group(process, sigkill)
                _ = follow(opened, milliseconds: -1)
            } else {
                // The child is a zombie still, so its group's number cannot have become another's.
                ldl_signal_group(process, sigkill)
            }
        }
        if opened >= 0 { try? OwnedDescriptor(adopting: opened).close() }
        let ending = reap()
        // What it wrote before its end is in the pipes already; the rest belongs to somebody who goes on.
        output.drain()
        errors.drain()
        return CommandResult(
            ending: timedOut ? .timedOut : ending, standardOutput: output.bytes, standardError: errors.bytes,
            isCut: output.isCut || errors.isCut)
    }

    /// Returns true when the child has ended, false after the time (never, when negative). `ended` is its pidfd, negative
    /// where there is none.
    private mutating func follow(_ ended: Int32, milliseconds: Int) -> Bool {
        let clock = ContinuousClock()
        let deadline = clock.now + .milliseconds(milliseconds)
        while true {
            var wait: Int32 = -1
            if milliseconds >= 0 {
                let left = deadline - clock.now
                let (seconds, attoseconds) = left.components
                wait = Int32(
                    clamping: max(0, seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000))
            }
            if ended < 0 {
                if ldl_has_ended(process) != 0 { return true }
                wait = wait < 0 ? lookEveryMilliseconds : min(wait, lookEveryMilliseconds)
            }
            let ready = Kernel.waitReadable([ended, output.number, errors.number], milliseconds: wait)
            if ready & 2 != 0 { output.drain() }
            if ready & 4 != 0 { errors.drain() }
            if ready & 1 != 0 { return true }
            if milliseconds >= 0, clock.now >= deadline { return false }
        }
    }

    private func reap() -> CommandResult.Ending {
        let status = Kernel.reap(process)
        // wait(2): the low seven bits are the signal, the next byte the exit status.
        return status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: status & 0x7f)
    }
}

private let sigkill: Int32 = 9
private let sigterm: Int32 = 15
private let graceMilliseconds = 500
private let lookEveryMilliseconds: Int32 = 5

/// What came through one pipe.
private struct Capture: ~Copyable {
    private let pipe: OwnedDescriptor
    private let limit: Int
    private let slab = Slab(capacity: 64 << 10)
    private(set) var bytes: [UInt8] = []
    private(set) var isCut = false
    private var isAtEnd = false

    init(_ pipe: consuming OwnedDescriptor, limit: Int) {
        self.pipe = pipe
        self.limit = limit
    }

    /// The descriptor to wait for; negative, which is passed over, at the end.
    var number: Int32 { isAtEnd ? -1 : pipe.number }

    /// Reads what is there without waiting.
    mutating func drain() {
        while !isAtEnd {
            // EAGAIN: nothing more for now.
            guard let count = try? pipe.read(into: slab, 0..<slab.capacity) else { return }
            if count == 0 { isAtEnd = true }
            let kept = min(count, limit - bytes.count)
            bytes += slab.span(0..<kept).copied()
            if kept < count { isCut = true }
        }
    }
}
