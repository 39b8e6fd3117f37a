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
                unmountWhenHeard(point, point == root ? 0 : MNT_DETACH)
            }
            // What was unmounted a moment ago is busy for a while.
            for attempt in 0... {
                let result = try runProgram(["timeout", "-k", "5", "60", "zfs", "destroy", "-R", dataset])
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
        // A daemon that hangs ends the test, not all of them.
        let result = try runProgram(["timeout", "-k", "5", "60", "zfs"] + words)
        guard result.status == 0 else { throw TestFailure("zfs \(words.joined(separator: " ")): \(result.errors)") }
        return result.lines.joined(separator: "\n")
    }

    /// Waits until no `zfs` is at work on a ground's datasets: one that a killed process had started goes on.
    static func waitForPrograms(on ground: DriverGround) throws {
        let dataset = try dataset(of: ground)
        for _ in 0..<3000 {
            let left = Leftovers.processes(naming: dataset).filter { $0.command.hasPrefix("zfs ") }
            if left.isEmpty { return }
            usleep(10_000)
        }
        throw TestFailure("zfs is at work on \(dataset) after 30 s")
    }

    private static func start() throws -> String {
        if let given = getenv("LDIFF_ZFS_POOL") { return String(cString: given) }
        let folder = try TemporaryDirectory()
        let input = try startSession(sourceFile("../Kernel/zfs-fuse-session"), folder.path)
        session.withLock { $0 = Session(input: input, folder: folder) }
        atexit(endSession)
        // The session gives up by itself: after a quarter of an hour for its turn, and two minutes for all else.
        for _ in 0..<22_000 {
            if let name = try? readText(folder.path + "/pool") { return name }
            if let failure = try? readText(folder.path + "/failed") { throw TestFailure("zfs-fuse: \(failure)") }
            usleep(50_000)
        }
        throw TestFailure("zfs-fuse: no pool after 18 minutes")
    }

    /// Starts the session on a pipe, returns the end that keeps it going.
    ///
    /// It is no child of this process: Swift Testing waits for any child, and one that has ended and that nobody waits
    /// for would keep it from seeing the ends of its own.
    private static func startSession(_ script: String, _ folder: String) throws -> Int32 {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw TestFailure("pipe: errno \(errno)") }
        defer { close(ends[0]) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        for stream in Int32(1)...2 { posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0) }
        let words = ["setsid", "--fork", script, folder]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process = pid_t()
        let error = posix_spawnp(&process, "setsid", &actions, nil, &arguments, environ)
        guard error == 0 else { throw TestFailure("setsid: \(String(cString: strerror(error)))") }
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else { throw TestFailure("setsid \(script): wait status \(status)") }
        return ends[1]
    }

    private static let session = Mutex<Session?>(nil)

    fileprivate static func end() { session.withLock { $0 = nil } }

    /// Ends the daemon, its pool and its mounts before the process ends.
    private final class Session: @unchecked Sendable {
        private let input: Int32
        private let folder: TemporaryDirectory

        init(input: Int32, folder: TemporaryDirectory) {
            self.input = input
            self.folder = folder
        }

        deinit {
            close(input)
            for _ in 0..<2000 where access(folder.path + "/over", F_OK) != 0 { usleep(10_000) }
        }
    }
}

private func endSession() { ZFSPool.end() }

/// Unmounts after a question to the file system: the kernel tells a FUSE server of closed files in its own time, and zfs-fuse
/// waits for ever for what it was not told (see ZFSPlatform.unmount).
func unmountWhenHeard(_ point: String, _ flags: Int) {
    var facts = statvfs()
    statvfs(point, &facts)
    umount2(point, Int32(flags))
}

/// A file of the package, by its path relative to this folder.
func sourceFile(_ relative: String, _ here: StaticString = #filePath) -> String {
    let path = here.description
    let folder = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
    return "\(folder)/\(relative)"
}
