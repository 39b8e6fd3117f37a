/// What a job asked of the kernel; each worker counts its own and the counts are added at the end.
public struct IOCounters: Sendable, Equatable {
    /// Directories and files opened by plain calls.
    public var opens: UInt64 = 0
    /// statx calls made directly.
    public var stats: UInt64 = 0
    /// Names looked up many at a time through the ring, and how many times.
    public var batchedStats: UInt64 = 0
    public var statBatches: UInt64 = 0
    /// statx calls whose time was taken and that waited for a disk: after two of them `auto` looks up through the ring.
    public var slowStats: UInt64 = 0
    /// getdents64 calls.
    public var directoryReads: UInt64 = 0
    /// Attribute calls.
    public var attributeCalls: UInt64 = 0
    /// Files or pieces whose bytes memory held and a plain call brought.
    public var inlineReads: UInt64 = 0
    public var bytesRead: UInt64 = 0
    public var bytesWritten: UInt64 = 0
    /// Names made: files, directories, links, nodes.
    public var creates: UInt64 = 0
    /// Operations given to the ring.
    public var ringSubmissions: UInt64 = 0
    /// io_uring_enter calls.
    public var ringEnters: UInt64 = 0

    public init() {}

    public mutating func add(_ other: IOCounters) {
        opens += other.opens
        stats += other.stats
        batchedStats += other.batchedStats
        statBatches += other.statBatches
        slowStats += other.slowStats
        directoryReads += other.directoryReads
        attributeCalls += other.attributeCalls
        inlineReads += other.inlineReads
        bytesRead += other.bytesRead
        bytesWritten += other.bytesWritten
        creates += other.creates
        ringSubmissions += other.ringSubmissions
        ringEnters += other.ringEnters
    }

    /// The counters with their names in reports.
    public var fields: [(String, UInt64)] {
        [
            ("opens", opens), ("stats", stats), ("batchedStats", batchedStats), ("statBatches", statBatches),
            ("slowStats", slowStats), ("directoryReads", directoryReads),
            ("attributeCalls", attributeCalls), ("inlineReads", inlineReads), ("bytesRead", bytesRead),
            ("bytesWritten", bytesWritten), ("creates", creates), ("ringSubmissions", ringSubmissions),
            ("ringEnters", ringEnters),
        ]
    }
}
