import Glibc
import Synchronization
import TestSupport

/// A dataset for each test.
enum SnapshotPool {
    struct Dataset {
        let name: String

        func destroy() throws { try ZFSSession.destroy(name) }
    }

    private static let number = Atomic<Int>(0)

    /// Makes one. Fails, and never skips, where there can be no pool.
    static func dataset() throws -> Dataset {
        let name = "\(try ZFSSession.pool())/s\(number.add(1, ordering: .relaxed).newValue)"
        let result = try runProgram(["timeout", "-k", "5", "60", "zfs", "create", "-o", "mountpoint=legacy", name])
        guard result.status == 0 else { throw TestFailure("zfs create \(name): \(result.errors)") }
        return Dataset(name: name)
    }
}
