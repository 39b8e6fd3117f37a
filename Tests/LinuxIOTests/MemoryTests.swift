import Glibc
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

@Suite struct MemoryTests {
    @Test func `names keep their bytes and addresses, are terminated, and compare`() throws {
        let arena = try NameArena()
        var references: [NameRef] = []
        var addresses: [UInt] = []
        for index in 0..<20_000 {
            let name = try arena.append(pattern(index, count: index % 300).span.bytes)
            references.append(name)
            addresses.append(unsafe UInt(bitPattern: arena.pointer(name).address))
        }
        for index in 0..<20_000 {
            let name = references[index]
            #expect(name.length == index % 300)
            #expect(arena[name].copied() == pattern(index, count: index % 300))
            #expect(unsafe UInt(bitPattern: arena.pointer(name).address) == addresses[index])
            #expect(arena.pointer(name).length == index % 300)
        }
        #expect(arena.byteCount == (0..<20_000).reduce(0) { $0 + $1 % 300 + 1 })
    }

    @Test(arguments: [(0, 0), (1, 255), (1 << 40, 65_535), ((1 << 48) - 1, 4_095)])
    func `references hold 48 bits of offset and 16 of length`(offset: Int, length: Int) {
        let name = NameRef(offset: offset, length: length)
        #expect(name.offset == offset && name.length == length)
        #expect(MemoryLayout<NameRef>.size == 8)
    }

    @Test func `a stable array reads zero until written, never moves, and refuses more than its limit`() throws {
        let array = try StableArray<UInt64>(limit: 1_000)
        #expect(array.count == 0 && array.limit == 1_000)
        let first = try array.reserve(600)
        let second = try array.reserve(400)
        #expect(first == 0 && second == 600)
        #expect((0..<1_000).allSatisfy { array[$0] == 0 })
        for index in 0..<1_000 { array[index] = UInt64(index) }
        #expect(array.span(10..<20)[3] == 13)
        var writable = array.mutableSpan(0..<5)
        writable[4] = 99
        #expect(array[4] == 99)
        let error = #expect(throws: LayerError.self) { _ = try array.reserve(1) }
        #expect(error?.code == .limitExceeded)
    }

    @Test func `threads that reserve get ranges of their own`() throws {
        let array = try StableArray<UInt32>(limit: 1 << 20)
        try onThreads(8) { worker in
            for round in 0..<500 {
                let count = 1 + round % 7
                let start = try array.reserve(count)
                for index in start..<start + count { array[index] += UInt32(worker + 1) }
            }
        }
        #expect(array.count == 8 * (0..<500).reduce(0) { $0 + 1 + $1 % 7 })
        var tally = [Int](repeating: 0, count: 9)
        for index in 0..<array.count { tally[Int(array[index])] += 1 }
        #expect(tally[0] == 0 && Set(tally[1...]).count == 1)
    }

    @Test func `threads that grow an array at once may use all that they reserved`() throws {
        // From one page to a hundred megabytes: each of the steps is taken by several threads together.
        let array = try StableArray<UInt64>(limit: 1 << 32)
        try onThreads(8) { worker in
            for round in 0..<400 {
                let count = 1 << (round % 13)
                let start = try array.reserve(count)
                // All of a small range, and both ends of each page of a large one.
                for index in stride(from: start, to: start + count, by: count < 512 ? 1 : 255) {
                    array[index] = UInt64(worker << 32 | round)
                }
                array[start + count - 1] = UInt64(worker << 32 | round)
            }
        }
        #expect(array.count > 12_000_000 / 8)
        var kinds: Set<UInt64> = []
        for index in 0..<array.count { kinds.insert(array[index]) }
        // Each thread's last word of each round, and the zeros between.
        #expect(kinds.subtracting([0]).count == 8 * 400 - 1)
        #expect(kinds.contains(0))
    }

    @Test func `an array that is used again begins at the front`() throws {
        let arena = try NameArena()
        for _ in 0..<3 {
            var names: [NameRef] = []
            // More than what is kept from one use to the next.
            for index in 0..<5_000 { names.append(try arena.append(pattern(index, count: 4_000).span.bytes)) }
            #expect(names[0].offset == 0)
            for index in stride(from: 0, to: 5_000, by: 97) {
                #expect(arena[names[index]].copied() == pattern(index, count: 4_000))
            }
            arena.removeAll()
            #expect(arena.byteCount == 0)
        }
    }

    /// What RLIMIT_DATA counts is what is charged with vm.overcommit_memory=2: private memory that may be written to.
    @Test func `memory that is only reserved is not charged`() async {
        await #expect(processExitsWith: .success) {
            let before = try dataBytes()
            let arena = try NameArena()
            let tables = try (0..<8).map { _ in try StableArray<UInt64>(limit: 400_000_000) }
            _ = try arena.append(pattern(1, count: 100).span.bytes)
            for table in tables { table[try table.reserve(1)] = 1 }
            let after = try dataBytes()
            try #require(tables.allSatisfy { $0.limit == 400_000_000 })
            try #require(after - before < 2 << 20, "\(after - before) bytes are charged")
            // It grows as far as the process may, and says so at the end.
            let data = __rlimit_resource_t(RLIMIT_DATA.rawValue)
            var limit = rlimit()
            try #require(getrlimit(data, &limit) == 0)
            let unlimited = limit.rlim_cur
            limit.rlim_cur = rlim_t(after + 100 << 20)
            try #require(setrlimit(data, &limit) == 0)
            var grown = 0
            let error = #expect(throws: LayerError.self) {
                while true {
                    let start = try tables[0].reserve(4096)
                    tables[0][start + 4095] = 1
                    grown += 4096 * 8
                }
            }
            limit.rlim_cur = unlimited
            setrlimit(data, &limit)
            try #require(error?.code == .noSpace)
            try #require(grown > 60 << 20 && grown <= 104 << 20, "it grew by \(grown) bytes")
        }
    }

    @Test(arguments: [
        ("0:100000:65536", UInt32(0), UInt32(100_000), UInt32(65_536)), ("7:7:1", 7, 7, 1),
        ("0:0:4294967295", 0, 0, 4_294_967_295),
    ])
    func `id ranges parse`(text: String, container: UInt32, host: UInt32, count: UInt32) {
        #expect(IDMap.parseRange(text) == IDMap.Range(container: container, host: host, count: count))
    }

    @Test(arguments: [
        "", ":", "1:2", "1:2:0", "1:2:3:4", "a:2:3", "-1:2:3", "1:2:4294967296", "4294967295:0:2", "0:4294967295:2",
        "1::3",
    ])
    func `unsound id ranges are refused`(text: String) { #expect(IDMap.parseRange(text) == nil) }

    @Test func `ids are mapped both ways, the first range wins, others have no place`() {
        let map = IDMap([
            IDMap.Range(container: 0, host: 1_000, count: 1), IDMap.Range(container: 1, host: 100_000, count: 65_535),
        ])
        let table: [(container: UInt32, host: UInt32)] = [(0, 1_000), (1, 100_000), (65_535, 165_534)]
        for row in table {
            #expect(map.hostID(forContainer: row.container) == row.host)
            #expect(map.containerID(forHost: row.host) == row.container)
        }
        for id in [65_536, UInt32.max] { #expect(map.hostID(forContainer: id) == nil) }
        for id in [0, 999, 1_001, 99_999, 165_535, UInt32.max] { #expect(map.containerID(forHost: id) == nil) }
        #expect(map.hostRoot == 1_000 && !map.isIdentity)
        #expect(IDMap.identity.containerID(forHost: 5) == 5 && IDMap.identity.hostID(forContainer: .max) == .max)
        #expect(IDMap.identity.isIdentity && IDMap.identity.hostRoot == 0)
    }
}

/// Bytes of private writable memory of this process.
private func dataBytes() throws -> Int {
    let status = try readText("/proc/self/status")
    for line in status.split(separator: "\n") where line.hasPrefix("VmData:") {
        return 1024 * (line.split(separator: " ").compactMap { Int($0) }.first ?? 0)
    }
    throw TestFailure("/proc/self/status has no VmData")
}
