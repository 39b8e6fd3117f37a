import Glibc
import PlainJSON
import Synchronization

/// One line on standard error that tells how far a job is, redrawn by a thread ten times a second.
final class ProgressBar: Sendable {
    /// How far a job is.
    struct Sample {
        var entries: UInt64 = 0
        /// Bytes done, in the unit of `total`.
        var bytes: UInt64 = 0
        /// 0 while unknown.
        var total: UInt64 = 0
    }

    private static let isDrawn = Atomic<Bool>(false)
    private let label: String
    private let keepsLine: Bool
    /// Objects for programs, a line each, instead of a bar.
    private let isJSON: Bool
    /// The two ends of a pipe: what is written to the second wakes the thread that waits at the first.
    private let wake: (waits: Int32, wakes: Int32)
    private let sample: @Sendable () -> Sample
    private let thread = Mutex<pthread_t?>(nil)
    private let start = ContinuousClock.now

    /// Starts a bar, if `global` and standard error say that there is to be one.
    static func start(
        _ label: String, _ global: GlobalOptions, _ sample: @escaping @Sendable () -> Sample
    ) -> ProgressBar? {
        switch global.progress {
        case .never: return nil
        case .auto: guard !global.quiet, Console.isTerminal(STDERR_FILENO) else { return nil }
        case .always, .json: break
        }
        return ProgressBar(label, global.progress, sample)
    }

    private init(_ label: String, _ mode: ProgressMode, _ sample: @escaping @Sendable () -> Sample) {
        self.label = label
        keepsLine = mode == .always
        isJSON = mode == .json
        self.sample = sample
        var ends: [Int32] = [-1, -1]
        let isPipe = pipe(&ends) == 0
        wake = (ends[0], ends[1])
        guard isPipe else { return }
        let retained = Unmanaged.passRetained(self)
        var identity = pthread_t()
        let result = pthread_create(
            &identity, nil,
            { argument in
                argument.map { Unmanaged<ProgressBar>.fromOpaque($0).takeRetainedValue().run() }
                return nil
            }, retained.toOpaque())
        if result == 0 {
            thread.withLock { $0 = identity }
        } else {
            retained.release()
        }
    }

    /// Ends the bar and clears its line, so that what is printed next stands alone. Called once.
    func stop() {
        guard let identity = thread.withLock({ $0.take() }) else { return }
        var byte: UInt8 = 1
        _ = write(wake.wakes, &byte, 1)
        pthread_join(identity, nil)
        close(wake.waits)
        close(wake.wakes)
        if isJSON {
            tell(isLast: true)
        } else if keepsLine {
            draw()
            Console.error("\n")
            Self.isDrawn.store(false, ordering: .relaxed)
        } else {
            Self.clearLine()
        }
    }

    /// Clears the line if a bar stands there.
    static func clearLine() {
        if isDrawn.exchange(false, ordering: .relaxed) { Console.error("\r\u{1b}[K") }
    }

    private func run() {
        // Short jobs need no bar: the first one comes after a fifth of a second.
        var pause: Int32 = keepsLine || isJSON ? 100 : 200
        while true {
            var entry = pollfd(fd: wake.waits, events: Int16(POLLIN), revents: 0)
            if poll(&entry, 1, pause) != 0 { return }
            if isJSON { tell(isLast: false) } else { draw() }
            // A program has no eyes that more than this would please.
            pause = isJSON ? 500 : 100
        }
    }

    private func tell(isLast: Bool) {
        let elapsed = start.duration(to: .now) / .seconds(1)
        Console.error(Self.object(label, sample(), seconds: elapsed, isLast: isLast).text + "\n")
    }

    /// A line for programs.
    static func object(_ label: String, _ sample: Sample, seconds: Double, isLast: Bool) -> JSONObject {
        var object = JSONObject()
        object.add("progress", label)
        object.add("entries", sample.entries)
        object.add("bytes", sample.bytes)
        if sample.total > 0 { object.add("totalBytes", sample.total) }
        object.add("seconds", seconds: seconds)
        let rate = Rate(sample, seconds: seconds)
        if let bytes = rate.bytesPerSecond { object.add("bytesPerSecond", bytes) }
        if !isLast, let remaining = rate.remainingSeconds { object.add("remainingSeconds", remaining) }
        object.add("done", isLast)
        return object
    }

    private func draw() {
        let elapsed = start.duration(to: .now) / .seconds(1)
        let line = Self.line(label, sample(), seconds: elapsed, columns: Console.columns)
        Self.isDrawn.store(true, ordering: .relaxed)
        Console.error("\r" + line + "\u{1b}[K")
    }

    /// `apply [####----]  43%  12,000 entries  220 MB  500 MB/s  3 s left`, as much of it as the columns hold.
    static func line(_ label: String, _ sample: Sample, seconds: Double, columns: Int) -> String {
        let rate = Rate(sample, seconds: seconds)
        var parts = [label]
        if sample.total > 0 {
            let share = min(1, Double(sample.bytes) / Double(sample.total))
            let filled = Int(share * 20)
            parts.append("[" + String(repeating: "#", count: filled) + String(repeating: "-", count: 20 - filled) + "]")
            parts.append("\(Int(share * 100))%")
        }
        // Layers are copied without a look at their entries.
        if sample.entries > 0 || sample.bytes == 0 { parts.append(Human.entries(sample.entries)) }
        parts.append(Human.bytes(sample.bytes))
        if let bytes = rate.bytesPerSecond { parts.append(Human.roughBytes(bytes) + "/s") }
        if let remaining = rate.remainingSeconds { parts.append(Human.roughSeconds(remaining) + " left") }
        return String(parts.joined(separator: "  ").prefix(max(1, columns - 1)))
    }
}

/// How fast a job is and how long it will take, as far as anybody can know: two digits, and none in the first moments.
struct Rate {
    private(set) var bytesPerSecond: UInt64?
    private(set) var remainingSeconds: UInt64?

    init(_ sample: ProgressBar.Sample, seconds: Double) {
        guard seconds >= 0.3, sample.bytes > 0 else { return }
        let rate = Double(sample.bytes) / seconds
        bytesPerSecond = Self.twoDigits(rate)
        // After a second, or a twentieth of the whole, the rest may be guessed.
        guard sample.total > sample.bytes, seconds >= 1 || sample.bytes > sample.total / 20 else { return }
        remainingSeconds = Self.twoDigits((Double(sample.total - sample.bytes) / rate).rounded(.up))
    }

    /// The number with two digits that say something.
    private static func twoDigits(_ value: Double) -> UInt64 {
        guard value < 1e18 else { return UInt64(1e18) }
        var unit = 1.0
        while value / unit >= 99.5 { unit *= 10 }
        return UInt64((value / unit).rounded()) * UInt64(unit)
    }
}
