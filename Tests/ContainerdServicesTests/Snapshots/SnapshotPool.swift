import Glibc
import Synchronization
import TestSupport

/// A dataset for each test.
enum SnapshotPool {
    struct Dataset {
        let name: String

        func destroy() throws {
            // What was unmounted a moment ago is busy for a while.
            for attempt in 0... {
                let result = try runProgram(["timeout", "-k", "5", "60", "zfs", "destroy", "-R", name])
                if result.status == 0 { return }
                guard attempt < 600 else { throw TestFailure("zfs destroy \(name): \(result.errors)") }
                usleep(50_000)
            }
        }
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
