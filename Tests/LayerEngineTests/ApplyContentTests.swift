import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import Synchronization
import TestSupport
import Testing

/// What files hold in the end: all of their bytes or an error, and holes for what is not worth writing.
@Suite struct ApplyContentTests {
    // MARK: ends that are no ends

    /// A stream whose last byte is read when the caller gives up.
    private struct GivenUp: SlabSource, ~Copyable {
        var base: MemorySource
        let cancel: CancelFlag

        mutating func next() throws(LayerError) -> Slab? {
            let slab = try base.next()
            if slab == nil { cancel.cancel() }
            return slab
        }

        mutating func recycle(_ slab: consuming Slab) { base.recycle(slab) }
    }

    @Test(arguments: [1, 2, 5], [true, false])
    func `a cancelled apply never succeeds with files missing`(_ workers: Int, _ hasLinks: Bool) throws {
        let count = 400
        var pieces = (0..<count).map { F("d\($0 % 3)/f\($0)", "content") }
        if hasLinks { pieces.append(H("late", "d0/f399")) }
        for _ in 0..<8 {
            let scratch = try TemporaryDirectory(in: "/dev/shm")
            var options = ApplyOptions()
            options.workers = workers
            var source = GivenUp(base: MemorySource(Tar.archive(pieces)), cancel: options.cancel)
            let root = try openPath(scratch.path)
            do throws(LayerError) {
                _ = try ApplyEngine.apply(&source, root: root, options: options)
            } catch {
                #expect(error.code == .cancelled, "\(error)")
                continue
            }
            let files = try TreeSnapshot(scratch.path).entries.values.filter { $0.kind == .regular }
            #expect(files.count >= count && files.allSatisfy { $0.text == "content" })
        }
    }

    // MARK: zeros

    /// A file of runs: how many bytes, and whether they are zeros.
    private static func contents(_ runs: [(count: Int, isZero: Bool)]) -> [UInt8] {
        runs.flatMap { run in (0..<run.count).map { run.isZero ? 0 : UInt8(truncatingIfNeeded: $0 | 1) } }
    }

    private static let files: [(name: String, bytes: [UInt8], holes: Int)] = [
        ("small", contents([(60_000, true)]), 0),
        ("one", contents([(65_536, true)]), 65_536),
        ("middle", contents([(1, false), (65_536, true), (1, false)]), 60_000),
        ("end", contents([(100, false), (500_000, true)]), 490_000),
        ("start", contents([(500_000, true), (100, false)]), 490_000),
        ("two", contents([(5000, false), (70_000, true), (5000, false), (1_500_000, true), (3, false)]), 1_550_000),
        ("large", contents([(1_200_000, false), (2_500_000, true), (9, false), (90_000, true)]), 2_570_000),
        ("none", contents([(2_000_000, false)]), 0),
    ]

    @Test(arguments: [1000, 65_536, SlabSourceDefaults.payload], [SparsePolicy.auto, .never])
    func `long runs of zeros become holes, wherever they lie in slabs`(_ pieceSize: Int, _ sparse: SparsePolicy) throws
    {
        let scratch = try TemporaryDirectory()
        var options = ApplyOptions()
        options.sparse = sparse
        let pieces = Self.files.map { F($0.name, bytes: $0.bytes, 0o4755).xattr("user.x", "1") }
        let report = try apply(Tar.archive(pieces), to: scratch.path, options, pieceSize: pieceSize)
        let tree = try TreeSnapshot(scratch.path)
        for file in Self.files {
            let entry = try #require(tree[file.name])
            #expect(entry.content == file.bytes, "\(file.name)")
            #expect(entry.mode == 0o4755 && entry.attributes["user.x"] != nil && entry.seconds == TarPiece.time)
            let allocated = Int(entry.blocks) * 512
            if sparse == .auto {
                #expect(allocated <= file.bytes.count - file.holes + 16_384, "\(file.name): \(allocated)")
            } else {
                #expect(allocated >= file.bytes.count, "\(file.name): \(allocated)")
            }
        }
        let sum = Self.files.reduce(0) { $0 + UInt64($1.bytes.count) }
        #expect(report.size == sum && report.uniqueFileBytes == sum)
        #expect(sparse == .never ? report.io.bytesWritten == sum : report.io.bytesWritten < sum / 2)
    }

    /// An archive with one file of zeros, which takes no memory.
    private struct Zeros: SlabSource, ~Copyable {
        var left: Int
        let header: [UInt8]
        var isFirst = true

        init(_ size: Int) {
            header = Tar.header(F("zeros").size(Int64(size)))
            left = size + 1024
        }

        mutating func next() throws(LayerError) -> Slab? {
            guard isFirst || left > 0 else { return nil }
            let slab = Slab(
                capacity: SlabSourceDefaults.headroom + SlabSourceDefaults.payload,
                headroom: SlabSourceDefaults.headroom)
            if isFirst { slab.append(header.rawBytes) }
            isFirst = false
            let count = min(left, slab.capacity - slab.end)
            slab.appendZeros(count)
            left -= count
            return slab
        }

        mutating func recycle(_ slab: consuming Slab) {}
    }

    @Test func `a file of 600 MB of zeros takes no room`() throws {
        let scratch = try TemporaryDirectory()
        var source = Zeros(600 << 20)
        let report = try ApplyEngine.apply(&source, root: openPath(scratch.path), options: ApplyOptions())
        var found = stat()
        try #require(stat(scratch.path + "/zeros", &found) == 0)
        #expect(found.st_size == 600 << 20 && found.st_blocks == 0)
        #expect(report.uniqueFileBytes == 600 << 20 && report.io.bytesWritten == 0)
    }

    @Test(arguments: [SparsePolicy.auto, .never])
    func `holes of the archive stay holes, and zeros in its data become some`(_ sparse: SparsePolicy) throws {
        let scratch = try TemporaryDirectory()
        let data = Self.contents([(4096, false), (200_000, true), (4096, false)])
        // Data at 1,000,000 of a file of 5,000,000 bytes, and a few at its end.
        let map = "2\n1000000\n\(data.count)\n4999997\n3\n"
        let body = Tar.padded(Array(map.utf8)) + data + Array("end".utf8)
        var options = ApplyOptions()
        options.sparse = sparse
        let piece = F("f", bytes: body, 0o640).ids(3, 4).pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", "5000000").xattr("user.x", "1")
        try apply(Tar.archive([piece, F("next", "n")]), to: scratch.path, options, pieceSize: 4096)
        let tree = try TreeSnapshot(scratch.path)
        let file = try #require(tree["f"])
        var expected = [UInt8](repeating: 0, count: 5_000_000)
        expected.replaceSubrange(1_000_000..<1_000_000 + data.count, with: data)
        expected.replaceSubrange(4_999_997..<5_000_000, with: Array("end".utf8))
        #expect(file.content == expected && file.mode == 0o640 && file.uid == 3 && file.gid == 4)
        #expect(file.attributes["user.x"] == Array("1".utf8) && file.seconds == TarPiece.time)
        #expect(Int(file.blocks) * 512 <= (sparse == .auto ? 30_000 : 230_000) && tree["next"]?.text == "n")
    }
}
