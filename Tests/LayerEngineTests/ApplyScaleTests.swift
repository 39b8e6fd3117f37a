import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Large and deep layers, and failures of the kernel at every point.
@Suite(.serialized) struct ApplyScaleTests {
    private static func seconds(_ body: () throws -> Void) rethrows -> Double {
        let clock = ContinuousClock()
        let elapsed = try clock.measure(body)
        return Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    }

    @Test func `T218 many entries in one directory are linear`() throws {
        func time(_ count: Int) throws -> Double {
            let scratch = try TemporaryDirectory(in: "/dev/shm")
            let bytes = Tar.archive([D("d")] + (0..<count).map { F("d/file\($0)") })
            return try Self.seconds { try apply(bytes, to: scratch.path) }
        }
        let (small, large) = (try time(10_000), try time(40_000))
        #expect(large < 10 * small + 0.5, "\(small) s for 10,000, \(large) s for 40,000")
    }

    @Test func `T194 V25 deep trees are made and removed without recursion`() throws {
        // Each link leads 1,000 levels further down than a path could name.
        var pieces: [TarPiece] = []
        let chain = Array(repeating: "a", count: 1000).joined(separator: "/")
        pieces.append(D("tree"))
        pieces.append(S("l0", "tree"))
        for level in 0..<20 {
            pieces.append(D("l\(level)/" + chain))
            pieces.append(S("l\(level + 1)", "l\(level)/" + chain))
        }
        pieces.append(F("l20/leaf", "deep"))
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        // 20 links on the way to the last one: each contains the one before.
        try apply(Tar.archive(pieces), to: scratch.path)
        let before = try TreeSnapshotCounts(scratch.path)
        #expect(before.topLevel == 22)
        try apply(Tar.archive([W(".wh.tree")]), to: scratch.path)
        #expect(try TreeSnapshotCounts(scratch.path).topLevel == 21)
    }

    @Test func `V25 an opaque marker over a wide and deep tree`() throws {
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let chain = Array(repeating: "b", count: 1500).joined(separator: "/")
        try apply(
            Tar.archive([D("d/" + chain)] + (0..<3000).map { F("d/x\($0)/y") }), to: scratch.path)
        try apply(Tar.archive([F("d/keep"), W("d/.wh..wh..opq")]), to: scratch.path)
        #expect(try TreeSnapshot(scratch.path).paths == ["d/", "d/keep"])
    }

    /// A stream without end that asks for a stop after some slabs.
    private struct EndlessSource: SlabSource, ~Copyable {
        let cancel: CancelFlag
        var left: Int
        var isFirst = true

        mutating func next() throws(LayerError) -> Slab? {
            let slab = Slab(
                capacity: SlabSourceDefaults.headroom + SlabSourceDefaults.payload,
                headroom: SlabSourceDefaults.headroom)
            if isFirst { slab.append(Tar.header(F("endless").size(1 << 50)).rawBytes) }
            isFirst = false
            slab.appendZeros(slab.capacity - slab.end)
            left -= 1
            if left == 0 { cancel.cancel() }
            return slab
        }

        mutating func recycle(_ slab: consuming Slab) {}
    }

    @Test func `T216 a stop in the middle of a file leaves no half of it`() throws {
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let options = ApplyOptions()
        var source = EndlessSource(cancel: options.cancel, left: 50)
        let root = try openPath(scratch.path)
        do throws(LayerError) {
            _ = try ApplyEngine.apply(&source, root: root, options: options)
            Issue.record("an endless archive ended")
        } catch {
            #expect(error.code == .cancelled)
        }
        #expect(try TreeSnapshot(scratch.path).paths == [])
    }

    @Test func `T217 calls per small file`() async {
        // Counted by the fault plan, which belongs to the whole process.
        await #expect(processExitsWith: .success) {
            let scratch = try TemporaryDirectory(in: "/dev/shm")
            let bytes = Tar.archive(
                (0..<200).flatMap { directory in
                    [D("d\(directory)")] + (0..<50).map { F("d\(directory)/f\($0)", "content") }
                })
            FaultPlan.fail(call: 0, errno: 0)
            try apply(bytes, to: scratch.path)
            let calls = Double(FaultPlan.calls) / 10_200
            try #require(calls > 3 && calls <= 4.5, "\(calls) calls per entry")
        }
    }

    private static let small: [TarPiece] = [
        D("d"), F("d/f", "body"), S("d/l", "f"), H("h", "d/f"), F("d/c", "x").ids(1, 1).xattr("user.x", "v"),
        P("p"), D("old"), F("old/new"), W("old/.wh..wh..opq"), W(".wh.gone"), F("implied/dir/f"), H("late", "z"),
        F("z", "z"),
    ]

    @Test(arguments: [EIO, ENOSPC, EMFILE]) func `every failing call ends in an error, and nothing leaks`(_ code: Int32)
        async
    {
        switch code {
        case EIO: await #expect(processExitsWith: .success) { ApplyScaleTests.failEveryCall(EIO) }
        case ENOSPC: await #expect(processExitsWith: .success) { ApplyScaleTests.failEveryCall(ENOSPC) }
        default: await #expect(processExitsWith: .success) { ApplyScaleTests.failEveryCall(EMFILE) }
        }
    }

    /// A thrown error would end the child without its text; an issue is handed to the parent.
    static func failEveryCall(_ code: Int32) {
        do { try tryEveryCall(code) } catch { Issue.record("\(error)") }
    }

    /// Applies a small layer with its k-th call failing, for every k, both ways.
    private static func tryEveryCall(_ code: Int32) throws {
        for target in Target.allCases {
            var call: UInt64 = 1
            var isDone = false
            while !isDone {
                let scratch = try TemporaryDirectory(in: "/var/tmp")
                let lower = try scratch.directory("lower")
                let upper = target == .merged ? lower : try scratch.directory("upper")
                try apply(Tar.archive([F("old/a"), F("old/sub/b"), F("gone"), D("implied")]), to: lower)
                var options = ApplyOptions()
                options.workers = 2
                if target == .overlay { (options.dialect, options.lowers) = (.overlay, [PathBytes(lower)]) }
                let before = try openFiles()
                FaultPlan.fail(call: call, errno: code)
                do {
                    try apply(Tar.archive(small), to: upper, options)
                    isDone = FaultPlan.calls < call
                } catch let error as LayerError {
                    guard case .systemCall(let failed) = error.cause, failed.errno == code else { throw error }
                } catch let error as SystemCallError {
                    // The test's own opening of the root.
                    guard error.errno == code else { throw error }
                }
                FaultPlan.fail(call: 0, errno: 0)
                if let leak = try leak(since: before) { throw TestFailure("call \(call) of \(target): \(leak)") }
                try requireWholeFiles(upper)
                call += 1
                try #require(call < 2000)
            }
            try #require(call > 50)
        }
    }

    /// No file may be there with less than its bytes.
    private static func requireWholeFiles(_ path: String) throws {
        let tree = try TreeSnapshot(path)
        for (name, content) in [("d/f", "body"), ("d/c", "x"), ("h", "body"), ("z", "z")] {
            if let entry = tree[name] { try #require(entry.text == content, "\(name) is incomplete") }
        }
    }
}

/// How many names a directory holds, without looking below.
private struct TreeSnapshotCounts {
    var topLevel = 0
    init(_ path: String) throws {
        let directory = try openPath(path)
        var reader = DirectoryReader()
        while try reader.next(of: directory) != nil { topLevel += 1 }
    }
}
