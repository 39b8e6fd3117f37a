import Glibc
import Synchronization

/// The pool that the tests of zfs use: that of `Tests/Kernel/run` in the virtual machine (`LDIFF_ZFS_POOL`), else one on a
/// zfs-fuse that is started for this process and goes with it. One for the process: a second would wait for the first.
package enum ZFSSession {
    private static let started: Result<String, any Error> = Result { try start() }

    /// The pool's name. Fails, and never skips, where there can be none.
    package static func pool() throws -> String { try started.get() }

    /// Whether OpenZFS's kernel module is what is tested.
    package static let isKernel = getenv("LDIFF_ZFS_POOL") != nil

    /// Destroys a test's dataset with all below it, mounted or not. What was unmounted a moment ago is busy for a while.
    ///
    /// The kernel tells a FUSE server of a file's last close in its own time. zfs-fuse that hears of it only after the unmount calls the
    /// dataset busy for ever: there, one that is mounted nowhere any more is left to the pool's end. On OpenZFS that is an error.
    package static func destroy(_ dataset: String) throws {
        for attempt in 0... {
            let mounts = try mountPoints(of: dataset)
            for point in mounts.reversed() { unmountWhenHeard(point, isKernel || attempt < 20 ? 0 : Int(MNT_DETACH)) }
            let result = try runProgram(["timeout", "-k", "5", "60", "zfs", "destroy", "-R", dataset])
            if result.status == 0 { return }
            if attempt < (isKernel ? 600 : 100) {
                usleep(50_000)
                continue
            }
            if !isKernel, mounts.isEmpty, result.errors.contains("dataset is busy") { return }
            throw TestFailure("zfs destroy \(dataset), mounted at \(mounts): \(result.errors)")
        }
    }

    /// Where a dataset and those below it are mounted, the outermost first.
    private static func mountPoints(of dataset: String) throws -> [String] {
        let text = String(decoding: try readFile("/proc/thread-self/mountinfo"), as: UTF8.self)
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count > 4, let dash = words.lastIndex(of: "-"), dash + 2 < words.count else { return nil }
            let source = words[dash + 2]
            return source == dataset || source.hasPrefix(dataset + "/") ? String(words[4]) : nil
        }
    }

    /// Unmounts after a question to the file system, whose answer says that zfs-fuse has heard of what was closed before.
    package static func unmountWhenHeard(_ point: String, _ flags: Int) {
        var facts = statvfs()
        statvfs(point, &facts)
        umount2(point, Int32(flags))
    }

    private static func start() throws -> String {
        if let given = getenv("LDIFF_ZFS_POOL") { return String(cString: given) }
        let folder = try TemporaryDirectory()
        let input = try startSession(packagePath("Tests/Kernel/zfs-fuse-session"), folder.path)
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

private func endSession() { ZFSSession.end() }
