import TarCodec
import Testing

private let empty = RawArchive()

/// The same sparse file in each of the forms that exist (R8).
enum SparseForm: CaseIterable {
    case oldGnu, pax00, pax01, pax10

    func archive(size: Int64, _ extents: [(offset: Int64, length: Int64)], body: String) -> RawArchive {
        let count = String(extents.count)
        switch self {
        case .oldGnu: return oldGnu(size: size, extents, body: body)
        case .pax00:
            let map = extents.flatMap {
                [("GNU.sparse.offset", String($0.offset)), ("GNU.sparse.numbytes", String($0.length))]
            }
            return empty.pax([("GNU.sparse.size", String(size)), ("GNU.sparse.numblocks", count)] + map)
                .header("sparse", size: Int64(body.utf8.count)).body(body)
        case .pax01:
            let map = extents.map { "\($0.offset),\($0.length)" }.joined(separator: ",")
            let records = [
                ("GNU.sparse.size", String(size)), ("GNU.sparse.numblocks", count), ("GNU.sparse.map", map),
                ("GNU.sparse.name", "sparse"),
            ]
            return empty.pax(records).header("GNUSparseFile.1/x", size: Int64(body.utf8.count)).body(body)
        case .pax10:
            let lines = ([count] + extents.flatMap { [String($0.offset), String($0.length)] }).map { $0 + "\n" }
            let map = padded(Array(lines.joined().utf8))
            return mapInBody(size: size, map: map, body: body)
        }
    }

    private func oldGnu(size: Int64, _ extents: [(offset: Int64, length: Int64)], body: String) -> RawArchive {
        var rest = extents.map { number($0.offset) + number($0.length) }
        let first = rest.prefix(4)
        rest.removeFirst(first.count)
        var archive = empty.header("sparse", type: "S", size: Int64(body.utf8.count), magic: .gnu) {
            $0.put([UInt8](first.joined()), 386)
            $0[482] = rest.isEmpty ? 0 : 1
            $0.put(number(size), 483)
        }
        while !rest.isEmpty {
            let next = rest.prefix(21)
            rest.removeFirst(next.count)
            var block = [UInt8](repeating: 0, count: 512)
            block.put([UInt8](next.joined()), 0)
            block[504] = rest.isEmpty ? 0 : 1
            archive = archive.appending(block)
        }
        return archive.body(body)
    }
}

/// Twelve bytes of an old GNU number: octal, or base-256 where that is too short.
private func number(_ value: Int64) -> [UInt8] {
    if value < 1 << 33 { return Array((octal(value, 11) + "\0").utf8) }
    return [0x80, 0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
}

func mapInBody(size: Int64, map: [UInt8], body: String) -> RawArchive {
    let records = [
        ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "sparse"),
        ("GNU.sparse.realsize", String(size)),
    ]
    return empty.pax(records).header("GNUSparseFile.1/x", size: Int64(map.count + body.utf8.count))
        .appending(map).body(body)
}

struct SparseTests {
    @Test("T116 every form gives the same file", arguments: SparseForm.allCases, [0, 1, 3, 4, 5, 25, 26, 60])
    func same(_ form: SparseForm, _ count: Int) throws {
        var extents: [(offset: Int64, length: Int64)] = []
        for index in 0..<Int64(count) { extents.append((index * 10 + 3, index % 5 + 1)) }
        let total = extents.map { Int($0.length) }.reduce(0, +)
        let body = String(String(repeating: "abcdefg", count: 60).prefix(total))
        // The form of GNU tar: an empty extent marks the end of a file that ends in a hole.
        let archive = form.archive(size: 1000, extents + [(1000, 0)], body: body).file("next", "n").end()
        let reading = decode(archive.bytes)
        #expect(reading.entries.map(\.nameText) == ["sparse", "next"])
        let entry = try #require(reading.entries.first)
        #expect(entry.isSparse)
        #expect(entry.fields.size == 1000)
        #expect(entry.stored == Int64(body.utf8.count))
        #expect(entry.extents == extents.map { [$0.offset, $0.length] })
        var expected = [UInt8](repeating: 0, count: 1000)
        var rest = Array(body.utf8)[...]
        for extent in extents {
            expected.put(Array(rest.prefix(Int(extent.length))), Int(extent.offset))
            rest = rest.dropFirst(Int(extent.length))
        }
        #expect(entry.expanded == expected)
        #expect(reading.entries.last?.bodyText == "n")
        #expect(reading.entries.last?.isSparse == false)
    }

    struct BadMap: CustomTestStringConvertible, Sendable {
        let id: String
        let size: Int64
        let extents: [(offset: Int64, length: Int64)]
        var reason = TarReason.badSparseMap
        var testDescription: String { id }
    }

    static let badMaps: [BadMap] = [
        BadMap(id: "overlap", size: 100, extents: [(0, 5), (4, 1)]),
        BadMap(id: "unsorted", size: 100, extents: [(10, 1), (0, 5)]),
        BadMap(id: "beyond the file", size: 10, extents: [(5, 6)]),
        BadMap(id: "less data than extents", size: 100, extents: [(5, 7)], reason: .sparseSizeMismatch),
        BadMap(id: "more data than extents", size: 100, extents: [(5, 5)], reason: .sparseSizeMismatch),
        BadMap(id: "end that overflows", size: .max >> 1, extents: [(.max >> 1, .max >> 1), (1, 6)]),
    ]

    @Test("V16 bad maps", arguments: SparseForm.allCases, badMaps)
    func bad(_ form: SparseForm, _ map: BadMap) {
        let reading = decode(form.archive(size: map.size, map.extents, body: "sixsix").bytes)
        #expect(reading.entries.isEmpty)
        #expect(reading.error?.kind == .invalidHeader)
        #expect(reading.error?.reason == map.reason)
    }

    @Test(
        "V16 numbers in an old GNU map that overflow or are negative",
        arguments: [
            [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] as [[UInt8]])
    func overflowing(_ number: [UInt8]) {
        for place in [386, 398] {
            let archive = empty.header("s", type: "S", size: 6, magic: .gnu) {
                $0.put("00000000001\u{0}00000000001\u{0}", 386)
                $0.put(number, place)
                $0.put([0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 483)
            }.body("sixsix")
            #expect(decode(archive.bytes).error?.kind == .invalidHeader)
        }
    }

    /// Texts that are no map of format 1.0.
    static let badTexts: [String] = [
        "", "x\n", "-1\n", "+1\n0\n6\n", "1\n\n6\n", "1\n0 \n6\n", "1\n99999999999999999999\n6\n", "1\n0\n-6\n",
        "1\n0\n6", "\n",
    ]

    @Test("V16 bad texts of a 1.0 map", arguments: badTexts)
    func badText(_ text: String) {
        let map = padded(Array(text.utf8) + [0])
        let reading = decode(mapInBody(size: 6, map: map, body: "sixsix").bytes)
        #expect(reading.entries.isEmpty)
        #expect(reading.error?.kind == .invalidHeader)
    }

    @Test("V16 a map that announces 10,000,000 extents")
    func announced() {
        let archive = mapInBody(size: 6, map: padded(Array("10000000\n0\n6\n".utf8)), body: "sixsix")
        #expect(decode(archive.bytes).error == TarError(.limitExceeded, .sparseMapTooLong, offset: 1024))
    }

    @Test("V16 a chain of empty extension blocks")
    func chain() {
        var block = [UInt8](repeating: 0, count: 512)
        block[504] = 1
        let archive = empty.header("s", type: "S", magic: .gnu) { $0[482] = 1 }
            .appending([UInt8]((0..<3000).map { _ in block }.joined()))
        #expect(decode(archive.bytes).error?.kind == .limitExceeded)
    }

    @Test("V16 more extents than allowed", arguments: SparseForm.allCases)
    func limit(_ form: SparseForm) {
        var limits = TarLimits()
        limits.sparseExtents = 10
        let extents = (0..<11).map { (offset: Int64($0 * 2), length: Int64(1)) }
        let archive = form.archive(size: 100, extents, body: "elevenbytes")
        #expect(decode(archive.bytes, limits: limits).error?.kind == .limitExceeded)
        limits.sparseExtents = 11
        #expect(decode(archive.bytes, limits: limits).entries.count == 1)
    }

    @Test("V16 a long map of text")
    func longText() {
        var limits = TarLimits()
        limits.sparseMapText = 1024
        let map = Array(("1\n" + String(repeating: "0", count: 1100) + "\n6\n").utf8)
        let archive = mapInBody(size: 6, map: padded(map), body: "sixsix")
        #expect(decode(archive.bytes).entries.count == 1)
        #expect(decode(archive.bytes, limits: limits).error?.kind == .limitExceeded)
    }

    @Test("R8 sparse records where they do not belong")
    func misplaced() {
        let records = [("GNU.sparse.map", "0,1"), ("GNU.sparse.numblocks", "1")]
        let onLink = decode(empty.pax(records).header("l", type: "1").bytes)
        #expect(onLink.error?.reason == .sparseInWrongFormat)
        let notGnu = decode(empty.header("s", type: "S").bytes)
        #expect(notGnu.error?.reason == .sparseInWrongFormat)
        let version = decode(empty.pax([("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")]).header("s").bytes)
        #expect(version.error?.reason == .unknownSparseVersion)
        let oddMap = [("GNU.sparse.map", "0,1,2"), ("GNU.sparse.numblocks", "1")]
        let counts = decode(empty.pax(oddMap).file("s", "x").bytes)
        #expect(counts.error?.reason == .badSparseMap)
        let half = decode(empty.pax([("GNU.sparse.offset", "1"), ("GNU.sparse.offset", "2")]).file("s", "x").bytes)
        #expect(half.error?.reason == .badSparseMap)
    }

    @Test("T133 truncated in a map", arguments: SparseForm.allCases)
    func truncated(_ form: SparseForm) {
        let extents = (0..<60).map { (offset: Int64($0 * 2), length: Int64(1)) }
        let archive = form.archive(size: 200, extents, body: String(repeating: "b", count: 60)).bytes
        for count in stride(from: 1, to: archive.count, by: 7) {
            let reading = decode(Array(archive.prefix(count)))
            let isAtMetaEnd = reading.entries.isEmpty && count % 512 == 0
            #expect(reading.error?.kind == .unexpectedEOF || isAtMetaEnd, "\(count)")
        }
    }
}
