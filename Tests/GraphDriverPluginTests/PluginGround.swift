import Foundation
import TestSupport

/// What a plugin's store lies on: a directory of the machine's own file system, or a dataset of the tests' pool.
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

    private static func zfs() throws -> PluginGround {
        let directory = try TemporaryDirectory()
        let root = directory.path + "/data"
        let dataset = "\(try ZFSSession.pool())/plugin-\(UInt32.random(in: .min ... .max))"
        try run(["zfs", "create", "-o", "mountpoint=\(root)", dataset])
        return PluginGround(directory: directory, root: root) {
            try ZFSSession.destroy(dataset)
        }
    }

    private static func run(_ words: [String]) throws {
        let result = try runProgram(words)
        guard result.status == 0 else { throw TestFailure("\(words.joined(separator: " ")): \(result.errors)") }
    }
}
