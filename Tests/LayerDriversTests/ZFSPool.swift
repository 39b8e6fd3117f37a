import Glibc
import Synchronization
import TestSupport
import Testing

/// The pool that the tests of zfs use: that of `Tests/Kernel/run` in the virtual machine (`LDIFF_ZFS_POOL`), else one on a
/// zfs-fuse that is started for this process and goes with it.
enum ZFSPool {
    /// Whether OpenZFS's kernel module is what is tested.
    static var isKernel: Bool { ZFSSession.isKernel }

    private static let number = Atomic<Int>(0)

    /// The pool's name. Fails, and never skips, where there can be none.
    static func name() throws -> String { try ZFSSession.pool() }

    /// A dataset of a test's own, mounted at a new directory, for a driver's root.
    static func ground() throws -> DriverGround {
        let dataset = "\(try name())/t\(number.add(1, ordering: .relaxed).newValue)"
        let directory = try TemporaryDirectory()
        let root = directory.path + "/root"
        try zfs("create", "-o", "mountpoint=\(root)", dataset)
        return DriverGround(root: root, outside: { try listing(dataset) }) {
            for point in try mountPoints(below: root).reversed() {
                ZFSSession.unmountWhenHeard(point, point == root ? 0 : Int(MNT_DETACH))
            }
            try ZFSSession.destroy(dataset)
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
}
