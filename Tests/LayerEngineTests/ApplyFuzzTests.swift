import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Valid and hostile archives with random damage, applied next to a directory that must never change (P6, S-R3).
@Suite struct ApplyFuzzTests {
    /// How an archive is damaged.
    enum Damage: String, CaseIterable, Sendable, CustomTestStringConvertible {
        /// Some bits anywhere.
        case bits
        /// Bytes of headers, under checksums that are right again.
        case headers
        /// Blocks of one archive put into, left out of or repeated in another.
        case splices

        var testDescription: String { rawValue }
    }

    private static let capability: [UInt8] = [1, 0, 0, 2, 0, 4] + [UInt8](repeating: 0, count: 14)

    /// Between them these reach every kind of entry and every way out that V1 to V33 know. `outside` is the path of
    /// the directory that must not change.
    private static func seeds(_ outside: String) -> [[TarPiece]] {
        [
            [
                D("d", 0o2775).ids(0, 5), F("d/f", "some text", 0o4755).xattr("user.x", "1"), S("d/l", "f"),
                H("h", "d/f"),
                C("null", 1, 3), B("b", 7, 0), P("p"), F("cap", "x").ids(1, 1).xattr("security.capability", capability),
            ],
            [
                S("v", "../victim"), S("w", outside), F("v/hello", "evil"), F("w/hello", "evil"), D("v/sub", 0o777),
                H("x", "v/hello"), H("../victim/hello", "d"), F("../victim/hello", "evil"), W("w/.wh.hello"),
            ],
            [
                F("late/f", "1"), H("one", "two"), H("two", "three"), F("three", "3"), S("a", "b"), S("b", "a"),
                F("a/x", "y"), S("up", ".."), S("up/up2", "../../victim"), F("up/up2/x", "evil"), W("up/.wh.victim"),
            ],
            [
                D("keep"), F("keep/new", "n"), W("keep/.wh..wh..opq"), W(".wh.old"), W("sub/.wh.gone"),
                W(".wh..wh..opq"),
                F(".wh..wh.plnk/1.2", "c"), H("pl", ".wh..wh.plnk/1.2"), C("old", 0, 0), D("old"), F("old/x", "x"),
            ],
            [
                F(String(repeating: "long/", count: 40) + "name", "x"), G("etc"),
                F("s", bytes: Tar.padded(Array("2\n0\n3\n1000\n3\n".utf8)) + Array("abcdef".utf8))
                    .pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0").pax("GNU.sparse.realsize", "2000")
                    .pax("GNU.sparse.name", "sparse"),
                F("t").pax("mtime", "1.5").pax("path", "renamed").pax(
                    "SCHILY.acl.access", "user::rw-,group::r--,other::r--"),
                D("foo"), F("foo/tmp/b", "1"), S("foo", "/"), F("foo/tmp/b", "2"), D("foo"), F("foo/tmp/b", "3"),
            ],
        ]
    }

    private static func apply(_ archive: [UInt8], _ target: Target, to root: String, pieceSize: Int) -> LayerError? {
        var options = ApplyOptions()
        options.workers = 2
        options.maxBytes = 64 << 20
        if target == .overlay {
            options.dialect = .overlay
            options.lowers = [PathBytes(root + ".lower")]
        }
        do {
            try LayerEngineTests.apply(archive, to: root, options, pieceSize: pieceSize)
            return nil
        } catch {
            return error as? LayerError ?? LayerError(.inUse, "\(error)")
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Damage.allCases, [UInt64(1), 2])
    func `P6 damaged archives never reach outside, never hang, never trap`(_ damage: Damage, _ seed: UInt64) throws {
        var numbers = SeededNumbers(seed: seed &* 31 &+ UInt64(damage.rawValue.utf8.count))
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let victim = try scratch.directory("victim", mode: 0o700)
        try LayerEngineTests.apply(
            Tar.archive([F("hello", "untouched", 0o400), D("sub", 0o711), F("sub/x", "also", 0o600)]), to: victim)
        let before = try TreeSnapshot(victim)
        let archives = Self.seeds(victim).map { Tar.archive($0) }
        let clock = ContinuousClock()
        let end = clock.now + .seconds(3)
        var (rounds, failures) = (0, 0)
        while clock.now < end || rounds < 100 {
            let root = try scratch.directory("root")
            let lower = try scratch.directory("root.lower")
            for directory in [root, lower] {
                try LayerEngineTests.apply(
                    Tar.archive([D("old"), F("old/f"), D("sub"), F("sub/gone"), S("up", "sub"), F("three")]),
                    to: directory)
            }
            let archive = Self.damaged(archives, damage, &numbers)
            let target: Target = rounds % 2 == 0 ? .merged : .overlay
            let started = clock.now
            let size = 512 * Int.random(in: 1...20, using: &numbers)
            let error = Self.apply(archive, target, to: root, pieceSize: size)
            let took = clock.now - started
            #expect(took < .seconds(10), "round \(rounds) took \(took)")
            if let error {
                failures += 1
                #expect(error.code != .inUse && error.code != .cancelled, "round \(rounds): \(error)")
            }
            guard try TreeSnapshot(victim) == before else {
                Issue.record(
                    "round \(rounds) of \(damage), \(target): \(try TreeSnapshot(victim).differences(from: before))")
                return
            }
            #expect(try scratch.names() == ["root", "root.lower", "victim"], "round \(rounds)")
            for directory in [root, lower] { try scratch.remove(directory) }
            rounds += 1
        }
        // Damage that breaks nothing, or everything, would test nothing.
        #expect(failures > rounds / 20 && failures < rounds, "\(failures) failures of \(rounds)")
    }

    private static func damaged(_ archives: [[UInt8]], _ damage: Damage, _ numbers: inout SeededNumbers) -> [UInt8] {
        var archive = archives[Int.random(in: 0..<archives.count, using: &numbers)]
        switch damage {
        case .bits:
            for _ in 0..<Int.random(in: 1...6, using: &numbers) {
                let place = Int.random(in: 0..<archive.count, using: &numbers)
                archive[place] ^= 1 << UInt8.random(in: 0...7, using: &numbers)
            }
        case .headers:
            let starts = headers(archive)
            for _ in 0..<Int.random(in: 1...5, using: &numbers) {
                edit(&archive, starts[Int.random(in: 0..<starts.count, using: &numbers)], &numbers)
            }
        case .splices:
            for _ in 0..<Int.random(in: 1...4, using: &numbers) {
                let other = archives[Int.random(in: 0..<archives.count, using: &numbers)]
                let from = Int.random(in: 0..<other.count / 512, using: &numbers)
                let count = Int.random(in: 0...min(6, other.count / 512 - from), using: &numbers)
                let place = Int.random(in: 0...archive.count / 512, using: &numbers)
                let left = min(archive.count / 512 - place, Int.random(in: 0...3, using: &numbers))
                archive.replaceSubrange(
                    512 * place..<512 * (place + left), with: other[512 * from..<512 * (from + count)])
            }
        }
        return archive
    }

    /// Where the blocks begin whose checksums are right.
    private static func headers(_ archive: [UInt8]) -> [Int] {
        stride(from: 0, to: archive.count, by: 512).filter { start in
            var block = Array(archive[start..<start + 512])
            let written = block
            Tar.seal(&block)
            return block == written && block[0] != 0
        }
    }

    /// Changes one field of a header and makes its checksum right again.
    private static func edit(_ archive: inout [UInt8], _ start: Int, _ numbers: inout SeededNumbers) {
        var block = Array(archive[start..<start + 512])
        func put(_ text: String, _ place: Int, _ width: Int) {
            for index in 0..<width { block[place + index] = 0 }
            for (index, byte) in text.utf8.prefix(width).enumerated() { block[place + index] = byte }
        }
        let names = [
            "../victim/hello", "v/hello", "w/sub/x", "d", "d/f", "/", ".", "..", "a/../../victim/x", "old", "old/f/x",
            "up/x",
            ".wh.old", ".wh..", "w/.wh.sub", "foo", "h", "", "d/./f//", "w/sub", "w", ".wh..wh..opq", "v/.wh..wh..opq",
        ]
        switch Int.random(in: 0...5, using: &numbers) {
        case 0: put(names.randomElement(using: &numbers) ?? "", 0, 100)
        case 1: put(names.randomElement(using: &numbers) ?? "", 157, 100)
        case 2: block[156] = Array("0123456S7DVxgLK\0".utf8).randomElement(using: &numbers) ?? 0
        case 3:
            let sizes: [Int64] = [0, 1, 511, 512, 513, 1 << 20, 1 << 40, -1, 8_589_934_591]
            for (index, byte) in Tar.number(sizes.randomElement(using: &numbers) ?? 0, 12).enumerated() {
                block[124 + index] = byte
            }
        case 4: put(["7777", "0", "177777", "junk"].randomElement(using: &numbers) ?? "", 100, 8)
        default:
            for _ in 0..<3 {
                block[Int.random(in: 0..<512, using: &numbers)] = UInt8.random(in: 0...255, using: &numbers)
            }
        }
        Tar.seal(&block)
        archive.replaceSubrange(start..<start + 512, with: block)
    }
}

extension TemporaryDirectory {
    /// The names it holds, sorted.
    fileprivate func names() throws -> [String] {
        let directory = try openPath(path)
        var reader = DirectoryReader()
        var names: [String] = []
        while let entry = try reader.next(of: directory) {
            names.append(String(decoding: reader.name(of: entry).copied(), as: UTF8.self))
        }
        return names.sorted()
    }

    /// Removes a tree of damaged names and whatever else.
    fileprivate func remove(_ tree: String) throws {
        let result = try runProgram(["rm", "-rf", "--", tree])
        guard result.status == 0 else { throw TestFailure(result.errors) }
    }
}
