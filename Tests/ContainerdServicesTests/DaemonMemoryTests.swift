import Glibc
import TestSupport
import Testing

/// What the daemon keeps of memory.
@Suite struct DaemonMemoryTests {
    /// Sixteen arenas grew to 163 MiB in eight minutes of eight callers, and 11 of them were in use.
    @Test func `parallel calls leave no more of malloc's arenas than there are processors`() async throws {
        let daemon = try SnapshotDaemon()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            for round in 0..<3 {
                try await withThrowingTaskGroup { group in
                    for number in 0..<64 {
                        let key = "k\(round)-\(number)"
                        group.addTask {
                            _ = try await client.prepare(key)
                            _ = try await client.usage(key)
                            _ = try await client.list("name~=\"k\(round)-.*\"")
                            try await client.commit("c" + key, key)
                            try await client.remove("c" + key)
                        }
                    }
                    try await group.waitForAll()
                }
                try await client.cleanup()
            }
        }
        let arenas = try Self.arenas(of: daemon.process)
        #expect(arenas <= max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN))), "\(arenas) arenas")
        try daemon.stop()
    }

    /// The arenas beside the first: each is at the beginning of 64 MiB that are reserved for it, and aligned to them.
    private static func arenas(of process: pid_t) throws -> Int {
        let size: UInt = 64 << 20
        var count = 0
        var previous: (start: UInt, end: UInt, isUsed: Bool)?
        for line in try readText("/proc/\(process)/maps").split(separator: "\n") {
            let words = line.split(separator: " ")
            let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
            guard ends.count == 2 else { throw TestFailure("no map: \(line)") }
            if let before = previous, before.isUsed, before.start % size == 0, before.end == ends[0],
                ends[1] == before.start + size, words[1] == "---p"
            {
                count += 1
            }
            previous = (ends[0], ends[1], words[1] == "rw-p")
        }
        return count
    }
}
