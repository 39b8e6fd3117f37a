import LayerCompression
import LayerModel
import LayerPipeline
import LinuxIO
import Synchronization
import TestSupport
import Testing

/// Two layers, compared as the trees that they make.
@Suite struct ComparisonTests {
    private func differences(
        _ first: [TarPiece], _ second: [TarPiece], _ options: ComparisonOptions = ComparisonOptions()
    ) throws -> [String] {
        var found: [String] = []
        let report = try ComparisonRun.compare(
            try Self.side(first), try Self.side(second), options: options
        ) { (difference) throws(LayerError) in
            let letter = difference.first == nil ? "A" : difference.second == nil ? "D" : "C"
            let words = EntryAspects.words.filter { difference.aspects.contains($0.aspect) }.map(\.word)
            found.append(([letter, difference.path.description] + words).joined(separator: " "))
        }
        #expect(report.added + report.removed + report.changed == found.count)
        return found
    }

    private static func side(_ pieces: [TarPiece]) throws -> ComparedLayer {
        ComparedLayer(.foreign(MemoryInput(Tar.archive(pieces))))
    }

    @Test func `what makes no difference`() throws {
        let plain = [D("d"), F("d/f", "one"), H("d/g", "d/f"), S("s", "d"), F("e")]
        #expect(try differences(plain, plain) == [])
        // Other orders, other first names, links before their targets, odd spellings.
        #expect(try differences(plain, [F("e"), S("s", "d"), F("d/g", "one"), H("./d//f", "d/g"), D("d/")]) == [])
        #expect(try differences(plain, [H("d/f", "d/g"), F("d/g", "one"), D("d"), S("s", "d"), F("e")]) == [])
        // The last of a name counts, and a file takes all that lay below a directory away.
        let early = [D("e"), F("e/below", "x"), F("s", "early"), F("d/f", "early")]
        #expect(try differences(early + plain, plain) == [])
        // A deletion beside a file of the name says nothing, and one beside a directory is an opaque mark.
        #expect(try differences([W("d/.wh.f")] + plain, plain) == [])
        #expect(try differences([W(".wh.d")] + plain, plain + [W("d/.wh..wh..opq")]) == [])
        // aufs's own.
        #expect(
            try differences([F(".wh..wh.aufs"), D(".wh..wh.plnk"), F(".wh..wh.plnk/1.2", "x")] + plain, plain) == [])
        // The root.
        #expect(try differences([D("./", 0o700)] + plain, plain) == [])
        #expect(try differences([F("t").pax("mtime", "5.5")], [F("t").time(5)]) == [])
    }

    @Test func `each kind of difference has its word`() throws {
        let cases: [(TarPiece, TarPiece, String)] = [
            (F("x", "one"), F("x", "two"), "contents"), (F("x", "one"), F("x", "on"), "contents"),
            (F("x"), F("x", "x"), "contents"), (F("x"), F("x", "", 0o600), "mode"),
            (F("x"), F("x").ids(1, 0), "owner"), (F("x"), F("x").ids(0, 1), "owner"),
            (F("x"), F("x").time(1), "times"), (F("x"), D("x", 0o644), "kind"), (S("x", "a"), S("x", "b"), "contents"),
            (F("x"), F("x").xattr("user.a", "1"), "attributes"),
            (F("x").xattr("user.a", "2"), F("x").xattr("user.a", "1"), "attributes"),
            (C("x", 1, 3), C("x", 1, 4), "contents"), (C("x", 1, 3), B("x", 1, 3), "kind"),
            (C("x", 1, 3), C("x", 2, 3), "contents"), (W(".wh.x"), F("x"), "kind"), (P("x"), P("x", 0o600), "mode"),
            (H("x", "below"), H("x", "other"), "contents"), (H("x", "below"), F("x"), "kind"),
        ]
        for (first, second, word) in cases {
            #expect(try differences([first], [second]) == ["C /x \(word)"])
            #expect(try differences([second], [first]) == ["C /x \(word)"])
            var options = ComparisonOptions()
            options.ignoring = try #require(EntryAspects.words.first { $0.word == word }).aspect
            #expect(try differences([first], [second], options) == [])
        }
        var exact = ComparisonOptions()
        exact.exactTimes = true
        let half = F("x").pax("mtime", "5.5")
        #expect(try differences([half], [F("x").time(5)], exact) == ["C /x times"])
        exact.ignoring = .nanoseconds
        #expect(try differences([half], [F("x").time(5)], exact) == [])
        exact.comparesRoot = true
        #expect(try differences([D("./", 0o700)], [D("./")], exact) == ["C / mode"])
    }

    @Test func `names of one file, deletions and what only one has`() throws {
        let linked = [F("a", "x"), H("b", "a"), H("c", "a")]
        #expect(try differences(linked, [F("a", "x"), H("b", "a"), F("c", "x")]) == ["C /c links"])
        #expect(try differences(linked, [F("a", "x"), F("b", "x"), H("c", "b")]) == ["C /b links", "C /c links"])
        // Names that only one side has do not make the others differ.
        #expect(try differences(linked, [F("c", "x"), H("b", "c")]) == ["D /a"])
        #expect(try differences([W(".wh.x"), F("y")], [F("z")]) == ["D /x", "D /y", "A /z"])
        #expect(try differences([D("d"), W("d/.wh..wh..opq")], [D("d")]) == ["C /d deletions"])
        var options = ComparisonOptions()
        options.ignoring = .deletions
        #expect(try differences([W(".wh.x"), W("q/.wh..wh..opq")], [], options) == [])
        #expect(try differences([W(".wh.x"), W("q/.wh..wh..opq")], []) == ["D /q", "D /x"])
    }

    @Test func `layers upon each other are merged`() throws {
        struct Merged: ComparedSide {
            let layers: [[TarPiece]]
            func read(_ reading: ComparisonReading) throws(LayerError) {
                for layer in layers {
                    try reading.layer(
                        try LayerReader(MemoryInput(Tar.archive(layer)), options: reading.options), called: nil)
                }
            }
        }
        let layers = [
            [D("d"), F("d/a", "1"), F("d/b", "2"), D("o"), F("o/x", "3"), D("gone"), F("gone/y", "4"), F("t", "5")],
            [W("d/.wh.a"), W("o/.wh..wh..opq"), F("o/z", "6"), W(".wh.gone"), D("t"), F("t/u", "7"), H("l", "d/b")],
            [F("d/a", "8"), D("gone", 0o700)],
        ]
        let flat = [
            D("d"), F("d/a", "8"), F("d/b", "2"), D("o"), F("o/z", "6"), D("gone", 0o700), D("t"), F("t/u", "7"),
            H("l", "d/b"),
        ]
        var paths: [PathBytes] = []
        let report = try ComparisonRun.compare(
            Merged(layers: layers), ComparedLayer(.foreign(MemoryInput(Tar.archive(flat))))
        ) { (difference) throws(LayerError) in paths.append(difference.path) }
        #expect(report.isEqual, "\(paths)")
        #expect(report.entries.first == 17 && report.entries.second == 9)
    }

    @Test func `sparse files are what they expand to`() throws {
        var sparse = F("s", "abcdef")
        sparse.records = [
            ("GNU.sparse.major", Array("0".utf8)), ("GNU.sparse.minor", Array("1".utf8)),
            ("GNU.sparse.numblocks", Array("2".utf8)), ("GNU.sparse.name", Array("s".utf8)),
            ("GNU.sparse.size", Array("5000".utf8)),
            ("GNU.sparse.map", Array("1000,4,3000,2".utf8)),
        ]
        var plain = [UInt8](repeating: 0, count: 5000)
        plain.replaceSubrange(1000..<1004, with: Array("abcd".utf8))
        plain.replaceSubrange(3000..<3002, with: Array("ef".utf8))
        #expect(try differences([sparse], [F("s", bytes: plain)]) == [])
        plain[4999] = 1
        #expect(try differences([sparse], [F("s", bytes: plain)]) == ["C /s contents"])
    }

    @Test func `an archive that is none, names that lead out, and a side that fails`() throws {
        for bad in [[F("../x")], [H("x", "../../y")], [W(".wh.")], [F("x").ids(1 << 40, 0)], [H("x", "/")]] {
            #expect(throws: LayerError.self) { try differences([F("a")], bad) }
            #expect(throws: LayerError.self) { try differences(bad, [F("a")]) }
        }
        let cut = Array(Tar.archive([F("x", bytes: [UInt8](repeating: 1, count: 100_000))]).prefix(50_000))
        do throws(LayerError) {
            try ComparisonRun.compare(
                ComparedLayer(.foreign(MemoryInput(cut))), ComparedLayer(.file(PathBytes("/nowhere")))
            ) { (_) throws(LayerError) in }
            Issue.record("it was taken")
        } catch {
            #expect(error.code != .cancelled)
        }
    }

    /// Random layers, changed in one place: exactly that is found, whatever the order of the entries.
    @Test(arguments: 0..<20) func `a random layer and its changed twin`(seed: UInt64) throws {
        var random = SeededNumbers(seed: seed)
        var pieces: [TarPiece] = []
        for index in 0..<200 {
            let directory = "d\(index % 7)/e\(index % 3)"
            let body = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: Int(random.next() % 3000))
            pieces.append(F("\(directory)/f\(index)", bytes: body))
            if index % 10 == 3 { pieces.append(S("\(directory)/s\(index)", "f\(index)")) }
            if index % 11 == 5 { pieces.append(D("\(directory)/g\(index)")) }
        }
        var twin = pieces.shuffled(using: &random)
        #expect(try differences(pieces, twin) == [])
        let place = Int(random.next() % UInt64(twin.count))
        let name = "/" + String(decoding: twin[place].name, as: UTF8.self)
        twin[place].uid = 77
        #expect(try differences(pieces, twin) == ["C \(name) owner"])
        twin.remove(at: place)
        #expect(try differences(pieces, twin) == ["D \(name)"])
        #expect(try differences(twin, pieces) == ["A \(name)"])
    }
}

/// Bytes in memory as a layer, in pieces of odd sizes, so that headers and contents are cut anywhere.
final class MemoryInput: ForeignInput {
    private let bytes: [UInt8]
    private let position = Mutex(0)

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func read(into buffer: inout OutputRawSpan) throws(LayerError) {
        position.withLock { position in
            let count = min(buffer.freeCapacity, 7001, bytes.count - position)
            for index in position..<position + count { buffer.append(bytes[index], as: UInt8.self) }
            position += count
        }
    }
}
