import Foundation
import LayerCompression
import LayerModel
import LinuxIO
import PlainJSON
import TarCodec
import Testing

@testable import LayerFormats

/// An entry of an archive that a test makes.
struct Item: Sendable {
    var name: [UInt8]
    var type = TarType.regular
    var link: [UInt8] = []
    var contents: [UInt8] = []
    var mode: UInt32 = 0o644
    var mtime: (Int64, Int32) = (1_700_000_000, 0)
    var attributes: [(String, [UInt8])] = []
    var uid: Int64 = 0

    init(_ name: String, _ contents: [UInt8] = [], type: UInt8 = TarType.regular, link: String = "") {
        self.name = Array(name.utf8)
        self.contents = contents
        self.type = type
        self.link = Array(link.utf8)
    }

    func with(_ change: (inout Item) -> Void) -> Item {
        var copy = self
        change(&copy)
        return copy
    }
}

func archive(_ items: [Item], trailer: Int = 1024) throws -> [UInt8] {
    var result: [UInt8] = []
    var encoder = TarEncoder()
    for item in items {
        var fields = TarFields()
        fields.type = item.type
        fields.mode = item.mode
        fields.uid = item.uid
        fields.size = Int64(item.contents.count)
        (fields.mtimeSeconds, fields.mtimeNanoseconds) = item.mtime
        if item.type == TarType.character { (fields.deviceMajor, fields.deviceMinor) = (1, 3) }
        for (name, value) in item.attributes {
            encoder.addExtendedAttribute(name: Array(name.utf8).rawBytes, value: value.rawBytes)
        }
        let nobody: [UInt8] = []
        try encoder.encode(
            fields, name: item.name.rawBytes, linkName: item.link.rawBytes, userName: nobody.rawBytes,
            groupName: nobody.rawBytes, format: .exact)
        result += encoder.blocks.copied() + item.contents
        result += [UInt8](repeating: 0, count: TarEncoder.padding(after: fields.size))
    }
    return result + [UInt8](repeating: 0, count: trailer)
}

/// A layer as it was written, in a file that goes with this value.
final class WrittenLayer {
    let bytes: [UInt8]
    let summary: IndexedLayerSummary
    let path = "/tmp/ldiff-indexed-\(UInt64.random(in: .min ... .max))"

    init(_ tar: [UInt8], _ options: IndexedLayerOptions, window: Int = 10_000) throws {
        var sink = try IndexedLayerSink(MemorySink(), options: options)
        var at = 0
        while at < tar.count {
            let end = min(at + window, tar.count)
            try sink.write(tar.rawBytes.extracting(at..<end))
            at = end
        }
        try sink.finish()
        summary = sink.summary
        bytes = sink.takeBase().bytes
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    /// The layer with bytes changed.
    init(_ bytes: [UInt8], _ summary: IndexedLayerSummary) throws {
        self.bytes = bytes
        self.summary = summary
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func open() throws -> OwnedDescriptor {
        let name = Array((path + "\0").utf8)
        return try OwnedDescriptor.open(NamePointer(terminated: name.rawBytes), [.readOnly])
    }

    /// What the whole layer decompresses to.
    func decompressed() throws -> [UInt8] {
        let file = try open()
        var reader = try LayerReader(descriptor: file.number)
        var result: [UInt8] = []
        while let slab = try reader.next() {
            result += slab.bytes.copied()
            reader.recycle(slab)
        }
        return result
    }

    func index(trusting annotations: Bool = true) throws -> LayerIndex {
        try LayerIndex.read(open(), annotations: annotations ? summary.annotations : [])
    }

    func check() throws -> IndexCheckReport {
        let file = try open()
        return try LayerIndex.read(file, annotations: summary.annotations).check(file)
    }
}

func options(_ format: IndexedFormat, _ change: (inout IndexedLayerOptions) -> Void = { _ in }) -> IndexedLayerOptions {
    var options = IndexedLayerOptions(format)
    options.workers = 2
    change(&options)
    return options
}

/// One of everything.
let everything: [Item] = {
    let long = generated(400_000)
    let zeros = [UInt8](repeating: 0, count: 5000)
    return [
        Item("./", type: TarType.directory).with { $0.mode = 0o755 }, Item("./empty"),
        Item("one", Array("hello\n".utf8)),
        Item("long", long).with { $0.mtime = (1_700_000_000, 500_000_000) },
        Item("holes", Array(long[..<3000]) + zeros + Array(long[..<3000]) + zeros).with { $0.mode = 0o4755 },
        Item("zeros", [UInt8](repeating: 0, count: 2000)).with { $0.mtime = (0, 0) },
        Item("link", type: TarType.symbolicLink, link: "../a\"b\\c<&>"),
        Item("hard", type: TarType.hardLink, link: "one"),
        Item("dev", type: TarType.character), Item("fifo", type: TarType.fifo),
        Item("before", [1]).with { $0.mtime = (-1, 0) },
        Item("attributes", [2]).with {
            $0.attributes = [("user.x", [0, 255]), ("user.empty", []), ("security.capability", Array(0..<20))]
        },
        Item("name \u{1}\u{2028}é", [3]).with { $0.uid = 5_000_000 }, Item("end", Array(long[..<700])),
    ]
}()

@Suite struct IndexedLayerTests {
    @Test(arguments: [0, 1024, 10_240 - 512, 1_000_000])
    func `zstd:chunked decompresses to the tar, and its index says what is in it`(trailer: Int) throws {
        let tar = try archive(everything, trailer: trailer)
        let layer = try WrittenLayer(tar, options(.zstdChunked))
        #expect(layer.summary.obstacle == nil)
        #expect(try layer.decompressed() == tar)
        #expect(layer.summary.diffID == Digest.of(tar.rawBytes))
        let report = try layer.check()
        #expect(report.entries == everything.count && report.hasTarSplit && report.diffID == layer.summary.diffID)
        let (index, hinted) = (try layer.index(), try layer.index(trusting: false))
        #expect(index.location == hinted.location)
        let table = index.table
        let found = table.entries.map { String(decoding: table.name($0).copied(), as: UTF8.self) }
        #expect(found == everything.map { String(decoding: $0.name, as: UTF8.self) })
        func pieces(_ name: String) -> [Int64] {
            table.entries[found.firstIndex(of: name) ?? 0].pieces.map {
                table.pieces[$0].byteCount * (table.pieces[$0].isZeros ? -1 : 1)
            }
        }
        #expect(pieces("long") == [49253, 65256, 41131, 11963, 77785, 18138, 75174, 35905, 25395])
        #expect(pieces("holes") == [3000, -5000, 3000, -5000])
        #expect(pieces("zeros") == [2000] && pieces("one") == [6] && pieces("./empty") == [])
    }

    @Test(arguments: [
        options(.zstdChunked), options(.estargz), options(.estargz) { $0.chunkSize = 65_536 },
        options(.estargz) {
            $0.chunkSize = 4096; $0.minChunkSize = 100_000
        }, options(.estargz) { $0.keepsDiffID = true },
    ])
    func `bytes depend neither on workers nor on how the tar came`(options: IndexedLayerOptions) throws {
        let tar = try archive(everything)
        let first = try WrittenLayer(tar, options)
        for (workers, window) in [(1, 512), (1, 77), (7, 1 << 20)] {
            var other = options
            other.workers = workers
            #expect(try WrittenLayer(tar, other, window: window).bytes == first.bytes)
        }
    }

    @Test(arguments: [(4 << 20, 0), (65_536, 0), (4096, 100_000), (1000, 1)])
    func `eStargz is an archive with a landmark and its table in it`(chunkSize: Int, minChunkSize: Int) throws {
        let tar = try archive(everything)
        let layer = try WrittenLayer(
            tar,
            options(.estargz) {
                $0.chunkSize = chunkSize
                $0.minChunkSize = minChunkSize
            })
        #expect(layer.summary.obstacle == nil)
        let plain = try layer.decompressed()
        #expect(layer.summary.diffID == Digest.of(plain.rawBytes))
        // The landmark's header and its block come first, the table and the end last.
        #expect(plain[1024..<1024 + tar.count - 1024] == tar[..<(tar.count - 1024)])
        #expect(plain.suffix(1024).allSatisfy { $0 == 0 })
        let report = try layer.check()
        #expect(report.entries == everything.count + 1 && report.diffID == layer.summary.diffID)
        #expect(
            layer.summary.annotations.last
                == IndexAnnotation("io.containers.estargz.uncompressed-size", plain.count.description))
        let table = try layer.index().table
        let names = table.entries.map { String(decoding: table.name($0).copied(), as: UTF8.self) }
        #expect(names.first == ".no.prefetch.landmark")
        let long = table.entries[names.firstIndex(of: "long") ?? 0]
        #expect(long.pieces.count == (400_000 + chunkSize - 1) / chunkSize)
        #expect(long.modified.seconds == 1_700_000_001)
    }

    @Test func `eStargz can leave the tar as it is, and give its table apart`() throws {
        let tar = try archive(everything, trailer: 9728)
        let layer = try WrittenLayer(tar, options(.estargz) { $0.keepsDiffID = true })
        #expect(try layer.decompressed() == tar)
        #expect(layer.summary.diffID == Digest.of(tar.rawBytes))
        #expect(layer.bytes.suffix(46).starts(with: [0x1f, 0x8b, 0x08, 0x04]))
        let table = try WrittenLayer(try #require(layer.summary.table), layer.summary)
        let inside = try table.decompressed()
        #expect(inside.starts(with: "stargz.index.json".utf8) && inside.count % 512 == 0)
    }

    @Test func `landmarks and tables of the input give way to new ones`() throws {
        let tar = try archive(everything)
        let first = try WrittenLayer(tar, options(.estargz))
        let again = try WrittenLayer(try first.decompressed(), options(.estargz))
        #expect(again.bytes == first.bytes)
    }

    @Test(arguments: [[], [Item("d/", type: TarType.directory)], [Item("e")]] as [[Item]])
    func `layers without contents have an index too`(items: [Item]) throws {
        let tar = try archive(items)
        for format in IndexedFormat.allCases {
            let layer = try WrittenLayer(tar, options(format))
            #expect(layer.summary.obstacle == nil)
            #expect(try layer.check().pieces == (format == .estargz ? 1 : 0))
        }
    }

    static let obstacles: [(String, [Item], @Sendable (IndexObstacle) -> Bool)] = [
        ("name", [Item("x").with { $0.name = [0xff] }], { $0 == .nameNotUTF8(PathBytes([0xff])) }),
        (
            "target", [Item("l", type: TarType.symbolicLink).with { $0.link = [0xff] }],
            { $0 == .linkNotUTF8(PathBytes("l")) }
        ),
        ("twice", [Item("a"), Item("./a", [1])], { $0 == .repeatedName(PathBytes("./a")) }),
        (
            "later target", [Item("h", type: TarType.hardLink, link: "x"), Item("x")],
            { $0 == .missingTarget(PathBytes("h")) }
        ),
        ("far time", [Item("t").with { $0.mtime = (1 << 40, 0) }], { $0 == .time(PathBytes("t")) }),
        ("kind", [Item("c", [1]).with { $0.type = TarType.contiguous }], { $0 == .type(PathBytes("c")) }),
    ]

    @Test(arguments: obstacles.indices)
    func `what an index cannot say leaves a plain layer`(number: Int) throws {
        let (_, items, isRight) = Self.obstacles[number]
        // Files before and behind: the frames are right whenever the reason shows.
        let tar = try archive([Item("first", generated(300_000))] + items + [Item("last", generated(5000))])
        for format in IndexedFormat.allCases {
            let layer = try WrittenLayer(tar, options(format))
            #expect(layer.summary.obstacle.map(isRight) == true && layer.summary.annotations.isEmpty)
            let plain = try layer.decompressed()
            #expect(layer.summary.diffID == Digest.of(plain.rawBytes))
            #expect(format == .zstdChunked ? plain == tar : plain.dropFirst(1024).elementsEqual(tar))
            #expect(throws: LayerError.self) { try layer.index() }
            #expect(throws: LayerError.self) { try WrittenLayer(tar, options(format) { $0.requiresIndex = true }) }
        }
    }

    @Test func `long runs of zeros cost no memory, and long files are cut`() throws {
        let tar = try archive([
            Item("zeros", [UInt8](repeating: 0, count: 9 << 20)), Item("a", [UInt8](repeating: 0x61, count: 9 << 20)),
            Item("mixed", Array("x".utf8) + [UInt8](repeating: 0, count: 20 << 20) + Array("y".utf8)),
        ])
        let layer = try WrittenLayer(tar, options(.zstdChunked), window: 1 << 20)
        #expect(layer.bytes.count < 20_000)
        let table = try layer.index().table
        let mebi: Int64 = 1 << 20
        let lengths: [Int64] = [9 * mebi, 4 * mebi, 4 * mebi, mebi, 1, 20 * mebi, 1]
        #expect(table.pieces.map(\.byteCount) == lengths)
        #expect(table.pieces.map(\.isZeros) == [false, false, false, false, false, true, false])
        _ = try layer.check()
    }

    @Test func `headers longer than a frame are cut too`() throws {
        let items = (0..<12_000).map { Item("directory/with/a/long/name/\($0)") } + [Item("f", [1])]
        let tar = try archive(items)
        for format in IndexedFormat.allCases {
            let layer = try WrittenLayer(tar, options(format), window: 1 << 20)
            #expect(layer.summary.frames > 2)
            _ = try layer.check()
        }
    }

    @Test func `the text of the table is what other readers want`() throws {
        let tar = try archive([
            Item("d/", type: TarType.directory).with { $0.mode = 0o755 },
            Item("d/f", Array("hello\n".utf8)).with {
                $0.mtime = (1_700_000_000, 500_000_000)
                $0.attributes = [("user.x", [0, 255])]
            },
        ])
        let layer = try WrittenLayer(tar, options(.zstdChunked))
        guard case .zstd(let place, _) = try layer.index().location else {
            Issue.record("no place")
            return
        }
        let file = try layer.open()
        var stream = try FrameStream(.zstd, range: place.offset..<place.offset + place.byteCount)
        let slab = Slab(capacity: 1 << 20)
        while try stream.next(slab, from: file) != .end {}
        let value = try JSONValue(slab.bytes)
        let entries = value["entries"]?.elements ?? []
        #expect(
            entries[0].bytes().elementsEqual(
                #"{"type":"dir","name":"d/","mode":493,"modtime":"2023-11-14T22:13:20Z"}"#.utf8))
        #expect(
            entries[1]["digest"]?.string == "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
        #expect(entries[1]["modtime"]?.string == "2023-11-14T22:13:20.5Z")
        #expect(entries[1]["xattrs"]?.bytes().elementsEqual(#"{"user.x":"AP8="}"#.utf8) == true)
        #expect(entries[1]["chunkSize"] == nil && entries[1]["offset"] != nil && entries[1]["endOffset"] != nil)
        #expect(value["tarSplitDigest"]?.string?.hasPrefix("sha256:") == true)
    }
}
