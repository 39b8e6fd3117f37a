internal import CLinux
internal import Glibc
public import LayerModel

/// What one job may hold open, as a share of the descriptors that the process has left when the job begins.
///
/// A job takes at most half, since others may run beside it. Where the limit is low, fewer workers run and each keeps less
/// open; what is written does not depend on either.
public struct DescriptorShare: Sendable {
    /// Descriptors that they all may hold together.
    public let total: Int
    /// Workers that may run at once.
    public let workers: Int
    /// Workers that may run where each mostly waits: more than `workers` only if that takes nothing from any of them.
    public let slowWorkers: Int
    /// Directories that each may keep open.
    public let directories: Int
    /// Reads that each may have in flight.
    public let readsInFlight: Int

    /// Descriptors that a worker needs to get on at all: its ring, a directory being read, one on the way to it, a file.
    private static let leastPerWorker = 10

    /// Shares out for at most `workers` workers that would like to have `directories` and `reads` each, or `slow` of them
    /// where there is plenty.
    public init(workers wanted: Int, slow: Int = 0, directories: Int, reads: Int) {
        self.init(free: Self.free, workers: wanted, slow: slow, directories: directories, reads: reads)
    }

    init(free: Int, workers wanted: Int, slow: Int = 0, directories: Int, reads: Int) {
        let share = free / 2
        total = share
        workers = max(1, min(wanted, share / Self.leastPerWorker))
        slowWorkers = max(workers, min(slow, share / (directories + reads + 4)))
        let each = max(Self.leastPerWorker, share / workers) - 4
        self.directories = max(2, min(directories, each / 2))
        readsInFlight = max(1, min(reads, each - self.directories))
    }

    /// Descriptors that the process may still open.
    private static var free: Int {
        let limit = Int(clamping: ldl_descriptor_limit())
        // Far more than any program holds: not worth counting.
        guard limit < 65_536 else { return limit / 2 }
        return max(0, limit - open(limit))
    }

    private static func open(_ limit: Int) -> Int {
        do throws(SystemCallError) {
            let directory = try OwnedDescriptor.open(NamePointer("/proc/self/fd"), [.readOnly, .directory])
            var reader = DirectoryReader()
            var count = 0
            while try reader.next(of: directory) != nil { count += 1 }
            return count
        } catch {
            // No /proc, or no descriptor left to ask with.
            return limit / 2
        }
    }
}

/// Waits for descriptors that others must give back, ever longer, and not for ever.
public struct DescriptorPatience: ~Copyable {
    private var waited: UInt32 = 0
    private var pause: UInt32 = 1
    /// Milliseconds in all.
    private static let limit: UInt32 = 20_000

    public init() {}

    /// Waits a while; false where it was long enough.
    public mutating func wait() -> Bool {
        guard waited < Self.limit else { return false }
        usleep(pause * 1000)
        waited += pause
        pause = min(pause * 2, 100)
        return true
    }
}

extension SystemCallError {
    /// Whether the process (EMFILE) or the system (ENFILE) has no descriptor left.
    public var isOutOfDescriptors: Bool { errno == EMFILE || errno == ENFILE }
}
