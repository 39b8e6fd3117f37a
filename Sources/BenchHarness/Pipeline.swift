import CBench
import Glibc
import LayerModel

/// Programs connected by pipes, run as whole processes.
struct Pipeline: Sendable {
    /// Arguments of each program, its name first.
    var stages: [[String]]
    /// A file that the first program reads; /dev/null if nil.
    var input: String?

    init(_ stages: [String]..., input: String? = nil) {
        self.stages = stages
        self.input = input
    }

    /// As a shell would be told.
    var description: String {
        let text = stages.map { $0.map(Self.quoted).joined(separator: " ") }.joined(separator: " | ")
        return text + (input.map { " < " + Self.quoted($0) } ?? "")
    }

    private static func quoted(_ word: String) -> String {
        let plain = word.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "/.-_+=:,@%".utf8.contains(byte)
            }
        }
        return plain && !word.isEmpty
            ? word
            : "'"
                + word.split(separator: "'", omittingEmptySubsequences: false)
                .joined(separator: "'\\''") + "'"
    }
}

/// What a finished pipeline left.
struct PipelineResult {
    var sample: Sample
    /// What the last program wrote to standard output, where it was kept.
    var output: [UInt8] = []
    /// The end of what all programs wrote to standard error.
    var errors: [UInt8] = []
}

/// Where the last program's output goes.
enum PipelineSink {
    /// To /dev/null, at no cost.
    case null
    /// Into memory, for short answers.
    case memory
    /// To a descriptor.
    case descriptor(Int32)
}

extension Pipeline {
    /// Runs it once and waits for all programs. Throws `failed` when one cannot be started or ends otherwise than with 0.
    func run(sink: PipelineSink = .null) throws(BenchFailure) -> PipelineResult {
        let errors = try MemoryFile()
        let kept = try MemoryFile()
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        defer { close(null) }
        let source = input.map { open($0, O_RDONLY | O_CLOEXEC) } ?? dup(null)
        guard source >= 0 else { throw BenchFailure(.noInput, "open \(input ?? ""): \(errorText(errno))") }
        let target: Int32
        switch sink {
        case .null: target = null
        case .memory: target = kept.descriptor
        case .descriptor(let descriptor): target = descriptor
        }
        var children: [pid_t] = []
        // Whatever fails: nothing that was started runs on.
        defer { for child in children { Cleanup.shared.endProcess(child) } }
        // What this process still holds of earlier results would count as the children's peak.
        cbench_trim_memory()
        let idle = Machine.idleSeconds
        let start = ContinuousClock.now
        try startAll(from: source, to: target, errors: errors.descriptor) { children.append($0) }
        var sample = Sample(seconds: 0, userSeconds: 0, systemSeconds: 0, peakKiB: 0, writtenBytes: 0)
        var failure: String?
        while let child = children.first {
            let ended = try Self.wait(for: child)
            Cleanup.shared.forget(child)
            children.removeFirst()
            sample.userSeconds += ended.userSeconds
            sample.systemSeconds += ended.systemSeconds
            sample.peakKiB = max(sample.peakKiB, ended.peakKiB)
            sample.writtenBytes = ended.writtenBytes
            if let text = ended.failure, failure == nil {
                failure = "\(stages[stages.count - 1 - children.count][0]) \(text)"
            }
        }
        sample.seconds = start.duration(to: .now) / .seconds(1)
        if let idle, let now = Machine.idleSeconds { sample.idleSeconds = now - idle }
        let said = errors.tail()
        if let failure {
            let last = String(decoding: said, as: UTF8.self).split(separator: "\n").last.map { ": " + String($0) } ?? ""
            throw BenchFailure(.failed, failure + last)
        }
        return PipelineResult(sample: sample, output: kept.all(), errors: said)
    }

    /// Starts the programs, from the first; `source` is closed.
    private func startAll(
        from source: Int32, to target: Int32, errors: Int32, started: (pid_t) -> Void
    ) throws(BenchFailure) {
        var source = source
        for (index, stage) in stages.enumerated() {
            var ends: (read: Int32, write: Int32) = (-1, target)
            if index < stages.count - 1 {
                let outcome = cbench_pipe(&ends.read, &ends.write)
                guard outcome == 0 else {
                    close(source)
                    throw BenchFailure(.failed, "pipe: \(errorText(-outcome))")
                }
            }
            let outcome = Cleanup.shared.start { Self.spawn(stage, source, ends.write, errors) }
            close(source)
            if index < stages.count - 1 { close(ends.write) }
            source = ends.read
            guard outcome > 0 else {
                if source >= 0 { close(source) }
                let missing = Int32(-outcome) == ENOENT
                throw BenchFailure(
                    missing ? .unavailable : .failed,
                    "\(stage[0]): \(missing ? "not installed" : errorText(Int32(-outcome)))")
            }
            started(pid_t(outcome))
        }
    }

    private static func spawn(_ arguments: [String], _ input: Int32, _ output: Int32, _ errors: Int32) -> Int64 {
        var copies: [UnsafePointer<CChar>?] = arguments.map { UnsafePointer(strdup($0)) }
        defer { for copy in copies { free(UnsafeMutablePointer(mutating: copy)) } }
        copies.append(nil)
        return copies.withUnsafeBufferPointer { cbench_spawn($0.baseAddress, input, output, errors) }
    }

    private struct Ended {
        var userSeconds: Double
        var systemSeconds: Double
        var peakKiB: Int
        var writtenBytes: UInt64?
        var failure: String?
    }

    private static func wait(for child: pid_t) throws(BenchFailure) -> Ended {
        // Not reaped yet, so that its counters can still be read.
        var information = siginfo_t()
        while waitid(P_PID, id_t(child), &information, WEXITED | WNOWAIT) != 0 {
            guard errno == EINTR else { throw BenchFailure(.failed, "waitid: \(errorText(errno))") }
        }
        let written = writtenBytes(of: child)
        var status: Int32 = 0
        var usage = rusage()
        while wait4(child, &status, 0, &usage) < 0 {
            guard errno == EINTR else { throw BenchFailure(.failed, "wait4: \(errorText(errno))") }
        }
        let signal = status & 0x7f
        let code = (status >> 8) & 0xff
        let failure = signal != 0 ? "was ended by signal \(signal)" : code != 0 ? "ended with status \(code)" : nil
        return Ended(
            userSeconds: seconds(usage.ru_utime), systemSeconds: seconds(usage.ru_stime), peakKiB: usage.ru_maxrss,
            writtenBytes: written, failure: failure)
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1_000_000 }

    /// Bytes that a process gave to write(2) and its kind, see proc(5); nil where some kernels tell only root what a process
    /// that has ended did.
    private static func writtenBytes(of process: pid_t) -> UInt64? {
        for line in TextFile.read("/proc/\(process)/io").split(separator: "\n") where line.hasPrefix("wchar: ") {
            return UInt64(line.dropFirst("wchar: ".count))
        }
        return nil
    }
}

/// A file without a name, in memory, for what a program says.
final class MemoryFile {
    let descriptor: Int32
    /// The most that is read back.
    private static let limit = 64 << 20

    init() throws(BenchFailure) {
        descriptor = cbench_memory_file()
        guard descriptor >= 0 else { throw BenchFailure(.failed, "memfd_create: \(errorText(-descriptor))") }
    }

    deinit { close(descriptor) }

    /// Everything, but 64 MiB at most.
    func all() -> [UInt8] { read(from: 0, count: min(Self.limit, size)) }
    /// The last 64 KiB.
    func tail() -> [UInt8] {
        let count = min(64 << 10, size)
        return read(from: size - count, count: count)
    }

    private var size: Int {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? status.st_size : 0
    }

    private func read(from offset: Int, count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let got = pread(descriptor, buffer.baseAddress.map { $0 + filled }, count - filled, offset + filled)
                if got <= 0 { break }
                filled += got
            }
        }
    }
}
