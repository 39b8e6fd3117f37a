import Glibc
import LayerModel
import LayerPacking
import LayerPipeline
import TestSupport
import Testing

/// Layers at random, packed and unpacked, and images of which something was changed.
@Suite struct PackFuzzTests {
    private static func seeds(_ count: UInt64) -> [UInt64] {
        func setting(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }
        if let only = setting("LDIFF_SEED") { return [only] }
        return Array(0..<count * (setting("LDIFF_SEED_FACTOR") ?? 1))
    }

    private static func text(_ pieces: [TarPiece]) -> String {
        pieces.map {
            "\(Character(Unicode.Scalar($0.type))) \(PathBytes($0.name))"
                + ($0.link.isEmpty ? "" : ">\(PathBytes($0.link))")
        }.joined(separator: ", ")
    }

    @Test func `random layers show as they are unpacked, or are refused alike`() throws {
        var refused = 0
        for seed in Self.seeds(200) {
            var random = RandomLayers(seed: seed)
            var model = SequentialModel()
            for number in 0..<4 {
                let (pieces, refusal) = random.layer(on: &model, isBottom: number == 0)
                let tar = Tar.archive(pieces)
                let (packing, unpacking) = try refusals(tar)
                try #require(
                    isSame(packing, unpacking),
                    "seed \(seed), layer \(number): \(String(describing: packing)) instead of \(String(describing: unpacking))\n\(Self.text(pieces))"
                )
                if packing == nil {
                    let mounts = try PackedMounts()
                    let differences = try mounts.differences(tar)
                    try #require(
                        differences == [],
                        "seed \(seed), layer \(number)\n\(differences.joined(separator: "\n"))\n\(Self.text(pieces))")
                } else {
                    refused += 1
                }
                if refusal != nil { break }
            }
        }
        #expect(refused > 0 || getenv("LDIFF_SEED") != nil)
    }

    @Test func `E22 the bytes do not depend on how the stream comes`() throws {
        let tar = Tar.archive(PackTreeTests.oddLayer())
        let whole = try Packed(tar)
        for (size, skips) in [(512, false), (1000, true), (4096, false), (65_537, true)] {
            let other = try Packed(tar, pieceSize: size, skips: skips)
            #expect(other.image == whole.image && other.report.streamBytes == whole.report.streamBytes)
        }
    }

    @Test func `E26 an image with anything in it is read, or refused, and no more`() throws {
        let valid = try Packed(Array(PackTreeTests.oddLayer().prefix(300)))
        for seed in Self.seeds(600) {
            var numbers = SeededNumbers(seed: seed)
            var packed = valid
            for _ in 0...numbers.below(4) {
                let at = numbers.below(3) == 0 ? 1024 + numbers.below(256) : numbers.below(packed.image.count)
                for offset in 0...numbers.below(8) where at + offset < packed.image.count {
                    packed.image[at + offset] = numbers.below(2) == 0 ? 0xff : UInt8(numbers.below(256))
                }
            }
            if numbers.below(8) == 0 { packed.image.removeLast(numbers.below(packed.image.count)) }
            do throws(any Error) {
                try Self.readAll(packed)
            } catch is ErofsProblem {
            }
            // The same through merging, which keeps what it reads.
            do throws(any Error) {
                var merger = LayerMerger()
                try merger.add(packed.image.rawBytes)
                _ = try merger.finish()
            } catch let error as LayerError {
                #expect(error.code == .corruptLayer || error.code == .unsupported)
            }
        }
    }

    private static func readAll(_ packed: Packed) throws {
        let reader = try ErofsReader(packed.image.rawBytes)
        var names = 0
        try walk(packed) { _, inode, _ in
            names += 1
            var position = 0
            while let attribute = try reader.nextAttribute(inode, &position) {
                _ = reader.image.extracting(attribute.value)
            }
            if inode.kind == .symbolicLink { _ = try reader.target(inode) }
            let (count, _) = try reader.chunks(inode)
            for index in 0..<min(count, 10) { _ = try reader.chunk(inode, index) }
        }
        _ = try reader.find(Array("d1/e1/plain11".utf8).rawBytes)
        // A directory may have one name only, and a name takes 13 bytes.
        #expect(names <= packed.image.count / 13)
    }

    /// An archive that says such a thing, and which error that is.
    static let hostile: [(String, [TarPiece])] = [
        ("V1", [F("../victim/x", "1")]), ("V1", [F("/../victim/x", "1")]), ("V1", [F("a/../../victim/x", "1")]),
        ("V2", [S("v", "../victim"), F("v/file", "1")]), ("V3", [S("v", "/abs/outside"), F("v/file", "1")]),
        ("V4", [H("h", "../victim/hello")]), ("V4", [H("h", "/../victim/hello")]),
        ("V5", [S("v", "../victim"), H("h", "v/hello"), F("h", "pwned")]),
        ("V6", [S("p/ep", "/outside/perm400"), H("sketchy", "p/ep")]),
        ("V7", [H("l", "../dest-evil/secret")]),
        ("V7", [S("inner/up", ".."), S("inner/up/esc", "../victim"), F("inner/up/esc/x", "1")]),
        (
            "V8",
            [
                D("foo/"), D("foo/tmp/"), F("foo/tmp/b", "1"), S("foo", "/"), F("foo/tmp/b", "2"), D("foo/"),
                D("foo/tmp/"), F("foo/tmp/b", "3"),
            ]
        ),
        ("V12", [W(".wh...")]), ("V12", [W(".wh..")]), ("V12", [W(".wh.")]), ("V12", [W("etc/.wh...")]),
        ("V12", [W("etc/.wh..")]),
        ("V13", [S("l", "/etc"), W("l/.wh.passwd"), W(".wh.l")]),
        (
            "V14",
            [
                S("l", "t").xattr("user.x", "y"), D("d/").xattr("trusted.overlay.redirect", "/secret"),
                F("f").xattr("trusted.overlay.metacopy", ""), D("e/").xattr("user.overlay.opaque", "y"),
            ]
        ),
        ("V15", [F("x").pax("comment", [UInt8](repeating: 65, count: 2 << 20))]),
        ("V19", [F("x", "1").pax("size", "-1")]), ("V19", [F("x", "1").pax("size", "9223372036854775807")]),
        ("V19", [F("x", "1").size(100_000)]),
        ("V20", [F("x", "1").pax("path", "ok\u{0}/../../x")]),
        ("V21", [S("./", "/outside"), F("x")]), ("V21", [F("."), F("x")]), ("V22", [C("d", 1 << 32 + 1, 0)]),
        ("V24", [F("etc/a", "1"), G("etc")]), ("V26", [S("a", "b"), S("b", "a"), F("a/x", "1")]),
        ("V27", [TarPiece("0", "d/").type(0).body("x")]), ("V29", [F("x").ids(4_294_967_295, 0)]),
        ("V29", [F("x").ids(1 << 40, 0)]),
        ("V29", [F("x").ids(-1, 0)]), ("V30", [F("a", "1"), F("a/b", "2")]), ("V30", [S("a", "c"), F("a/b", "2")]),
        ("empty", [S("s", "")]), ("long", [S("s", String(repeating: "t", count: 4096))]),
        ("type", [TarPiece("D", "x")]),
        ("fifo parent", [P("p"), F("p/x", "1")]), ("link waits", [H("a", "later"), F("a/x", "1")]),
        ("old sparse", [TarPiece("S", "x")]), ("component", [F(String(repeating: "n", count: 256), "1")]),
    ]

    @Test(arguments: hostile.indices)
    func `E17 hostile archives have the verdict of unpacking`(index: Int) throws {
        let (name, pieces) = Self.hostile[index]
        let tar = Tar.archive(pieces)
        let (packing, unpacking) = try refusals(tar)
        #expect(
            isSame(packing, unpacking),
            "\(name): \(String(describing: packing)) instead of \(String(describing: unpacking))")
        if packing == nil {
            let mounts = try PackedMounts()
            #expect(try mounts.differences(tar) == [])
        }
    }

    @Test func `E18 an archive that ends anywhere has the verdict of unpacking`() throws {
        let tar = Tar.archive([F("a", String(repeating: "x", count: 700)), D("d/"), F("d/b", "2").xattr("user.x", "y")])
        for count in stride(from: 0, to: tar.count, by: 171) {
            let (packing, unpacking) = try refusals(Array(tar[..<count]))
            #expect(isSame(packing, unpacking), "\(count) bytes")
        }
    }

    @Test func `V25 deep chains and many names take linear time`() throws {
        // Each link leads a thousand directories deeper than the one before.
        let deep = String(repeating: "d/", count: 1000)
        var pieces: [TarPiece] = [S("s0", "d"), D("d/")]
        for level in 1...35 {
            pieces.append(F("s\(level - 1)/" + deep + "f", "1"))
            pieces.append(S("s\(level)", "s\(level - 1)/" + deep))
        }
        for number in 0..<40_000 { pieces.append(F("many/n\(number)", "")) }
        let start = ContinuousClock.now
        let packed = try Packed(pieces)
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(packed.report.presentEntries > 75_000)
        #expect(packed.report.impliedDirectories.count == 35_001)
    }

    @Test func `limits of the caller are kept`() throws {
        var options = PackOptions()
        options.maxBytes = 10
        #expect(try refusals(Tar.archive([F("a", "12345678901")]), options).packing?.code == .limitExceeded)
        options = PackOptions()
        options.maxTrailingBytes = 100
        #expect(
            try refusals(Tar.archive([F("a", "1")]) + [UInt8](repeating: 0, count: 200), options).packing?.code
                == .limitExceeded)
        options.lenientNames = true
        #expect(try TreeSnapshot(reading: Packed([F("../x", "1")], options)).paths == ["x"])
    }
}
