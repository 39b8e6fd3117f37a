import Glibc
import LayerModel
import LinuxIO
import Testing

@Suite struct SparseWriterTests {
    /// What a file consists of: bytes that are not zero, and zeros.
    enum Part: Sendable, CustomTestStringConvertible {
        case data(Int)
        case zeros(Int)
        var count: Int {
            switch self {
            case .data(let count), .zeros(let count): count
            }
        }
        var testDescription: String {
            switch self {
            case .data(let count): "\(count) bytes"
            case .zeros(let count): "\(count) zeros"
            }
        }
    }

    static let files: [[Part]] = [
        [], [.data(1)], [.zeros(1)], [.zeros(65_536)], [.zeros(5_000_000)], [.data(3_000_000)],
        [.data(1), .zeros(65_536), .data(1)], [.data(4096), .zeros(65_536), .data(4096)],
        [.zeros(65_536), .data(10)], [.data(10), .zeros(70_000)], [.data(10), .zeros(20_000)],
        [.zeros(40_000), .data(1), .zeros(40_000), .data(1), .zeros(40_000)],
        [.data(100_000), .zeros(4096), .data(100_000), .zeros(1_000_000), .data(7), .zeros(3_000_000)],
        [.zeros(61_439), .data(5), .zeros(61_440), .data(5), .zeros(61_441)],
    ]

    private static func bytes(_ parts: [Part]) -> [UInt8] {
        var bytes: [UInt8] = []
        for part in parts {
            switch part {
            // Mostly zeros too, but one in each block is not.
            case .data(let count): bytes += (0..<count).map { $0 % 1000 == 0 ? 1 : UInt8($0 & 1) }
            case .zeros(let count): bytes += [UInt8](repeating: 0, count: count)
            }
        }
        return bytes
    }

    /// Sizes of pieces: those of slabs, and ones at which runs begin and end anywhere.
    static let pieces = [1, 511, 4096, 5000, 65_536, 99_991, 1 << 20, 10 << 20]

    @Test(arguments: files, [0, 1 << 20, 256 << 20])
    func `a file has its bytes and size, and its long runs of zeros are holes`(parts: [Part], reserved: Int64) throws {
        let scratch = try Scratch()
        let expected = Self.bytes(parts)
        for (number, piece) in Self.pieces.enumerated() where expected.count / piece < 5_000 {
            let file = try scratch.open("file\(number)", [.readWrite, .create, .truncate])
            var writer = SparseWriter(.auto)
            if reserved > 0 {
                try file.preallocate(reserved)
                writer.reserved = reserved
            }
            for start in stride(from: 0, to: expected.count, by: piece) {
                #expect(writer.position == Int64(start))
                let end = min(start + piece, expected.count)
                try writer.write(expected.span.bytes.extracting(start..<end), to: file)
            }
            try writer.finish(file)
            #expect(try file.metadata().size == Int64(expected.count), "pieces of \(piece)")
            #expect(try contents(file) == expected, "pieces of \(piece)")
            let long = parts.filter {
                if case .zeros(let count) = $0 { return count >= 65_536 }
                return false
            }.reduce(0) { $0 + $1.count }
            #expect(writer.writtenBytes <= Int64(expected.count - long + 3 * 8192), "pieces of \(piece)")
            // What was reserved behind the file's end is not the writer's to give back.
            guard reserved <= expected.count else { continue }
            let blocks = try file.metadata().blocks * 512
            #expect(blocks <= UInt64(expected.count - long + 4 * 8192), "pieces of \(piece): \(blocks) bytes on disk")
        }
    }

    @Test(arguments: files) func `nothing is left out where that is not wanted`(parts: [Part]) throws {
        let scratch = try Scratch()
        let expected = Self.bytes(parts)
        let file = try scratch.open("file", [.readWrite, .create])
        var writer = SparseWriter(.never)
        try writer.write(expected.span.bytes, to: file)
        try writer.finish(file)
        #expect(try contents(file) == expected)
        #expect(try file.metadata().blocks * 512 >= UInt64(expected.count))
        #expect(!writer.hasHoles && writer.writtenBytes == Int64(expected.count))
    }

    @Test func `only zeros are zeros`() {
        func isZero(_ bytes: [UInt8]) -> Bool { ZeroRuns.isZero(bytes.rawBytes) }
        #expect(isZero([]) && isZero([0]) && !isZero([1]))
        for place in [0, 1, 7, 8, 63, 64, 4094, 4095] {
            var block = [UInt8](repeating: 0, count: 4096)
            #expect(isZero(block))
            block[place] = 128
            #expect(!isZero(block), "byte \(place)")
        }
    }
}
