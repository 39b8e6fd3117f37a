import CBench
import Glibc
import LayerModel
import LinuxIO
import PlainJSON

/// What the harness runs in processes of its own: the floor, and checks, whose memory must not count as anybody else's.
package enum BenchProbe {
    /// Runs `arguments`; returns the lines for standard output.
    ///
    /// `floor KIND WORKERS PATH [PATH]` does only the system calls of a job; `copy TREE DIRECTORY` is the tree copy that
    /// drivers use, with all attributes, as cp -a; `tree PATH` and `archive` (of standard input) sum up what is there;
    /// `latency DRIVER HOME COUNT` times a driver's calls; `recipe NAME` makes an input tree and prints its path.
    package static func run(_ arguments: [String]) throws(BenchFailure) -> String {
        switch arguments.first {
        case "floor" where (4...5).contains(arguments.count):
            guard let workers = Int32(arguments[2]) else { break }
            let second = arguments.count == 5 ? arguments[4] : nil
            let outcome = cbench_floor(arguments[1], workers, arguments[3], second)
            guard outcome == 0 else { throw BenchFailure(.failed, "floor: \(errorText(-outcome))") }
            return ""
        case "copy" where arguments.count == 3:
            return try copy(arguments[1], to: arguments[2])
        case "tree" where arguments.count == 2:
            return try Summary.tree(arguments[1]).line + "\n"
        case "archive" where arguments.count == 1:
            do {
                return try ArchiveSummary.read(STDIN_FILENO).line + "\n"
            } catch {
                throw BenchFailure(.failed, "archive: \(error)")
            }
        case "latency" where arguments.count == 4:
            return try latency(arguments[1], home: arguments[2], count: Int(arguments[3]) ?? 0)
        case "recipe" where arguments.count == 2:
            guard let recipe = Recipe(rawValue: arguments[1]) else { break }
            return try recipe.tree(BenchConsole(line: { _ in }, status: { _, _ in })) + "\n"
        default: break
        }
        throw BenchFailure(
            .usage,
            "a probe is floor KIND WORKERS PATH [PATH], copy TREE DIRECTORY, tree PATH, archive, latency DRIVER HOME COUNT, or recipe NAME"
        )
    }

    private static func copy(_ source: String, to target: String) throws(BenchFailure) -> String {
        var options = TreeCopyOptions()
        options.attributes = .all
        options.sourcePath = PathBytes(source)
        do {
            _ = mkdir(target, 0o700)
            let from = try PathBytes(source).open([.readOnly, .directory])
            let report = try TreeCopy.copy(
                from, to: try PathBytes(target).open([.readOnly, .directory]), options: options)
            // The harness looks for a report of this form in what ldiff prints.
            let io = report.io.fields.map { ($0.0, JSONValue.number(Double($0.1))) }
            let said = JSONValue.object([
                ("entries", .number(Double(report.entries))), ("contentBytes", .number(Double(report.contentBytes))),
                ("clones", .number(Double(report.clones))), ("io", .object(io)),
            ])
            return said.text + "\n"
        } catch { throw BenchFailure(.failed, "copy: \(error)") }
    }

    /// The program that is running: what the harness measures and whose probes it starts.
    static let program: String = {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = buffer.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress?.withMemoryRebound(to: CChar.self, capacity: buffer.count) {
                readlink("/proc/self/exe", $0, buffer.count)
            } ?? -1
        }
        return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    }()

    /// A floor of a job, with as many workers as ldiff takes.
    static func floor(_ kind: String, _ paths: String...) -> [String] {
        [program, "bench-probe", "floor", kind, String(WorkerPool.availableCores)] + paths
    }

    /// Sums up a tree in a process of its own. This also reads all of it, and so warms the caches.
    static func tree(_ path: String) throws(BenchFailure) -> Summary {
        try summary(Pipeline([program, "bench-probe", "tree", path]))
    }

    /// Sums up what a pipeline writes.
    static func archive(of pipeline: Pipeline) throws(BenchFailure) -> Summary {
        var checked = pipeline
        checked.stages.append([program, "bench-probe", "archive"])
        return try summary(checked)
    }

    private static func summary(_ pipeline: Pipeline) throws(BenchFailure) -> Summary {
        let text = String(decoding: try pipeline.run(sink: .memory).output, as: UTF8.self)
        guard let summary = Summary(line: text) else { throw BenchFailure(.failed, "no summary: \(text)") }
        return summary
    }
}
