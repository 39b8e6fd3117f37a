import Glibc
import Synchronization
import TestSupport

/// A pool on a zfs-fuse that is started for these tests and goes with the process.
enum SnapshotPool {
    /// A dataset for one test.
    struct Dataset {
        let name: String

        func destroy() throws {
            // What was unmounted a moment ago is busy for a while.
            for attempt in 0... {
                let result = try runProgram(["zfs", "destroy", "-R", name])
                if result.status == 0 { return }
                guard attempt < 100 else { throw TestFailure("zfs destroy \(name): \(result.errors)") }
                usleep(50_000)
            }
        }
    }

    private static let number = Atomic<Int>(0)
    private static let started: Result<String, any Error> = Result { try start() }

    /// Makes one. Fails, and never skips, where there can be no pool.
    static func dataset() throws -> Dataset {
        let name = "\(try started.get())/s\(number.add(1, ordering: .relaxed).newValue)"
        let result = try runProgram(["zfs", "create", "-o", "mountpoint=legacy", name])
        guard result.status == 0 else { throw TestFailure("zfs create \(name): \(result.errors)") }
        return Dataset(name: name)
    }

    private static func start() throws -> String {
        let folder = try TemporaryDirectory()
        let script = packagePath("Tests/Kernel/zfs-fuse-session")
        // Its end of input, which comes with the end of this process, ends it.
        guard let input = popen("exec \(script) \(folder.path) >/dev/null 2>&1", "we") else {
            throw TestFailure("popen: \(errno)")
        }
        session.withLock { $0 = Session(input: input, folder: folder) }
        atexit { SnapshotPool.session.withLock { $0 = nil } }
        for _ in 0..<600 {
            if let name = try? readText(folder.path + "/pool") { return String(name.prefix { $0 != "\n" }) }
            if let failure = try? readText(folder.path + "/failed") { throw TestFailure("zfs-fuse: \(failure)") }
            usleep(50_000)
        }
        throw TestFailure("zfs-fuse: no pool after 30 s")
    }

    private static let session = Mutex<Session?>(nil)

    private final class Session: @unchecked Sendable {
        private let input: UnsafeMutablePointer<FILE>
        private let folder: TemporaryDirectory

        init(input: UnsafeMutablePointer<FILE>, folder: TemporaryDirectory) {
            self.input = input
            self.folder = folder
        }

        deinit { pclose(input) }
    }
}
