import Glibc
import Synchronization
import TestSupport
import Testing

/// The pool that the tests of zfs use: that of `Tests/Kernel/run` in the virtual machine (`LDIFF_ZFS_POOL`), else one on a
/// zfs-fuse that is started for this process and goes with it.
enum ZFSPool {
    /// Whether OpenZFS's kernel module is what is tested.
    static let isKernel = getenv("LDIFF_ZFS_POOL") != nil

    private static let number = Atomic<Int>(0)
    private static let started: Result<String, any Error> = Result { try start() }

    /// The pool's name. Fails, and never skips, where there can be none.
    static func name() throws -> String { try started.get() }

    /// A dataset of a test's own, mounted at a new directory, for a driver's root.
    static func ground() throws -> DriverGround {
        let dataset = "\(try name())/t\(number.add(1, ordering: .relaxed).newValue)"
        let directory = try TemporaryDirectory()
        let root = directory.path + "/root"
        try zfs("create", "-o", "mountpoint=\(root)", dataset)
        return DriverGround(root: root, outside: { try listing(dataset) }) {
            for point in try mountPoints(below: root).reversed() {
                // zfs-fuse must have heard of closed files, see ZFSPlatform.unmount.
                var facts = statvfs()
                statvfs(point, &facts)
                umount2(point, point == root ? 0 : Int32(MNT_DETACH))
            }
            // What was unmounted a moment ago is busy for a while.
            for attempt in 0... {
                let result = try runProgram(["zfs", "destroy", "-R", dataset])
                if result.status == 0 { break }
                guard attempt < 100 else { throw TestFailure("zfs destroy \(dataset): \(result.errors)") }
                usleep(50_000)
            }
            withExtendedLifetime(directory) {}
        }
    }

    /// The dataset that is mounted at a ground's root.
    static func dataset(of ground: DriverGround) throws -> String {
        let lines = String(decoding: try readFile("/proc/thread-self/mountinfo"), as: UTF8.self).split(separator: "\n")
        let line = lines.last { $0.split(separator: " ")[4] == ground.root }
        guard let line, let dash = line.split(separator: " ").lastIndex(of: "-") else {
            throw TestFailure("nothing is mounted at \(ground.root)")
        }
        return String(line.split(separator: " ")[dash + 2])
    }

    /// Datasets and snapshots at and below a dataset.
    static func listing(_ dataset: String) throws -> [String] {
        try zfs("list", "-H", "-t", "all", "-o", "name", "-r", dataset).split(separator: "\n").map(String.init)
    }

    /// Runs `zfs`, which must succeed.
    @discardableResult
    static func zfs(_ words: String...) throws -> String {
        let result = try runProgram(["zfs"] + words)
        guard result.status == 0 else { throw TestFailure("zfs \(words.joined(separator: " ")): \(result.errors)") }
        return result.lines.joined(separator: "\n")
    }

    private static func start() throws -> String {
        if let given = getenv("LDIFF_ZFS_POOL") { return String(cString: given) }
        let folder = try TemporaryDirectory()
        let script = sourceFile("../Kernel/zfs-fuse-session")
        // Closed on exec, so that no other child keeps it open: its end ends the session.
        guard let input = popen("exec \(script) \(folder.path) >/dev/null 2>&1", "we") else {
            throw TestFailure("popen: \(errno)")
        }
        session.withLock { $0 = Session(input: input, folder: folder) }
        atexit(endSession)
        for _ in 0..<600 {
            if let name = try? readText(folder.path + "/pool") { return String(name.prefix { $0 != "\n" }) }
            if let failure = try? readText(folder.path + "/failed") { throw TestFailure("zfs-fuse: \(failure)") }
            usleep(50_000)
        }
        throw TestFailure("zfs-fuse: no pool after 30 s")
    }

    private static let session = Mutex<Session?>(nil)

    fileprivate static func end() { session.withLock { $0 = nil } }

    /// Ends the daemon, its pool and its mounts before the process ends.
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

private func endSession() { ZFSPool.end() }

/// A file of the package, by its path relative to this folder.
func sourceFile(_ relative: String, _ here: StaticString = #filePath) -> String {
    let path = here.description
    let folder = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
    return "\(folder)/\(relative)"
}
