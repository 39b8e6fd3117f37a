import Glibc
import LayerModel
import LinuxIO
import Testing

@Suite struct RingReadTests {
    @Test func `this kernel offers io_uring, or the tests below prove nothing`() {
        #expect(RingCapabilities.current.isUsable, "\(RingCapabilities.current.reason ?? "")")
    }

    @Test(arguments: [1, 4, 16, 256])
    func `thousands of small files through a window of any size arrive whole`(entries: Int) throws {
        let scratch = try Scratch()
        let fileCount = 3_000
        for index in 0..<fileCount { try scratch.write("f\(index)", pattern(index, count: index % 977)) }
        let slab = Slab(capacity: fileCount * 1_000)
        var ring = try Ring(entries: entries)
        var seen = [Int32?](repeating: nil, count: fileCount)
        func record(_ completion: RingCompletion) {
            #expect(seen[Int(completion.token)] == nil)
            seen[Int(completion.token)] = completion.result
        }
        for index in 0..<fileCount {
            let file = try scratch.open("f\(index)")
            try ring.read(file, into: slab, index * 1_000..<(index + 1) * 1_000, at: 0, token: UInt64(index))
            if index % 7 == 0, let completion = try ring.nextCompletion(wait: index % 14 == 0) { record(completion) }
            if index % 500 == 0 { #expect(try openDescriptors(under: scratch.path) <= ring.capacity + 1) }
        }
        while let completion = try ring.nextCompletion(wait: true) { record(completion) }
        #expect(ring.inFlight == 0)
        for index in 0..<fileCount {
            let count = index % 977
            #expect(seen[index] == Int32(count))
            #expect(slab.span(index * 1_000..<index * 1_000 + count).copied() == pattern(index, count: count))
        }
        #expect(try openDescriptors(under: scratch.path) == 1)
        #expect(ring.counters.submissions >= UInt64(fileCount - fileCount / 977 - 1))
        #expect(ring.counters.enters > 0)
    }

    struct Part: CustomTestStringConvertible, Sendable {
        var size: Int
        var offset: Int64
        var count: Int
        var expected: Int32
        var testDescription: String { "\(count) bytes at \(offset) of \(size)" }
    }

    @Test(arguments: [
        Part(size: 0, offset: 0, count: 10, expected: 0),
        Part(size: 100, offset: 0, count: 100, expected: 100),
        Part(size: 100, offset: 0, count: 4_096, expected: 100),
        Part(size: 100, offset: 60, count: 20, expected: 20),
        Part(size: 100, offset: 60, count: 4_096, expected: 40),
        Part(size: 100, offset: 100, count: 10, expected: 0),
        Part(size: 100, offset: 5_000, count: 10, expected: 0),
        Part(size: 100, offset: 0, count: 0, expected: 0),
        Part(size: 3_000_001, offset: 1, count: 3_000_000, expected: 3_000_000),
        Part(size: 3_000_001, offset: 0, count: 4_000_000, expected: 3_000_001),
    ])
    func `ranges, ends and offsets`(part: Part) throws {
        let scratch = try Scratch()
        let bytes = pattern(part.size, count: part.size)
        try scratch.write("file", bytes)
        let slab = Slab(capacity: part.count + 20)
        slab.appendZeros(slab.capacity)
        var ring = try Ring(entries: 8)
        try ring.read(scratch.open("file"), into: slab, 10..<10 + part.count, at: part.offset, token: 7)
        #expect(ring.inFlight == 1)
        let completion = try #require(try ring.nextCompletion(wait: true))
        #expect(completion.token == 7 && completion.result == part.expected)
        let start = min(Int(part.offset), part.size)
        let read = Int(part.expected)
        #expect(slab.span(10..<10 + read).copied() == Array(bytes[start..<start + read]))
        #expect(slab.span(0..<10).copied().allSatisfy { $0 == 0 })
        #expect(slab.span(10 + read..<slab.capacity).copied().allSatisfy { $0 == 0 })
        #expect(try ring.nextCompletion(wait: true)?.token == nil)
        #expect(try openDescriptors(under: scratch.path) == 1)
    }

    @Test func `failed reads arrive as completions and close their descriptor`() throws {
        let scratch = try Scratch()
        try scratch.write("file", [1, 2, 3])
        let slab = Slab(capacity: 100)
        var ring = try Ring(entries: 4)
        try ring.read(openPath(scratch.path, [.readOnly, .directory]), into: slab, 0..<10, at: 0, token: 1)
        #expect(try ring.nextCompletion(wait: true)?.result == -EISDIR)
        try ring.read(scratch.open("file", .writeOnly), into: slab, 0..<10, at: 0, token: 2)
        let completion = try #require(try ring.nextCompletion(wait: true))
        #expect(completion.result == -EBADF)
        try ring.read(scratch.open("file"), into: slab, 0..<10, at: -77, token: 3)
        let negative = try #require(try ring.nextCompletion(wait: true))
        #expect(throws: SystemCallError("read", errno: EINVAL)) { try negative.check("read") }
        #expect(try openDescriptors(under: scratch.path) == 1)
    }

    @Test func `short reads of a pipe go on until the range is full`() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        let source = OwnedDescriptor(adopting: ends[0])
        let target = OwnedDescriptor(adopting: ends[1])
        let slab = Slab(capacity: 64)
        var ring = try Ring(entries: 4)
        try ring.read(source, into: slab, 0..<10, at: 0, token: 5)
        try ring.submit()
        for index in 0..<UInt8(10) {
            #expect(try ring.nextCompletion(wait: false)?.result == nil)
            try target.writeAll([index].span.bytes)
        }
        #expect(try ring.nextCompletion(wait: true)?.result == 10)
        #expect(slab.span(0..<10).copied() == Array(0..<10))
    }

    @Test func `a ring released with operations in flight lets go of everything`() throws {
        let scratch = try Scratch()
        weak var released: Slab?
        try #require(mkfifo(scratch.path + "/fifo", 0o600) == 0)
        let writer = try scratch.open("fifo", .readWrite)
        do {
            let slab = Slab(capacity: 1 << 20)
            released = slab
            var ring = try Ring(entries: 64)
            for index in 0..<40 {
                // Half of them are handed to the kernel, half only prepared. Nothing ever arrives in the FIFO.
                try ring.read(scratch.open("fifo"), into: slab, index..<index + 1, at: 0, token: UInt64(index))
                if index == 20 { try ring.submit() }
            }
            #expect(ring.inFlight == 40)
            #expect(try openDescriptors(under: scratch.path) == 42)
        }
        #expect(released == nil)
        #expect(try openDescriptors(under: scratch.path) == 2)
        try writer.writeAll([1].span.bytes)
    }

    @Test func `completions that are not fetched wait in order and are counted as in flight`() throws {
        let scratch = try Scratch()
        try scratch.write("file", pattern(1, count: 50))
        let slab = Slab(capacity: 50)
        var ring = try Ring(entries: 4)
        for index in 0..<100 {
            try ring.read(scratch.open("file"), into: slab, 0..<index % 50, at: 0, token: UInt64(index))
        }
        #expect(ring.inFlight == 100)
        var tokens: Set<UInt64> = []
        while let completion = try ring.nextCompletion(wait: true) {
            #expect(completion.result == Int32(completion.token % 50))
            tokens.insert(completion.token)
        }
        #expect(tokens.count == 100 && ring.inFlight == 0)
    }
}
