import Glibc
import LinuxIO

/// What the figures depend on.
struct Machine: Sendable {
    var facts: [(name: String, value: String)]

    init(facts: [(name: String, value: String)]) { self.facts = facts }

    /// Looks around.
    init(
        version: String, input: BenchInput, peers: Peers, target: TargetFileSystem, load: MachineLoad,
        command: String
    ) {
        var names = utsname()
        uname(&names)
        let release = withUnsafeBytes(of: &names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        var processor = "unknown"
        for line in TextFile.read("/proc/cpuinfo").split(separator: "\n") where line.hasPrefix("model name") {
            processor = line.split(separator: ":", maxSplits: 1).last.map { $0.trimmed } ?? processor
            break
        }
        let memory = UInt64(sysconf(Int32(_SC_PHYS_PAGES))) * UInt64(sysconf(Int32(_SC_PAGESIZE)))
        let ring = RingCapabilities.current
        facts = [
            ("date", currentDate()), ("command", command), ("ldiff", version),
            ("processor", "\(processor), \(WorkerPool.availableCores) used"),
            ("memory", "\(memory >> 20) MiB"), ("kernel", "Linux \(release)"),
            ("io_uring", ring.isUsable ? "usable" : "not usable, plain calls only: \(ring.reason ?? "refused")"),
            ("load before", load.average.map { Format.fixed($0, 2) } ?? "unknown"), ("input", input.description),
            ("input's file system", Self.fileSystem(of: input.tree)),
            ("input's disk", Disk.description(of: input.tree)),
            (
                "new trees go to",
                FreshTarget.makesFileSystems
                    ? "a fresh \(target.rawValue) in \(FreshTarget.memory) for each run"
                    : "a new directory in \(FreshTarget.memory) for each run (no root: no fresh file system)"
            ),
            ("least memory that shows", Self.launcherMemory()),
        ]
        for (name, version) in peers.versions() { facts.append((name, version)) }
    }

    /// Seconds that all processors together were idle or waited for disks since the start; nil where that is not told.
    static var idleSeconds: Double? {
        // cpu user nice system idle iowait irq softirq steal ..., see proc(5).
        let words = TextFile.read("/proc/stat").prefix { $0 != "\n" }.split(separator: " ")
        guard words.count > 5, words[0] == "cpu", let idle = Double(words[4]), let waiting = Double(words[5]) else {
            return nil
        }
        return (idle + waiting) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// How many processors those are.
    static var processors: Int { Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// The name of the file system that holds a path, from the longest mount point above it.
    private static func fileSystem(of path: String) -> String {
        guard let whole = realpath(path, nil) else { return "unknown" }
        defer { free(whole) }
        let absolute = String(cString: whole)
        var best = (length: -1, kind: "unknown")
        for line in TextFile.read("/proc/self/mounts").split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count > 2 else { continue }
            let point = words[1] == "/" ? "" : String(words[1])
            if point.utf8.count >= best.length, absolute == point || absolute.hasPrefix(point + "/") {
                best = (point.utf8.count, String(words[2]))
            }
        }
        return best.kind
    }

    /// A started program's peak is at least what this process held when it was split off.
    private static func launcherMemory() -> String {
        guard let sample = try? Pipeline(["true"]).run().sample else { return "unknown" }
        return Format.fixed(Double(sample.peakKiB) / 1024, 1) + " MiB (measured with `true`)"
    }
}
