import Foundation
import LayerCompression
import LayerModel
import PlainJSON
import TarCodec
import Testing

@testable import LayerFormats

private func zstd(_ bytes: [UInt8]) throws -> [UInt8] {
    var sink = try ZstdSink(MemorySink(), workers: 1)
    try sink.write(bytes.rawBytes)
    try sink.finish()
    return sink.base.bytes
}

private func unpacked(_ layer: WrittenLayer, _ place: IndexPlace) throws -> [UInt8] {
    let file = try layer.open()
    var stream = try FrameStream(.zstd, range: place.offset..<place.offset + place.byteCount)
    let slab = Slab(capacity: 4 << 20)
    while try stream.next(slab, from: file) != .end {}
    return slab.bytes.copied()
}

/// A zstd:chunked layer whose index is made anew from changed texts.
func respun(
    _ layer: WrittenLayer, table change: (String) -> String = { $0 }, tarSplit: (String) -> String = { $0 },
    announced: (UInt64) -> UInt64 = { $0 }, fixesDigest: Bool = true
) throws -> WrittenLayer {
    guard case .zstd(let table, let split) = try layer.index().location else { throw Missing() }
    let splitText = Array(tarSplit(String(decoding: try unpacked(layer, split), as: UTF8.self)).utf8)
    let newSplit = try zstd(splitText)
    var text = change(String(decoding: try unpacked(layer, table), as: UTF8.self))
    if fixesDigest, let digest = layer.summary.annotations.isEmpty ? nil : try layer.index().table.tarSplitDigest {
        text = text.replacingOccurrences(of: digest.description, with: Digest.of(newSplit.rawBytes).description)
    }
    let newTable = try zstd(Array(text.utf8))
    var bytes = Array(layer.bytes[..<(Int(table.offset) - 8)])
    func place(_ frame: [UInt8], _ byteCount: UInt64) -> IndexPlace {
        bytes += IndexFooter.skippable(frame.count)
        let offset = UInt64(bytes.count)
        bytes += frame
        return IndexPlace(offset: offset, byteCount: UInt64(frame.count), uncompressedByteCount: byteCount)
    }
    let tablePlace = place(newTable, announced(UInt64(text.utf8.count)))
    let splitPlace = place(newSplit, UInt64(splitText.count))
    bytes += IndexFooter.zstd(tablePlace, splitPlace)
    var summary = layer.summary
    summary.annotations = [
        IndexAnnotation(IndexAnnotation.manifestChecksum, Digest.of(newTable.rawBytes).description),
        IndexAnnotation(
            IndexAnnotation.manifestPosition,
            "\(tablePlace.offset):\(tablePlace.byteCount):\(tablePlace.uncompressedByteCount):1"),
        IndexAnnotation(
            IndexAnnotation.tarSplitPosition,
            "\(splitPlace.offset):\(splitPlace.byteCount):\(splitPlace.uncompressedByteCount)"),
    ]
    return try WrittenLayer(bytes, summary)
}

private struct Missing: Error {}

func failure(_ body: () throws -> Void) -> LayerError? {
    do {
        try body()
        return nil
    } catch { return error as? LayerError }
}

func replacing(_ one: String, _ other: String) -> @Sendable (String) -> String {
    { text in
        guard let range = text.range(of: one) else { return "nothing to replace" }
        return text.replacingCharacters(in: range, with: other)
    }
}

/// A change of the table's text, and what it comes to.
struct TableChange: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var code: LayerError.Code
    var change: @Sendable (String) -> String

    init(_ name: String, _ code: LayerError.Code = .corruptLayer, change: @escaping @Sendable (String) -> String) {
        testDescription = name
        self.code = code
        self.change = change
    }
}

@Suite struct HostileIndexTests {
    static func layer() throws -> WrittenLayer {
        try WrittenLayer(
            archive([
                Item("d/", type: TarType.directory).with { $0.mode = 0o755 },
                Item("a", Array("aaaaaa".utf8)).with { $0.attributes = [("user.x", [0, 255])] },
                Item("b", Array("bbbbbb".utf8)), Item("h", type: TarType.hardLink, link: "a"),
                Item("s", type: TarType.symbolicLink, link: "t"), Item("c", type: TarType.character),
                Item("long", generated(400_000) + [UInt8](repeating: 0, count: 5000) + [1]),
            ]), options(.zstdChunked))
    }

    private static let zeros5000 = Digest.of([UInt8](repeating: 0, count: 5000).rawBytes).description

    static let malformed: [TableChange] = [
        TableChange("version 2", change: replacing("\"version\":1", "\"version\":2")),
        TableChange("no version", change: replacing("\"version\":1,", "")),
        TableChange("key twice", change: replacing("\"version\":1", "\"version\":1,\"version\":1")),
        TableChange("key twice in an entry", change: replacing("\"mode\":493", "\"mode\":493,\"mode\":493")),
        TableChange("unknown key twice", change: replacing("\"mode\":493", "\"mode\":493,\"x\":1,\"\\u0078\":2")),
        TableChange("key in capitals", change: replacing("\"name\":\"b\"", "\"NAME\":\"b\"")),
        TableChange("another key in capitals", change: replacing("\"mode\":493", "\"Mode\":493")),
        TableChange("fraction", change: replacing("\"size\":6", "\"size\":6.0")),
        TableChange("negative", change: replacing("\"size\":6", "\"size\":-6")),
        TableChange("too large", change: replacing("\"size\":6", "\"size\":9223372036854775808")),
        TableChange("deep") { text in
            text.replacingOccurrences(
                of: "\"version\":1",
                with: "\"version\":1,\"x\":" + String(repeating: "[", count: 10_000)
                    + String(repeating: "]", count: 10_000))
        },
        TableChange("deep in an entry", change: replacing("\"mode\":493", "\"mode\":493,\"x\":[[[[[[[[1]]]]]]]]")),
        TableChange("bytes behind") { $0 + "{}" },
        TableChange("cut short") { String($0.dropLast(3)) },
        TableChange("no entries", change: replacing("\"entries\"", "\"entriez\"")),
        TableChange("entries that are numbers", change: replacing("\"entries\":[", "\"entries\":[0,")),
        TableChange("unknown type", change: replacing("\"type\":\"dir\"", "\"type\":\"door\"")),
        TableChange("no type", change: replacing("\"type\":\"dir\",", "")),
        TableChange("empty name", change: replacing("\"name\":\"b\"", "\"name\":\"\"")),
        TableChange("NUL in a name", change: replacing("\"name\":\"b\"", "\"name\":\"b\\u0000\"")),
        TableChange(
            "long name",
            change: replacing("\"name\":\"b\"", "\"name\":\"" + String(repeating: "b/", count: 3000) + "\"")),
        TableChange(
            "long part", change: replacing("\"name\":\"b\"", "\"name\":\"" + String(repeating: "b", count: 300) + "\"")),
        TableChange("name that leads out", .unsafePath, change: replacing("\"name\":\"b\"", "\"name\":\"../b\"")),
        TableChange("name twice", change: replacing("\"name\":\"b\"", "\"name\":\"./a\"")),
        TableChange("link to what comes later", change: replacing("\"linkName\":\"a\"", "\"linkName\":\"long\"")),
        TableChange("attribute that is no base 64", change: replacing("\"AP8=\"", "\"AP8\"")),
        TableChange(
            "digest in capitals",
            change: { text in
                guard let range = text.range(of: "\"digest\":\"sha256:") else { return "" }
                return text.replacingCharacters(in: range, with: "\"digest\":\"SHA256:")
            }),
        TableChange(
            "no digest",
            change: { text in
                text.replacingOccurrences(
                    of: #""digest":"sha256:[0-9a-f]{64}","offset":"#, with: "\"offset\":", options: .regularExpression)
            }),
        TableChange("contents of a directory", change: replacing("\"mode\":493", "\"mode\":493,\"offset\":10")),
        TableChange(
            "offset 0",
            change: { text in
                text.replacingOccurrences(of: #""offset":[0-9]+"#, with: "\"offset\":0", options: .regularExpression)
            }),
        TableChange(
            "offsets in another order",
            change: { text in
                text.replacingOccurrences(of: #""offset":[0-9]+"#, with: "\"offset\":77", options: .regularExpression)
            }),
        TableChange(
            "end in the table",
            change: { text in
                text.replacingOccurrences(
                    of: #""endOffset":[0-9]+"#, with: "\"endOffset\":1099511627776", options: .regularExpression)
            }),
        TableChange(
            "no end",
            change: { text in
                text.replacingOccurrences(of: #","endOffset":[0-9]+"#, with: "", options: .regularExpression)
            }),
        TableChange("gap between pieces", change: replacing("\"chunkOffset\":49253", "\"chunkOffset\":49254")),
        TableChange("overlap of pieces", change: replacing("\"chunkOffset\":49253", "\"chunkOffset\":49252")),
        TableChange("piece below zero", change: replacing("\"chunkOffset\":49253", "\"chunkOffset\":-1")),
        TableChange("pieces too short", change: replacing("\"chunkSize\":65256", "\"chunkSize\":65255")),
        TableChange(
            "piece of another file",
            change: { text in
                text.replacingOccurrences(of: #"{"type":"chunk","name":"long""#, with: #"{"type":"chunk","name":"a""#)
            }),
        TableChange(
            "piece before any file",
            change: replacing(
                "\"entries\":[", "\"entries\":[{\"type\":\"chunk\",\"name\":\"x\",\"offset\":1,\"chunkSize\":1},")),
        TableChange(
            "piece without digest",
            change: { text in
                text.replacingOccurrences(
                    of: #","chunkDigest":"sha256:[0-9a-f]{64}""#, with: "", options: .regularExpression)
            }),
        TableChange("unknown kind of piece", change: replacing("\"chunkType\":\"zeros\"", "\"chunkType\":\"ones\"")),
        TableChange(
            "zeros with the digest of something else", change: replacing(zeros5000, Digest.of([1].rawBytes).description)
        ),
        TableChange("one piece with fields of several", change: replacing("\"size\":6", "\"size\":6,\"chunkSize\":6")),
        TableChange(
            "sizes beyond all", .limitExceeded,
            change: { text in
                text.replacingOccurrences(of: "\"size\":6", with: "\"size\":4611686018427387904")
            }),
        TableChange("time that is none", change: replacing("2023-11-14T22:13:20Z", "2023-13-14T22:13:20Z")),
        TableChange("byte order mark") { "\u{feff}" + $0 },
        TableChange("white space that is none") { $0 + "\u{b}" },
    ]

    @Test(arguments: malformed)
    func `a table that breaks a rule is refused before anything is read`(change: TableChange) throws {
        let spoilt = try respun(Self.layer(), table: change.change)
        let error = failure { _ = try spoilt.index() }
        #expect(error?.code == change.code, "\(error?.description ?? "taken")")
        #expect(error?.description.contains("\n") == false)
    }

    @Test(arguments: [
        TableChange("as it is") { $0 }, TableChange("white space") { $0 + " \n\t" },
        TableChange("unknown field", change: replacing("\"mode\":493", "\"mode\":493,\"x\":{\"y\":[1,{}]}")),
        TableChange(
            "unknown field beside", change: replacing("\"version\":1", "\"version\":1,\"x\":[{\"type\":\"reg\"}]")),
        TableChange(
            "other order",
            change: { text in
                text.replacingOccurrences(of: "{\"version\":1,", with: "{").dropLast() + ",\"version\":1}"
            }),
        TableChange("local time", change: replacing("2023-11-14T22:13:20Z", "2023-11-15T00:13:20+02:00")),
        TableChange("spaces", change: { $0.replacingOccurrences(of: "\"entries\":[", with: "\"entries\" : [ ") }),
    ])
    func `what says the same is taken`(change: TableChange) throws {
        _ = try respun(Self.layer(), table: change.change).check()
    }

    static let lies: [TableChange] = [
        TableChange("mode", change: replacing("\"mode\":493", "\"mode\":492")),
        TableChange("owner", change: replacing("\"mode\":493", "\"mode\":493,\"uid\":1")),
        TableChange("time", change: replacing("2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z")),
        TableChange("attribute", change: replacing("AP8=", "AP4=")),
        TableChange("missing attribute", change: replacing("\"xattrs\":{\"user.x\":\"AP8=\"},", "")),
        TableChange("target", change: replacing("\"linkName\":\"t\"", "\"linkName\":\"u\"")),
        TableChange("device", change: replacing("\"devMinor\":3", "\"devMinor\":4")),
        TableChange("kind", change: replacing("\"type\":\"char\"", "\"type\":\"block\"")),
        TableChange("name", change: replacing("\"name\":\"b\"", "\"name\":\"x\"")),
        TableChange("size", change: replacing("\"size\":6", "\"size\":7")),
        TableChange(
            "missing entry",
            change: replacing(
                "{\"type\":\"symlink\",\"name\":\"s\",\"linkName\":\"t\",\"mode\":420,\"modtime\":\"2023-11-14T22:13:20Z\"},",
                "")),
        TableChange(
            "entry too many", change: replacing("\"entries\":[", "\"entries\":[{\"type\":\"dir\",\"name\":\"n\"},")),
        TableChange(
            "digest of a piece", .digestMismatch,
            change: { text in
                text.replacingOccurrences(
                    of: #"("chunkOffset":49253,"chunkDigest":"sha256:)[0-9a-f]{4}"#, with: "$10000",
                    options: .regularExpression)
            }),
        TableChange(
            "digest of a file", .digestMismatch,
            change: { text in
                text.replacingOccurrences(
                    of: Digest.of(Array("aaaaaa".utf8).rawBytes).hexadecimal, with: Digest.of([1].rawBytes).hexadecimal)
            }),
        TableChange(
            "place",
            change: { text in
                // The first file's frame begins a byte later.
                guard let range = text.range(of: #""offset":[0-9]+"#, options: .regularExpression) else { return "" }
                let number = Int(text[range].dropFirst(9)) ?? 0
                return text.replacingCharacters(in: range, with: "\"offset\":\(number + 1)")
            }),
    ]

    @Test(arguments: lies)
    func `a table that says what the layer does not is found out`(change: TableChange) throws {
        let spoilt = try respun(Self.layer(), table: change.change)
        let error = failure { _ = try spoilt.check() }
        #expect(error?.code == change.code, "\(error?.description ?? "taken")")
    }

    static let splits: [TableChange] = [
        TableChange("last line missing", change: { $0.split(separator: "\n").dropLast().joined(separator: "\n") }),
        TableChange("another name", change: replacing("\"name\":\"b\"", "\"name\":\"x\"")),
        TableChange("another size", change: replacing("\"size\":6", "\"size\":7")),
        TableChange("no JSON", change: replacing("\"type\":1", "\"type\":3")),
        TableChange(
            "another checksum",
            change: { text in
                text.replacingOccurrences(of: #"("size":6,"payload":")..."#, with: "$1AAA", options: .regularExpression)
            }),
        TableChange(
            "other headers",
            change: { text in
                text.replacingOccurrences(of: #"("type":2,"payload":")..."#, with: "$1AAA", options: .regularExpression)
            }),
    ]

    @Test(arguments: splits)
    func `a tar-split that says something else is found out`(change: TableChange) throws {
        let spoilt = try respun(Self.layer(), tarSplit: change.change)
        #expect(failure { _ = try spoilt.check() }?.code == .corruptLayer)
    }

    @Test func `a tar-split of another digest is found out`() throws {
        let spoilt = try respun(Self.layer(), tarSplit: { $0 + "\n" }, fixesDigest: false)
        #expect(failure { _ = try spoilt.check() }?.code == .digestMismatch)
    }

    @Test(arguments: [
        (IndexAnnotation.manifestPosition, "-1:10:10:1"), (IndexAnnotation.manifestPosition, "+10:10:10:1"),
        (IndexAnnotation.manifestPosition, "10:10:10:1:1"), (IndexAnnotation.manifestPosition, "10:10:10:2"),
        (IndexAnnotation.manifestPosition, "18446744073709551616:10:10:1"),
        (IndexAnnotation.manifestPosition, "010:10:10:1"),
        (IndexAnnotation.manifestPosition, "9223372036854775807:9223372036854775807:10:1"),
        (IndexAnnotation.manifestPosition, "10:9999999999:10:1"), (IndexAnnotation.manifestPosition, "10:10:10"),
        (IndexAnnotation.manifestPosition, ""), (IndexAnnotation.tarSplitPosition, "x"),
        (IndexAnnotation.tarSplitPosition, nil),
        (IndexAnnotation.manifestChecksum, "sha256:12"), (IndexAnnotation.manifestChecksum, "md5:12"),
        (IndexAnnotation.tableDigest, "sha256:" + String(repeating: "a", count: 64)),
    ])
    func `annotations that say nothing sensible are refused`(key: String, value: String?) throws {
        let layer = try Self.layer()
        var said = layer.summary.annotations.filter { $0.key != key }
        if let value { said.append(IndexAnnotation(key, value)) }
        let error = failure { _ = try LayerIndex.read(layer.open(), annotations: said) }
        #expect(error?.code == .corruptLayer, "\(error?.description ?? "taken")")
    }

    @Test func `a table of another digest is refused before it is unpacked`() throws {
        let layer = try Self.layer()
        var said = layer.summary.annotations
        said[0] = IndexAnnotation(said[0].key, Digest.of([7].rawBytes).description)
        #expect(failure { _ = try LayerIndex.read(layer.open(), annotations: said) }?.code == .digestMismatch)
    }

    @Test(arguments: [UInt64(100), 1_000_000])
    func `a table of another length than announced is refused`(length: UInt64) throws {
        let spoilt = try respun(Self.layer(), announced: { _ in length })
        #expect(failure { _ = try spoilt.index() }?.code == .corruptLayer)
    }

    @Test func `a length beyond all is refused, and nothing is allocated`() throws {
        let spoilt = try respun(Self.layer(), announced: { _ in 1_000_000_000_000 })
        #expect(failure { _ = try spoilt.index() }?.code == .limitExceeded)
    }

    @Test func `a byte of a frame that is flipped is found`() throws {
        let layer = try Self.layer()
        guard let piece = try layer.index().table.pieces.dropFirst(2).first else { throw Missing() }
        for at in [Int(piece.offset) + 20, Int(piece.offset) + 5000] {
            var bytes = layer.bytes
            bytes[at] ^= 1
            let spoilt = try WrittenLayer(bytes, layer.summary)
            #expect(failure { _ = try spoilt.check() } != nil)
        }
    }

    @Test func `footers that are damaged are no footers, and annotations do without them`() throws {
        let layer = try Self.layer()
        let cases: [[UInt8]] = [
            Array(layer.bytes.dropLast(9)), Array(layer.bytes.dropLast(72)), layer.bytes + [0],
            layer.bytes.dropLast(8) + Array("GnUlInUx".utf8),
        ]
        for bytes in cases {
            let spoilt = try WrittenLayer(bytes, layer.summary)
            #expect(failure { _ = try spoilt.index(trusting: false) }?.code == .notFound)
            #expect(try spoilt.index().table.entries.count == 7)
        }
        let gzip = try WrittenLayer(archive([Item("a", [1])]), options(.estargz))
        var capital = gzip.bytes
        let digits = capital.count - 51 + 16
        for index in digits..<digits + 16 where capital[index] >= 0x61 { capital[index] -= 0x20 }
        if capital == gzip.bytes { capital[digits + 15] = 0x47 }
        var far = gzip.bytes
        far.replaceSubrange(digits..<digits + 16, with: Array("00000000ffffffff".utf8))
        for bytes in [capital, far, gzip.bytes + [0]] {
            let spoilt = try WrittenLayer(bytes, gzip.summary)
            #expect(failure { _ = try spoilt.index(trusting: false) }?.code == .notFound)
        }
    }

    @Test func `footers of early writers are known`() throws {
        let layer = try Self.layer()
        guard case .zstd(let table, _) = try layer.index().location else { throw Missing() }
        var old = IndexFooter.skippableMagic + [40, 0, 0, 0]
        for word in [table.offset, table.byteCount, table.uncompressedByteCount, 1] {
            for shift in stride(from: UInt64(0), to: 64, by: 8) { old.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        old += Array("GnUlInUx".utf8)
        let first = try WrittenLayer(Array(layer.bytes.dropLast(72)) + old, layer.summary)
        #expect(try first.index(trusting: false).location == .oldZstd(table: table))
        let gzip = try WrittenLayer(archive([Item("a", [1])]), options(.estargz))
        guard case .gzip(let offset) = try gzip.index().location else { throw Missing() }
        var stargz: [UInt8] = [0x1f, 0x8b, 0x08, 0x04, 0, 0, 0, 0, 0, 0xff, 22, 0]
        stargz += IndexFooter.estargz(offset)[16..<38] + [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]
        let legacy = try WrittenLayer(Array(gzip.bytes.dropLast(51)) + stargz, gzip.summary)
        #expect(try legacy.index(trusting: false).location == .oldGzip(tableOffset: offset))
    }

    @Test(
        arguments: [
            (0, 0, "1970-01-01T00:00:00Z"), (-1, 0, "1969-12-31T23:59:59Z"),
            (1_700_000_000, 123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (951_782_400, 100, "2000-02-29T00:00:00.0000001Z"), (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"), (-2_203_891_200, 0, "1900-03-01T00:00:00Z"),
        ] as [(Int64, Int32, String)])
    func `times are written and read`(seconds: Int64, nanoseconds: Int32, text: String) {
        var written: [UInt8] = []
        IndexTime.append(seconds, nanoseconds, to: &written)
        #expect(String(decoding: written, as: UTF8.self) == text)
        let read = IndexTime.parse(written.rawBytes)
        #expect(read?.seconds == seconds && read?.nanoseconds == nanoseconds)
    }

    @Test(arguments: [
        "", "2023-11-14", "2023-11-14T22:13:20", "2023-02-29T00:00:00Z", "2023-11-14T24:00:00Z", "2023-11-14T22:13:60Z",
        "2023-11-14T22:13:20.Z", "2023-11-14T22:13:20.1234567890Z", "2023-11-14T22:13:20+0200", "2023-11-14T22:13:20ZZ",
        "2023-1-14T22:13:20Z0", "+023-11-14T22:13:20Z",
    ])
    func `what is no time is none`(text: String) { #expect(IndexTime.parse(Array(text.utf8).rawBytes) == nil) }
}
