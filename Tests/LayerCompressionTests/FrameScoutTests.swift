import LayerModel
import TestSupport
import Testing

@testable import LayerCompression

/// zstd of many frames, inflated on several threads: the same as one after the other.
@Suite struct FrameScoutTests {
    private func frame(_ bytes: [UInt8], level: Int = 3) throws -> [UInt8] {
        let output = Slab(capacity: FrameTool.bound(bytes.count, frames: 1) + 1024)
        let input = Slab(capacity: max(bytes.count, 1))
        input.append(bytes.rawBytes)
        try FrameTool(.zstd(level: level)).compress(input, 0..<bytes.count, into: output)
        return output.bytes.copied()
    }

    /// A frame that does not say how long it is.
    private func stream(_ bytes: [UInt8]) throws -> [UInt8] {
        var sink = try ZstdSink(MemorySink(), workers: 1)
        try sink.write(bytes.rawBytes)
        try sink.finish()
        return sink.base.bytes
    }

    private func skippable(_ count: Int, magic: UInt8 = 0x50) -> [UInt8] {
        [magic, 0x2a, 0x4d, 0x18] + (0..<4).map { UInt8(truncatingIfNeeded: count >> ($0 * 8)) }
            + [UInt8](repeating: 0xaa, count: count)
    }

    private func inflated(_ bytes: [UInt8], piece: Int = 100_000, workers: Int = 3) throws -> [UInt8] {
        var options = LayerReaderOptions()
        options.workers = workers
        options.hashUncompressed = true
        var reader = try LayerReader(PiecesInput(bytes, piece), options: options)
        var result: [UInt8] = []
        while let slab = try reader.next() {
            result += slab.bytes.copied()
            reader.recycle(slab)
        }
        #expect(try reader.finish().diffID == Digest.of(result.rawBytes))
        return result
    }

    private func numbers(_ count: Int, _ random: inout SeededNumbers) -> [UInt8] {
        let mask: UInt8 = random.isTrue(oneIn: 2) ? 0xff : 0x03
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 40) & mask }
    }

    @Test(arguments: 0..<8)
    func `frames of every size, kind and order`(seed: UInt64) throws {
        var random = SeededNumbers(seed: seed)
        var (layer, plain): ([UInt8], [UInt8]) = ([], [])
        for _ in 0..<60 {
            switch random.below(8) {
            case 0: layer += skippable(random.below(70_000), magic: 0x50 + UInt8(random.below(16)))
            case 1: layer += try frame([])
            case 2:
                let bytes = numbers(random.below(400_000), &random)
                layer += try stream(bytes)
                plain += bytes
            default:
                let bytes = numbers(random.below(random.isTrue(oneIn: 10) ? 3_000_000 : 9000), &random)
                layer += try frame(bytes, level: 1 + random.below(5))
                plain += bytes
            }
        }
        // What begins with a skippable frame is known by it, too.
        for piece in [1 << 20, 4099] {
            #expect(try inflated(layer, piece: piece, workers: 1 + Int(seed % 4)) == plain)
        }
    }

    @Test func `ten thousand frames, and one that is long`() throws {
        var random = SeededNumbers(seed: 1)
        let small = try (0..<10_000).map { number in try frame(Array("frame \(number)\n".utf8)) }.flatMap { $0 }
        #expect(try inflated(small).count == (0..<10_000).reduce(0) { $0 + "frame \($1)\n".utf8.count })
        let long = numbers(9 << 20, &random)
        #expect(try inflated(try frame([1, 2]) + frame(long) + frame([3])) == [1, 2] + long + [3])
    }

    @Test func `damage anywhere is found, and what came before is there`() throws {
        var random = SeededNumbers(seed: 2)
        let parts = (0..<5).map { _ in numbers(300_000, &random) }
        let frames = try parts.map { try frame($0) }
        let layer = frames.flatMap { $0 }
        for cut in stride(from: 5, to: layer.count, by: layer.count / 41) {
            if frames.indices.contains(where: { frames[...$0].reduce(0) { $0 + $1.count } == cut }) { continue }
            #expect(throws: LayerError.self) { try inflated(Array(layer[..<cut])) }
        }
        for at in stride(from: 4, to: layer.count, by: layer.count / 41) {
            var bad = layer
            bad[at] ^= 0x40
            // These frames have no checksum, so a changed byte of a stored block is none that anybody can tell: what zstd itself says.
            let other = try runProgram(["zstd", "-dc"], input: bad)
            let result = try? inflated(bad)
            let isSame = other.status == 0 ? result == other.output : result == nil
            #expect(isSame, "byte \(at): zstd \(other.status), ours \(result?.count ?? -1)")
        }
        // Blocks without end; garbage behind.
        let endless: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 1] + [UInt8](repeating: 0, count: 12 << 20)
        #expect(throws: LayerError.self) { try inflated(endless) }
        #expect(throws: LayerError.self) { try inflated(layer + [1, 2, 3]) }
        #expect(throws: LayerError.self) { try inflated(layer + [0x28, 0xb5]) }
        #expect(throws: LayerError.self) { try inflated(layer + skippable(100).dropLast()) }
    }

    @Test func `a reader that is given up ends its threads`() throws {
        var random = SeededNumbers(seed: 3)
        let layer = try (0..<50).flatMap { _ in try frame(numbers(500_000, &random)) }
        for _ in 0..<20 {
            var reader = try LayerReader(PiecesInput(layer, 50_000))
            if let slab = try reader.next() { reader.recycle(slab) }
        }
    }
}

/// gzip of several members, inflated on several threads where somebody says where they begin, rightly or wrongly.
@Suite struct MemberStartsTests {
    private func member(_ bytes: [UInt8]) throws -> [UInt8] {
        var sink = try GzipSink(MemorySink(), level: 1, workers: 1)
        try sink.write(bytes.rawBytes)
        try sink.finish()
        return sink.base.bytes
    }

    private func inflated(_ bytes: [UInt8], _ starts: [UInt64], _ workers: Int) throws -> [UInt8] {
        var options = LayerReaderOptions()
        options.workers = workers
        options.memberStarts = starts
        options.hashCompressed = true
        var reader = try LayerReader(PiecesInput(bytes, 77_777), options: options)
        var result: [UInt8] = []
        while let slab = try reader.next() {
            result += slab.bytes.copied()
            reader.recycle(slab)
        }
        let summary = try reader.finish()
        #expect(summary.compressedDigest == Digest.of(bytes.rawBytes))
        #expect(summary.compressedBytes == UInt64(bytes.count))
        return result
    }

    @Test(arguments: 0..<6)
    func `right starts, wrong ones, too many, too few`(seed: UInt64) throws {
        var random = SeededNumbers(seed: seed)
        var (layer, plain, starts): ([UInt8], [UInt8], [UInt64]) = ([], [], [])
        for number in 0..<80 {
            let count = random.below(number % 10 == 0 ? 2_000_000 : 60_000)
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 40) & 0x0f }
            starts.append(UInt64(layer.count))
            layer += try member(bytes)
            plain += bytes
        }
        let workers = 1 + Int(seed % 4)
        #expect(try inflated(layer, starts, workers) == plain)
        #expect(try inflated(layer, starts.map { $0 + 1 }, workers) == plain)
        #expect(try inflated(layer, starts.enumerated().filter { $0.offset % 3 == 1 }.map(\.element), workers) == plain)
        var some = starts
        some[40] += 5
        #expect(try inflated(layer, some, workers) == plain)
        #expect(try inflated(layer, starts + [UInt64(layer.count), UInt64(layer.count) + 9], workers) == plain)
        #expect(try inflated(layer + [UInt8](repeating: 0, count: 3000), starts, workers) == plain)
        #expect(try inflated(layer, (0..<500).map { UInt64($0 * 1000) }, workers) == plain)
        // Damage is found as ever.
        var bad = layer
        bad[layer.count / 2] ^= 1
        if let result = try? inflated(bad, starts, workers) { #expect(result == plain) }
        #expect(throws: LayerError.self) { try inflated(Array(layer.dropLast(5)), starts, workers) }
        #expect(throws: LayerError.self) { try inflated(layer + [1], starts, workers) }
    }

    @Test func `a bundle that becomes too much goes the other way`() throws {
        let zeros = [UInt8](repeating: 0, count: 50 << 20)
        let layer = try member([1]) + member(zeros) + member([2])
        let second = UInt64(try member([1]).count)
        let result = try inflated(layer, [0, second, UInt64(layer.count - (try member([2]).count))], 2)
        #expect(result.count == zeros.count + 2 && result.first == 1 && result.last == 2)
    }
}

/// Bytes that come in pieces of one size.
private final class PiecesInput: ForeignInput, @unchecked Sendable {
    // One thread reads.
    private let bytes: [UInt8]
    private let piece: Int
    private var position = 0

    init(_ bytes: [UInt8], _ piece: Int) {
        self.bytes = bytes
        self.piece = piece
    }

    func read(into buffer: inout OutputRawSpan) throws(LayerError) {
        let count = min(buffer.freeCapacity, piece, bytes.count - position)
        let bytes = bytes
        buffer.append(copying: bytes.rawBytes.extracting(position..<position + count))
        position += count
    }
}
