import TarCodec
import Testing

/// An archive and the one error it must end in, or the names it must give.
struct DecoderCase: CustomTestStringConvertible, Sendable {
    let id: String
    let archive: @Sendable () -> RawArchive
    /// Names of the entries, in order.
    var names: [String] = []
    var types: String?
    var error: (kind: TarError.Kind, reason: TarReason, offset: UInt64)?

    var testDescription: String { id }
}

private let empty = RawArchive()

struct DecoderTests {
    static let cases: [DecoderCase] = [
        DecoderCase(id: "T123 no bytes", archive: { empty }),
        DecoderCase(id: "T124 one zero block", archive: { empty.file("f", "x").end(blocks: 1) }, names: ["f"]),
        DecoderCase(
            id: "T125 zero block, then a header", archive: { empty.file("f", "x").end(blocks: 1).file("g", "") },
            names: ["f"], error: (.invalidHeader, .blockAfterZeroBlock, 1536)),
        DecoderCase(id: "T126 no end mark", archive: { empty.file("f", "x").file("g", "") }, names: ["f", "g"]),
        DecoderCase(
            id: "T127 trailing bytes are not read", archive: { empty.file("f", "").end().body("garbage") },
            names: ["f"]),
        DecoderCase(
            id: "T133 truncated in a header",
            archive: { RawArchive(bytes: Array(empty.file("f", "").bytes.prefix(511))) },
            error: (.unexpectedEOF, .truncatedHeader, 0)),
        DecoderCase(
            id: "T133 truncated in a body", archive: { empty.file("e", "").header("f", size: 600).body("short") },
            names: ["e", "f"], error: (.unexpectedEOF, .truncatedBody, 512)),
        DecoderCase(
            id: "T133 truncated in a PAX header",
            archive: { RawArchive(bytes: Array(empty.pax([("path", "p")]).bytes.prefix(520))) },
            error: (.unexpectedEOF, .truncatedMeta, 0)),
        DecoderCase(
            id: "R9 truncated in the padding of a body",
            archive: { RawArchive(bytes: Array(empty.file("f", "x").bytes.prefix(1000))) }, names: ["f"],
            error: (.unexpectedEOF, .truncatedBody, 0)),
        DecoderCase(
            id: "T113 type NUL", archive: { empty.header("foo/", type: "\0").header("foo", type: "\0") },
            names: ["foo/", "foo"], types: "50"),
        DecoderCase(
            id: "T113 a file with a slash stays a file", archive: { empty.header("foo/") }, names: ["foo/"],
            types: "0"),
        DecoderCase(
            id: "T114 T115 other types have bodies",
            archive: {
                empty.header("c", type: "7", size: 1).body("x").header("v", type: "V", size: 1).body("x")
                    .header("d", type: "D", size: 1).body("x")
            }, names: ["c", "v", "d"], types: "7VD"),
        DecoderCase(
            id: "T112 names are surfaced as they are", archive: { empty.header("/a").header("./a").header("a//b/./c") },
            names: ["/a", "./a", "a//b/./c"]),
        DecoderCase(
            id: "R7 bodyless types have none, whatever the size says",
            archive: {
                "123456".reduce(empty) { $0.header("n", type: $1, size: 5) }.file("last", "body")
            }, names: ["n", "n", "n", "n", "n", "n", "last"], types: "1234560"),
        DecoderCase(
            id: "V27 a body behind a directory of type NUL is no header",
            archive: { empty.header("d/", type: "\0", size: 512).body(String(repeating: "b", count: 512)) },
            names: ["d/"], types: "5", error: (.invalidHeader, .badChecksum, 512)),
        DecoderCase(
            id: "V27 a body behind a hard link is no header",
            archive: {
                empty.header("h", type: "1", size: 512, link: "f").body(String(repeating: "b", count: 512))
            }, names: ["h"], error: (.invalidHeader, .badChecksum, 512)),
        DecoderCase(
            id: "T121 an empty value keeps the header's", archive: { empty.pax([("path", "")]).file("ustar", "") },
            names: ["ustar"]),
        DecoderCase(
            id: "R4 an empty duplicate keeps the header's",
            archive: { empty.pax([("path", "p"), ("path", "")]).file("ustar", "") }, names: ["ustar"]),
        DecoderCase(
            id: "R4 the last duplicate wins", archive: { empty.pax([("path", "p"), ("path", "q")]).file("u", "") },
            names: ["q"]),
        DecoderCase(
            id: "T122 L over PAX path",
            archive: {
                let name = Array("long\0rest".utf8)
                return empty.meta("L", name, magic: .gnu).pax([("path", "pax")]).file("u", "").file("v", "")
            }, names: ["long", "v"]),
        DecoderCase(
            id: "R4 an empty L does not count", archive: { empty.meta("L", [0], magic: .gnu).file("u", "") },
            names: ["u"]),
        DecoderCase(
            id: "R4 a later PAX header replaces an earlier one",
            archive: { empty.pax([("path", "p"), ("uid", "7")]).pax([("mtime", "1")]).file("u", "") }, names: ["u"]),
        DecoderCase(
            id: "R4 meta entries of one kind do not bring back those of an entry before",
            archive: {
                empty.meta("L", [0x6c], magic: .gnu).file("a", "").pax([("uid", "1")]).file("b", "")
                    .pax([("path", "p")]).file("c", "").meta("K", [0x6b], magic: .gnu).file("d", "")
            }, names: ["l", "b", "p", "d"]),
        DecoderCase(
            id: "R6 global headers are skipped",
            archive: {
                empty.pax([("path", "etc")], type: "g").file("a", "").pax([("path", "p")])
                    .pax([("comment", "c")], type: "g").file("b", "")
            }, names: ["a", "b"]),
        DecoderCase(
            id: "R6 a malformed global header",
            archive: { empty.meta("g", Array("nonsense".utf8)).file("a", "") },
            error: (.invalidHeader, .badPaxRecord, 0)),
        DecoderCase(
            id: "V15 PAX header of 2 MiB", archive: { empty.file("f", "").header("x", type: "x", size: 2 << 20) },
            names: ["f"], error: (.fieldTooLong, .metaTooLong, 512)),
        DecoderCase(
            id: "V15 long name of 1 GiB", archive: { empty.header("L", type: "L", size: 1 << 30, magic: .gnu) },
            error: (.fieldTooLong, .metaTooLong, 0)),
        DecoderCase(
            id: "V19 PAX size below zero", archive: { empty.pax([("size", "-1")]).file("f", "") },
            error: (.invalidHeader, .negativeSize, 1024)),
        DecoderCase(
            id: "V19 PAX size that overflows", archive: { empty.pax([("size", "9223372036854775808")]).file("f", "") },
            error: (.invalidHeader, .badPaxNumber, 1024)),
        DecoderCase(
            id: "V19 largest PAX size", archive: { empty.pax([("size", "9223372036854775807")]).file("f", "") },
            names: ["f"], error: (.unexpectedEOF, .truncatedBody, 1024)),
        DecoderCase(
            id: "V19 base-256 size below zero",
            archive: { empty.header("f") { $0.put([UInt8](repeating: 0xff, count: 12), 124) } },
            error: (.invalidHeader, .negativeSize, 0)),
        DecoderCase(
            id: "V19 base-256 size that overflows",
            archive: { empty.header("f") { $0.put([0x80, 0, 0, 0x80] + [UInt8](repeating: 0, count: 8), 124) } },
            error: (.invalidHeader, .badNumber, 0)),
        DecoderCase(
            id: "V20 NUL in a PAX path", archive: { empty.pax([("path", "ok\0/../../x")]).file("f", "") },
            error: (.invalidHeader, .nulInPaxRecord, 0)),
        DecoderCase(
            id: "V20 NUL in a PAX linkpath", archive: { empty.pax([("linkpath", "a\0b")]).header("f", type: "2") },
            error: (.invalidHeader, .nulInPaxRecord, 0)),
        DecoderCase(
            id: "V20 NUL in a PAX uname", archive: { empty.pax([("uname", "\0")]).file("f", "") },
            error: (.invalidHeader, .nulInPaxRecord, 0)),
        DecoderCase(
            id: "R11 longest name", archive: { empty.pax([("path", longName(4095))]).file("f", "") },
            names: [longName(4095)]),
        DecoderCase(
            id: "R11 name too long", archive: { empty.pax([("path", longName(4096))]).file("f", "") },
            error: (.nameTooLong, .nameTooLong, 5120)),
        DecoderCase(
            id: "R11 component too long",
            archive: { empty.pax([("path", "a/" + String(repeating: "b", count: 256))]).file("f", "") },
            error: (.nameTooLong, .componentTooLong, 1024)),
        DecoderCase(
            id: "R11 link name too long",
            archive: { empty.meta("K", [UInt8](repeating: 0x61, count: 4096), magic: .gnu).header("l", type: "2") },
            error: (.nameTooLong, .linkNameTooLong, 4608)),
        DecoderCase(id: "R11 an empty name", archive: { empty.header("", type: "5") }, names: [""]),
        DecoderCase(
            id: "R1 wrong checksum",
            archive: {
                var bytes = empty.file("f", "").bytes
                bytes[0] += 1
                return RawArchive(bytes: bytes)
            },
            error: (.invalidHeader, .badChecksum, 0)),
    ]

    /// A path of so many bytes in components of at most 200.
    static func longName(_ count: Int) -> String {
        String((1...count).map { $0 % 200 == 0 && $0 < count ? "/" : "n" })
    }

    @Test("entries and errors", arguments: cases)
    func entries(_ test: DecoderCase) {
        let reading = decode(test.archive().bytes)
        #expect(reading.entries.map(\.nameText) == test.names)
        if let types = test.types {
            #expect(String(decoding: reading.entries.map(\.fields.type), as: UTF8.self) == types)
        }
        let error = test.error.map { TarError($0.kind, $0.reason, offset: $0.offset) }
        #expect(reading.error == error)
    }

    @Test("R6 global headers are counted")
    func globalCount() {
        let archive = RawArchive().pax([("a", "b")], type: "g").pax([], type: "g").file("f", "")
        #expect(decode(archive.bytes).globalHeaders == 2)
    }

    @Test("an error is thrown again by every later call")
    func sticky() {
        var decoder = TarDecoder()
        let bad = [UInt8](repeating: 1, count: 512)
        let good = RawArchive().file("f", "").bytes
        let error = TarError(.invalidHeader, .badChecksum)
        #expect(throws: error) { try decoder.step(RawSpan(_elements: bad.span)) }
        #expect(throws: error) { try decoder.step(RawSpan(_elements: good.span)) }
        #expect(throws: error) { try decoder.endOfInput() }
    }

    @Test("offsets of entries, their meta headers included, also when bodies are left to the decoder")
    func offsets() {
        let archive = RawArchive().file("a", "x").pax([("uid", "5")]).file("b", "yy").file("c", "").end()
        for leavesBodies in [false, true] {
            let reading = decode(archive.bytes, leavesBodies: leavesBodies)
            #expect(reading.entries.map(\.offset) == [0, 1024, 3072])
            #expect(reading.ending == .endMark(consumed: archive.bytes.count))
        }
    }

    @Test("what goes in comes out: encoder to decoder", arguments: Golden.all)
    func roundTrip(_ golden: Golden) throws {
        let sources = golden.sources()
        let reading = decode(try archive(sources))
        #expect(reading.entries.count == sources.count)
        for (entry, source) in zip(reading.entries, sources) {
            #expect(entry.fields == source.fields)
            #expect(entry.name == source.name)
            #expect(entry.link == source.link)
            #expect(entry.user == source.user)
            #expect(entry.body == source.body)
            #expect(entry.attributes == source.attributes.flatMap { [Array($0.name.utf8), $0.value] })
        }
    }
}
