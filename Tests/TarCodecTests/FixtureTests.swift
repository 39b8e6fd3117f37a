import Foundation
import TarCodec
import Testing

/// Archives that other programs wrote; `Fixtures/README.md` says how.
private func fixture(_ name: String) throws -> [UInt8] {
    let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fixtures/tar")
    return [UInt8](try Data(contentsOf: root.appending(path: name)))
}

struct FixtureTests {
    @Test(
        "T116 the same sparse file as GNU tar writes it",
        arguments: [
            "gnu-sparse.tar", "pax-sparse-0.0.tar", "pax-sparse-0.1.tar", "pax-sparse-1.0.tar",
        ])
    func sparse(_ name: String) throws {
        let reading = decode(try fixture(name), windows: [1000])
        let entry = try #require(reading.entries.first)
        #expect(reading.entries.count == 1)
        #expect(entry.nameText == "sparse")
        #expect(entry.fields.size == 65536)
        var extents: [[Int64]] = []
        var content = [UInt8](repeating: 0, count: 65536)
        for index in 0..<27 {
            let start = index * 1024 + 512
            extents.append([Int64(start), 512])
            content.put([UInt8](repeating: UInt8(65 + index % 26), count: 512), start)
        }
        #expect(entry.extents == extents)
        #expect(entry.expanded == content)
    }

    @Test("R2 v7 as GNU tar writes it")
    func v7() throws {
        let entries = decode(try fixture("v7.tar")).entries
        #expect(entries.map(\.nameText) == ["hello", "link"])
        #expect(entries.map(\.bodyText) == ["hi\n", ""])
        #expect(entries.map(\.linkText) == ["", "target"])
        #expect(entries.map(\.fields.mtimeSeconds) == [fixedTime, fixedTime])
    }

    @Test("R4 long names and links as GNU tar writes them")
    func gnuLong() throws {
        let long = String(repeating: "d", count: 60) + "/" + String(repeating: "n", count: 120)
        let entries = decode(try fixture("gnu-long.tar"), windows: [77]).entries
        #expect(entries.map(\.nameText) == [long, "longlink"])
        #expect(entries.map(\.linkText) == ["", long])
        #expect(entries.map(\.bodyText) == ["long\n", ""])
    }

    @Test("R1 base-256 numbers as GNU tar writes them")
    func base256() throws {
        let fields = try #require(decode(try fixture("gnu-base256.tar")).entries.first).fields
        #expect(fields.uid == 3_000_000)
        #expect(fields.mtimeSeconds == -5)
    }

    @Test("R6 global and extended headers as Python writes them")
    func python() throws {
        let reading = decode(try fixture("python-pax.tar"))
        let entry = try #require(reading.entries.first)
        #expect(reading.globalHeaders == 1)
        #expect(entry.nameText == "n\u{e9}.txt")
        #expect(entry.fields.mtimeSeconds == fixedTime)
        #expect(entry.fields.mtimeNanoseconds == 250_000_000)
        #expect(entry.user == Array("root".utf8))
        #expect(entry.bodyText == "hi\n")
    }

    @Test("R10 attributes as bsdtar writes them, in both forms")
    func bsdtar() throws {
        let archive = try fixture("bsdtar-xattr.tar")
        let text = String(decoding: archive, as: UTF8.self)
        #expect(text.contains("LIBARCHIVE.xattr.user.color="))
        let entry = try #require(decode(archive).entries.first)
        let value = Array("blue\0".utf8) + [0xff]
        #expect(entry.attributes == [Array("user.color".utf8), value])
        #expect(entry.bodyText == "hi\n")
    }
}
