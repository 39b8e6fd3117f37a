import LinuxIO

/// Finds out whether a worker's files take a disk long to open, so that more workers pay.
///
/// A worker that others keep from its processor takes long, too. So what is slow by the clock is only a reason to count how often
/// the thread waited of itself in the segment that follows.
struct SlowOpening {
    private var start = ContinuousClock.now
    /// Waits before the segment, counted if the one before took long.
    private var waits: Int?
    private var isSuspicious = false

    /// What an entry takes at least where a disk is slow. The disk that this was measured on takes 0.1 ms for a file that is not
    /// in memory.
    private static let least = Duration.microseconds(500)
    /// Segments with fewer entries say nothing: one piece of a large file may wait for many reasons.
    private static let fewest = 4

    /// A segment begins.
    mutating func begin() {
        waits = isSuspicious ? ThreadWaits.count : nil
        start = .now
    }

    /// A segment of so many entries is encoded, all but the reads that go on; whether its files were slow to open.
    mutating func isSlow(entries: Int) -> Bool {
        guard entries >= Self.fewest else { return false }
        isSuspicious = start.duration(to: .now) > Self.least * entries
        guard isSuspicious, let waits else { return false }
        return ThreadWaits.count - waits >= entries / 2
    }
}
