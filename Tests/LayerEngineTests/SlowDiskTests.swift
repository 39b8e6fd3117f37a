import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Trees whose names must be waited for, as those on a disk that is far away.
@Suite(.serialized) struct SlowDiskTests {
    private let scratch: TemporaryDirectory
    private let place: String
    private var fast: String { scratch.path + "/fast" }

    /// Twelve directories of a hundred names, files, links and FIFOs among them.
    init() throws {
        scratch = try TemporaryDirectory()
        place = try scratch.directory("slow")
        try TreeBuilder.make(scratch.path + "/fast") { tree in
            for directory in 0..<12 {
                try tree.directory("d\(directory)")
                for file in 0..<97 { try tree.file("d\(directory)/f\(file)", "\(file)") }
                try tree.link(symbolic: "d\(directory)/link", to: "f0")
                try tree.fifo("d\(directory)/fifo")
                try tree.link("d\(directory)/hard", to: "d\(directory)/f1")
            }
        }
    }

    /// Seconds that `body` took on the tree as a slow disk has it, of which nothing is in memory; the most calls that it had
    /// to answer at one time; and what it gave.
    private func timed<Result>(_ body: (String) throws -> Result) throws -> (
        seconds: Double, atOnce: Int, result: Result
    ) {
        let slow = try SlowTree(fast, at: place, microseconds: 2000)
        let clock = ContinuousClock()
        var result: Result?
        let time = try clock.measure { result = try body(slow.path) }
        return (time / .seconds(1), slow.mostAtOnce, try #require(result))
    }

    @Test(arguments: [IOMode.ring, .auto]) func `sizes are the same, and come in a fraction of the time`(_ io: IOMode)
        throws
    {
        let expected = try DiffEngine.size(source(fast))
        let plain = try timed { try DiffEngine.size(source($0, workers: 2, io: .sync)) }
        #expect(plain.result.io.batchedStats == 0 && plain.atOnce < 8)
        let ahead = try timed { try DiffEngine.size(source($0, workers: 2, io: io)) }
        for result in [plain.result, ahead.result] {
            #expect(result.bytes == expected.bytes && result.entries == expected.entries)
            #expect(result.inodes == expected.inodes)
        }
        #expect(ahead.result.io.batchedStats > 1000 && ahead.result.io.statBatches > 0 && ahead.atOnce > 16)
        #expect(io == .ring || ahead.result.io.slowStats >= 2)
        print("size, \(io): \(plain.seconds) s plainly, \(ahead.seconds) s ahead, \(ahead.atOnce) at once")
        #expect(ahead.seconds * 2 < plain.seconds)
    }

    @Test(arguments: [IOMode.ring, .auto]) func `changes are the same, and come in a fraction of the time`(_ io: IOMode)
        throws
    {
        try TreeBuilder.make(scratch.path + "/old") { tree in
            for directory in 0..<12 {
                try tree.directory("d\(directory)")
                for file in 0..<60 { try tree.file("d\(directory)/f\(file)", file % 7 == 0 ? "other" : "\(file)") }
            }
        }
        let old = scratch.path + "/old"
        let expected = try changes(source(fast, lowers: [old], io: .sync))
        let plain = try timed { try changes(source($0, lowers: [old], workers: 2, io: .sync)) }
        let ahead = try timed { try changes(source($0, lowers: [old], workers: 2, io: io)) }
        #expect(plain.result == expected && ahead.result == expected && !expected.isEmpty)
        #expect(ahead.atOnce > 16)
        print("changes, \(io): \(plain.seconds) s plainly, \(ahead.seconds) s ahead, \(ahead.atOnce) at once")
        #expect(ahead.seconds < plain.seconds)
    }

    @Test func `a layer has the same bytes whatever the names are waited for by`() throws {
        let expected = try layer(source(fast, io: .sync))
        for io in [IOMode.sync, .auto, .ring] {
            let made = try timed { try layer(source($0, workers: 2, io: io)) }
            print("diff, \(io): \(made.seconds) s")
            #expect(firstDifference(made.result, expected) == nil)
        }
    }

    @Test func `where opening a file takes long many more workers than cores do it, if nobody says how many`() throws {
        let expected = try layer(source(fast, io: .sync))
        let two = try timed { try layer(source($0, workers: 2, io: .sync)) }
        for io in [IOMode.sync, .auto, .ring] {
            let many = try timed { try layer(source($0, io: io)) }
            print("diff, \(io): \(two.seconds) s with two workers, \(many.seconds) s with as many as it takes")
            #expect(firstDifference(many.result, expected) == nil)
            #expect(many.atOnce >= 12)
            #expect(many.seconds * 2 < two.seconds)
        }
    }

    @Test func `where the tree is cold more workers than cores walk it, if nobody says how many`() throws {
        let some = try timed { try DiffEngine.size(source($0, workers: 2, io: .auto)) }
        let many = try timed { try DiffEngine.size(source($0, io: .auto)) }
        print("size: \(some.seconds) s with two workers, \(many.seconds) s with as many as it takes")
        #expect(many.result.bytes == some.result.bytes)
    }
}
