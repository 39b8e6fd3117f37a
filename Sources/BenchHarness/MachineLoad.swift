import Glibc

/// What else the machine does when the measurement begins.
struct MachineLoad: Sendable, Equatable {
    /// Processes that ran or waited for a processor or a disk, the mean of the last minute; nil where that is not told.
    var average: Double?
    /// The part of all processors that others had just now.
    var busy: Double?
    var processors: Int

    /// Looks for a third of a second.
    static func now() -> MachineLoad {
        let average = TextFile.read("/proc/loadavg").split(separator: " ").first.flatMap { Double($0) }
        var busy: Double?
        let start = ContinuousClock.now
        if let before = Machine.idleSeconds {
            usleep(300_000)
            let seconds = Double(start.duration(to: .now) / .milliseconds(1)) / 1000
            if let after = Machine.idleSeconds, seconds > 0 {
                busy = max(0, 1 - (after - before) / (seconds * Double(Machine.processors)))
            }
        }
        return MachineLoad(average: average, busy: busy, processors: Machine.processors)
    }

    /// More than this of the processors, or of the last minute's, is somebody else's work.
    private static let (mostBusy, mostAverage) = (0.2, 0.5)

    /// What stands on top of the report; nil where the machine is quiet.
    var warning: String? {
        var reasons: [String] = []
        if let busy, busy > Self.mostBusy {
            reasons.append("\(Format.fixed(busy * 100, 0)) % of its processors are taken")
        }
        if let average, average > Self.mostAverage * Double(processors) {
            reasons.append("load \(Format.fixed(average, 1)) on \(processors) processors in the last minute")
        }
        guard !reasons.isEmpty else { return nil }
        return "THIS MACHINE IS BUSY (\(reasons.joined(separator: ", "))): times and ratios are not to be believed"
    }
}
