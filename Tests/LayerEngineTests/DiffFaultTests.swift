import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Every system call of a small job fails once: the job fails with the right code, or does without; nothing leaks.
@Suite struct DiffFaultTests {
    /// In a process of its own, since the plan is the whole process's.
    @Test("every failing call of diff, changes and size", .timeLimit(.minutes(5)))
    func everyCall() async {
        await #expect(processExitsWith: .success) {
            let scratch = try TemporaryDirectory()
            let (lower, upper) = (scratch.path + "/lower", scratch.path + "/upper")
            try TreeBuilder.make(lower) { tree in
                try tree.directory("d")
                try tree.file("d/f", "old")
                try tree.file("gone")
            }
            try TreeBuilder.make(upper) { tree in
                try tree.directory("d")
                try tree.attribute("d", "trusted.overlay.opaque", "y")
                try tree.file("d/f", "changed")
                try tree.attribute("d/f", "user.x", "1")
                try tree.link("d/h", to: "d/f")
                try tree.link(symbolic: "l", to: "d/f")
                try tree.whiteout("gone")
                try tree.file("large", bytes: [UInt8](repeating: 3, count: 1_100_000))
            }
            let jobs = FaultJob.all(upper: upper, lower: lower)
            // A thrown error would end the child without its text; an issue is handed to the parent.
            do { for job in jobs { try job.failEveryCall() } } catch { Issue.record("\(error)") }
        }
    }
}

/// A job that can be repeated, and what it gives when nothing fails.
struct FaultJob {
    var name: String
    /// What fails each call, and what that is for the caller.
    var errors: [(Int32, LayerError.Code)] = [
        (EIO, .io), (ENOMEM, .io), (EMFILE, .io), (EACCES, .notPermitted),
    ]
    var run: () throws -> [UInt8]

    static func all(upper: String, lower: String) -> [FaultJob] {
        var jobs: [FaultJob] = []
        for workers in [1, 2] {
            for io in [IOMode.sync, .auto] {
                // Made anew for each run: a failed one may have used it up.
                func overlay() -> SourceOptions { source(upper, lowers: [lower], .overlay, workers: workers, io: io) }
                func trees() -> SourceOptions { source(upper, lowers: [lower], workers: workers, io: io) }
                jobs.append(FaultJob(name: "diff \(workers) \(io)") { try layer(overlay()) })
                jobs.append(FaultJob(name: "diff of trees \(workers) \(io)") { try layer(trees(), .containerd) })
                jobs.append(
                    FaultJob(name: "diff that bears no loss \(workers) \(io)", errors: [(ENOENT, .fileChanged)]) {
                        // Alone: that a lower directory has no such name is an answer, and no loss.
                        try layer(source(upper, workers: workers, io: io)) { $0.vanished = .fail }
                    })
                guard io == .sync else { continue }
                jobs.append(FaultJob(name: "docker20 \(workers)") { try layer(overlay(), .docker20) })
                jobs.append(
                    FaultJob(name: "changes \(workers)") { Array(try changes(overlay()).joined(separator: "\n").utf8) })
                jobs.append(
                    FaultJob(name: "size \(workers)") { Array("\(try DiffEngine.size(overlay()).allocated)".utf8) })
            }
        }
        return jobs
    }

    /// Lets each call fail in turn, with each of several errors.
    func failEveryCall() throws {
        FaultPlan.fail(call: 0, errno: 0)
        let expected = try run()
        let calls = FaultPlan.calls
        guard calls > 10 else { throw TestFailure("\(name) makes \(calls) calls: is this a debug build?") }
        let files = try openFiles()
        for (error, code) in errors {
            for call in 1...calls + 1 { try fail(call, error, code, expected, files) }
        }
    }

    /// Lets one call fail.
    private func fail(
        _ call: UInt64, _ error: Int32, _ code: LayerError.Code, _ expected: [UInt8], _ files: [String]
    ) throws {
        FaultPlan.fail(call: call, errno: error)
        let result = Result { try run() }
        FaultPlan.fail(call: 0, errno: 0)
        switch result {
        case .success(let bytes):
            guard bytes == expected else {
                throw TestFailure("\(name), call \(call), errno \(error): other bytes: \((try? texts(bytes)) ?? [])")
            }
        case .failure(let failure as LayerError):
            // Of a root that is not there.
            let isAbsent = error == ENOENT && failure.code == .notFound
            guard failure.code == code || failure.code == .limitExceeded || failure.code == .unsupported || isAbsent
            else {
                throw TestFailure("\(name), call \(call), errno \(error): \(failure)")
            }
            // The error of that very call, and not one made up, of a file or directory that is there.
            if case .systemCall(let call)? = failure.cause, call.errno != error {
                throw TestFailure("\(name), call \(call), errno \(error): \(failure)")
            }
            guard failure.path != nil || failure.code == .limitExceeded || failure.code == .unsupported else {
                throw TestFailure("\(name), call \(call), errno \(error) names no path: \(failure)")
            }
        case .failure(let failure): throw failure
        }
        if let leak = try leak(since: files) {
            throw TestFailure("\(name), call \(call), errno \(error): \(leak)")
        }
    }
}
