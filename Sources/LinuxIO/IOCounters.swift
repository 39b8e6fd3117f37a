/// What a job asked of the kernel; each worker counts its own and the counts are added at the end.
package struct IOCounters: Sendable, Equatable {
    /// Directories and files opened by plain calls.
    package var opens: UInt64 = 0
    /// statx calls made directly.
    package var stats: UInt64 = 0
    /// Names looked up many at a time through the ring, and how many times.
    package var batchedStats: UInt64 = 0
    package var statBatches: UInt64 = 0
    /// statx calls whose time was taken and that waited for a disk: after two of them `auto` looks up through the ring.
    package var slowStats: UInt64 = 0
    /// getdents64 calls.
    package var directoryReads: UInt64 = 0
    /// Attribute calls.
    package var attributeCalls: UInt64 = 0
    /// Files or pieces whose bytes memory held and a plain call brought.
    package var inlineReads: UInt64 = 0
    package var bytesRead: UInt64 = 0
    package var bytesWritten: UInt64 = 0
    /// Names made: files, directories, links, nodes.
    package var creates: UInt64 = 0
    /// Operations given to the ring.
    package var ringSubmissions: UInt64 = 0
    /// io_uring_enter calls.
    package var ringEnters: UInt64 = 0

    package init() {}

    package mutating func add(_ other: IOCounters) {
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
    package var fields: [(String, UInt64)] {
        [
            ("opens", opens), ("stats", stats), ("batchedStats", batchedStats), ("statBatches", statBatches),
            ("slowStats", slowStats), ("directoryReads", directoryReads),
            ("attributeCalls", attributeCalls), ("inlineReads", inlineReads), ("bytesRead", bytesRead),
            ("bytesWritten", bytesWritten), ("creates", creates), ("ringSubmissions", ringSubmissions),
            ("ringEnters", ringEnters),
        ]
    }
}
