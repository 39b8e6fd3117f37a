import Foundation
import TestSupport

/// What a plugin's store lies on: a directory of the machine's own file system, or a dataset of a pool on zfs-fuse.
struct PluginGround {
    /// For sockets and logs.
    let directory: TemporaryDirectory
    /// Docker's data root.
    var root: String
    var takeDown: () throws -> Void

    static func make(_ driver: String) throws -> PluginGround {
        driver == "zfs" ? try zfs() : try plain()
    }

    private static func plain() throws -> PluginGround {
        let directory = try TemporaryDirectory()
        return PluginGround(directory: directory, root: try directory.directory("data"), takeDown: {})
    }

    /// A pool of its own, for as long as the session's standard input is open.
    private static func zfs() throws -> PluginGround {
        let directory = try TemporaryDirectory()
        let session = try directory.directory("session")
        guard let input = popen("exec \(packagePath("Tests/Kernel/zfs-fuse-session")) \(session) >/dev/null 2>&1", "we")
        else { throw TestFailure.call("popen", "zfs-fuse-session") }
        var pool: String?
        for _ in 0..<600 where pool == nil {
            pool = (try? readText(session + "/pool")).map { String($0.prefix { $0 != "\n" }) }
            if let failure = try? readText(session + "/failed") {
                pclose(input)
                throw TestFailure("zfs-fuse: \(failure)")
            }
            if pool == nil { usleep(50_000) }
        }
        guard let pool else {
            pclose(input)
            throw TestFailure("zfs-fuse: no pool after 30 s")
        }
        let root = directory.path + "/data"
        let result = try runProgram(["zfs", "create", "-o", "mountpoint=\(root)", pool + "/docker"])
        guard result.status == 0 else {
            pclose(input)
            throw TestFailure("zfs create: \(result.errors)")
        }
        let owner = Session(input)
        return PluginGround(directory: directory, root: root) { owner.end() }
    }

    /// Ends the daemon, its pool and its mounts.
    private final class Session {
        private var input: UnsafeMutablePointer<FILE>?
        init(_ input: UnsafeMutablePointer<FILE>) { self.input = input }
        func end() {
            if let input { pclose(input) }
            input = nil
        }
        deinit { end() }
    }
}
