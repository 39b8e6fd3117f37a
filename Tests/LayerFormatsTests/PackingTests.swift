import LayerCompression
import LayerModel
import TestSupport
import Testing

@testable import LayerFormats

private func repeated(_ byte: UInt8, _ count: Int) -> [UInt8] { [UInt8](repeating: byte, count: count) }

/// A header as `piece` says, changed and sealed again.
private func header(_ piece: TarPiece, _ change: (inout [UInt8]) -> Void) -> TarPiece {
    var block = Tar.header(piece)
    change(&block)
    Tar.seal(&block)
    return raw(block + Tar.padded(piece.body))
}

/// GNU's long name in front of an entry.
private func longName(_ name: String) -> TarPiece {
    var piece = TarPiece("L", "././@LongLink")
    piece.body = Array(name.utf8) + [0]
    return piece
}

private func put(_ text: String, _ at: Int, _ block: inout [UInt8]) {
    for (index, byte) in text.utf8.enumerated() { block[at + index] = byte }
}

/// An archive, and the files that lie in the tree it was unpacked to.
struct PackingCase: CustomTestStringConvertible, Sendable {
    let name: String
    let archive: [UInt8]
    let files: [String: [UInt8]]
    var testDescription: String { name }

    init(_ name: String, _ archive: [UInt8], _ files: [String: [UInt8]]) {
        self.name = name
        self.archive = archive
        self.files = files
    }

    static let body = Array("some contents\n".utf8)
    static let text = "some contents\n"
    static let long = String(repeating: "long/", count: 40) + "name"

    static let all: [PackingCase] = [
        PackingCase("GNU long name", Tar.archive([longName(long), F("short", text)]), [long: body]),
        PackingCase("PAX path", Tar.archive([F("short", text).pax("path", "other")]), ["other": body]),
        PackingCase(
            "global headers", Tar.archive([G("pax"), F("a", text), G("pax"), F("b", text), G("end")]),
            ["a": body, "b": body]),
        PackingCase(
            "v7", Tar.archive([header(F("a", text)) { for index in 257..<512 { $0[index] = 0 } }]), ["a": body]),
        PackingCase(
            "star",
            Tar.archive([
                header(F("a", text)) {
                    put("dir", 345, &$0)
                    put("00000000000\000000000000\0", 476, &$0)
                    put("tar\0", 508, &$0)
                }
            ]), ["dir/a": body]),
        PackingCase("10 KiB records", Tar.archive([F("a", text)]) + repeated(0, 10_240 - 2048), ["a": body]),
        PackingCase("5 MiB of zeros", Tar.archive([F("a", text)]) + repeated(0, 5 << 20), ["a": body]),
        PackingCase("anything behind the end", Tar.archive([F("a", text)]) + repeated(7, 1000), ["a": body]),
        PackingCase("no end blocks", Tar.archive([F("a", text)], ends: false), ["a": body]),
        PackingCase("one end block", Tar.archive([F("a", text)], ends: false) + repeated(0, 512), ["a": body]),
        PackingCase("dotted names", Tar.archive([D("./"), D("./d/"), F("./d/a", text)]), ["d/a": body]),
        PackingCase("rooted names", Tar.archive([D("/d/"), F("/d/a", text)]), ["d/a": body]),
        PackingCase(
            "name to escape", Tar.archive([F("a<&>\"\u{2028}\n\u{1}é", text)]), ["a<&>\"\u{2028}\n\u{1}é": body]),
        PackingCase(
            "large", Tar.archive([F("a", bytes: repeated(1, 3_000_001)), F("b", text)]),
            ["a": repeated(1, 3_000_001), "b": body]),
        PackingCase("nothing", [], [:]),
        PackingCase("an empty archive", Tar.archive([]), [:]),
        PackingCase("T208 hard link with a size", Tar.archive([F("a", text), H("b", "a").size(3)]), ["a": body]),
        PackingCase(
            "T210 sparse member",
            Tar.archive([
                F("s", "abcdef").pax("GNU.sparse.major", "0").pax("GNU.sparse.minor", "1")
                    .pax("GNU.sparse.name", "s").pax("GNU.sparse.size", "10000").pax("GNU.sparse.numblocks", "1")
                    .pax("GNU.sparse.map", "512,6"), F("a", text),
            ]), ["a": body]),
        PackingCase("contents of a whiteout", Tar.archive([F(".wh.a", text), F("d/.wh..wh.x", text)]), [:]),
    ]
}

@Suite struct PackingTests {
    @Test(arguments: PackingCase.all, [1, 511, 512, 100_000])
    func `T203 T208 T210 what was packed is assembled`(_ example: PackingCase, piece: Int) throws {
        guard piece > 1 || example.archive.count < 100_000 else { return }
        let lines = try packedFully(example.archive, piece: piece)
        let tree = try FileTree(example.files)
        let assembled = try tree.assembled(lines, refusesDuplicates: true)
        #expect(assembled == example.archive)
    }

    @Test func `T203 a name that is not UTF-8 is kept raw`() throws {
        var piece = F("x", "abc")
        piece.name = [0x61, 0xff, 0xfe]
        let lines = try packed(Tar.archive([piece])).lines
        #expect(lines[1].hasPrefix(#"{"type":1,"name_raw":"Yf/+","size":3,"payload":""#))
    }

    @Test func `T204 the lines of one file`() throws {
        let archive = Tar.archive([F("hello", "hi\n"), D("d/")])
        let lines = try packed(archive).lines
        #expect(lines.count == 5)
        #expect(lines[1] == #"{"type":1,"name":"hello","size":3,"payload":"YUmYEAAAAAA=","position":1}"#)
        #expect(lines[3] == #"{"type":1,"name":"d/","payload":null,"position":3}"#)
        for (position, line) in lines.enumerated() where position % 2 == 0 {
            #expect(line.hasPrefix(#"{"type":2,"payload":""#) && line.hasSuffix("\",\"position\":\(position)}"))
        }
    }

    @Test(arguments: [("123456789", 0xb909_56c7_75a4_1001 as UInt64), ("", 0), ("hi\n", 0x6149_9810_0000_0000)])
    func `T205 the checksum has its check value`(text: String, value: UInt64) {
        let bytes = Array(text.utf8)
        var whole = PayloadChecksum()
        whole.update(bytes.rawBytes)
        #expect(whole.value == value)
        var pieces = PayloadChecksum()
        for byte in bytes { pieces.update([byte].rawBytes) }
        #expect(pieces.value == value)
    }

    @Test func `trailing bytes come in pieces`() throws {
        let lines = try packed(Tar.archive([]) + repeated(0, 3 << 20)).lines
        #expect(lines.count >= 4)
        #expect(lines.allSatisfy { $0.utf8.count < 1_500_000 })
    }

    @Test(arguments: [1, 600, 1030])
    func `archives that are cut are refused`(count: Int) {
        #expect(throws: LayerError.self) {
            try packed(Array(Tar.archive([F("a", String(repeating: "x", count: 600))]).prefix(count)))
        }
    }

    @Test func `names are cleaned`() throws {
        let same = ["a/b", "./a/b", "/a/b", "a//b/", "a/./b", "a/x/../b", "../a/b"]
        var name = CleanName()
        var hashes: Set<UInt64> = []
        for text in same {
            name.set(Array(text.utf8).rawBytes)
            hashes.insert(name.hash)
        }
        #expect(hashes.count == 1)
        for text in ["a", "ab", "b/a", "", "a/b/c"] {
            name.set(Array(text.utf8).rawBytes)
            hashes.insert(name.hash)
        }
        #expect(hashes.count == 6)
    }

    @Test func `the table of names grows`() {
        var table = NameTable()
        var random = SystemRandomNumberGenerator()
        let hashes = (0..<10_000).map { _ in random.next() & ~1 | 2 }
        for hash in hashes { #expect(table.insert(hash, bit: hash & 4 == 4) == nil) }
        for hash in hashes { #expect(table.insert(hash, bit: false) == (hash & 4 == 4)) }
    }
}
