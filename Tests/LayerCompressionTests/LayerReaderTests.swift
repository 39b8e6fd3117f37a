import LayerCompression
import LayerModel
import Testing

@Suite(.timeLimit(.minutes(5))) struct LayerReaderTests {
    static let tools: [(command: [String], format: LayerFormat)] = [
        (["cat"], .none),
        (["gzip", "-c"], .gzip),
        (["gzip", "-1", "-c"], .gzip),
        (["pigz", "-c", "-p", "2", "-b", "128"], .gzip),
        (["pigz", "-i", "-c"], .gzip),
        (["igzip", "-1", "-c"], .gzip),
        (["python3", "-c", "import sys,gzip; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read()))"], .gzip),
        (["zstd", "-qc"], .zstd),
        (["zstd", "-qc", "-19", "--long=27", "-T2"], .zstd),
        (["bzip2", "-c"], .bzip2),
        (["xz", "-c"], .xz),
        (["xz", "-c", "-T2", "--block-size=65536"], .xz),
        (["lz4", "-qc"], .lz4),
    ]

    static let sizes = [0, 1, 511, 70_000, (1 << 20) - 1, 1 << 20, (3 << 20) + 17]

    static var hashing: LayerReaderOptions {
        var options = LayerReaderOptions()
        options.hashCompressed = true
        options.hashUncompressed = true
        return options
    }

    @Test("T130, A9: what the real tools write is read back, with both digests", arguments: tools.indices, sizes)
    func realTools(tool: Int, size: Int) throws {
        let (command, format) = Self.tools[tool]
        let input = sampleBytes(size)
        let compressed = try run(command, input)
        for delivery in [Delivery.file, .pipe] {
            let (bytes, summary) = try readLayer(compressed, options: Self.hashing, delivery: delivery)
            #expect(bytes == Content(input))
            #expect(summary.format == format)
            #expect(summary.compressedBytes == UInt64(compressed.count))
            #expect(summary.uncompressedBytes == UInt64(size))
            #expect(summary.compressedDigest == digest(compressed))
            #expect(summary.diffID == digest(input))
        }
    }

    @Test("A3: bytes that come a few at a time are the same stream", arguments: tools.indices, [1, 7, 1000])
    func trickle(tool: Int, step: Int) throws {
        let input = sampleBytes(step == 1 ? 3000 : 120_000)
        let compressed = try run(Self.tools[tool].command, input)
        let result = try readLayer(compressed, options: Self.hashing, delivery: .tricklingPipe, trickle: step)
        #expect(result.bytes == Content(input))
        #expect(result.summary.compressedDigest == digest(compressed))
    }

    @Test("T123: no bytes are an empty layer in every format", arguments: LayerFormat.allCases, Delivery.allCases)
    func empty(format: LayerFormat, delivery: Delivery) throws {
        let (bytes, summary) = try readLayer([], format: format, options: Self.hashing, delivery: delivery)
        #expect(bytes == Content([]))
        #expect(summary.uncompressedBytes == 0)
        #expect(summary.diffID == digest([]))
        #expect(summary.compressedDigest == digest([]))
    }

    @Test("A9: only the digests that were asked for are computed", arguments: [LayerFormat.none, .gzip], 0..<4)
    func askedDigests(format: LayerFormat, mask: Int) throws {
        let input = sampleBytes(50_000)
        let compressed = format == .none ? input : try run(["gzip", "-c"], input)
        var options = LayerReaderOptions()
        options.hashCompressed = mask & 1 != 0
        options.hashUncompressed = mask & 2 != 0
        let summary = try readLayer(compressed, options: options).summary
        #expect(summary.compressedDigest == (mask & 1 != 0 ? digest(compressed) : nil))
        #expect(summary.diffID == (mask & 2 != 0 ? digest(input) : nil))
    }

    @Test("T128: gzip members one after the other are one stream, at every size of write", arguments: 1...40)
    func members(step: Int) throws {
        var compressed: [UInt8] = []
        var expected: [UInt8] = []
        for size in [0, 1, 2, 100, 0, 5000, 3] {
            let part = sampleBytes(size, seed: UInt64(size + 1))
            expected += part
            compressed += try run(["gzip", "-c"], part)
        }
        let result = try readLayer(compressed, options: Self.hashing, delivery: .tricklingPipe, trickle: step)
        #expect(result.bytes == Content(expected))
        #expect(result.summary.diffID == digest(expected))
    }

    @Test(
        "T128: zeros after the last gzip member are padding", arguments: [1, 2, 511, 600_000], [0, 1 << 20, 200_001])
    func padding(count: Int, size: Int) throws {
        let input = sampleBytes(size)
        let compressed = try run(["gzip", "-c"], input) + [UInt8](repeating: 0, count: count)
        for delivery in [Delivery.file, .pipe] {
            let result = try readLayer(compressed, options: Self.hashing, delivery: delivery)
            #expect(result.bytes == Content(input))
            #expect(result.summary.compressedDigest == digest(compressed))
        }
    }

    static let garbage: [[UInt8]] = [
        [1], [0x1f], [0x1f, 0x8c, 8], Array("garbage".utf8), [0, 0, 1], [UInt8](repeating: 0, count: 600_000) + [7],
        [0, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3],
    ]

    @Test("T128: anything else after the last gzip member is an error", arguments: garbage.indices, [100, 1 << 20])
    func trailingGarbage(index: Int, size: Int) throws {
        let compressed = try run(["gzip", "-c"], sampleBytes(size)) + Self.garbage[index]
        #expect(codeThrown { _ = try readLayer(compressed) } == .invalidArchive)
    }

    @Test("T129: zstd frames and skippable frames follow each other in any order")
    func frames() throws {
        let first = sampleBytes(200_000, seed: 1)
        let second = sampleBytes(1_500_000, seed: 2)
        let skippable: [UInt8] = [0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5]
        let one = try run(["zstd", "-qc"], first)
        let two = try run(["zstd", "-qc", "--no-check"], second)
        let compressed = skippable + one + skippable + skippable + two + skippable
        for delivery in Delivery.allCases {
            let result = try readLayer(compressed, options: Self.hashing, delivery: delivery, trickle: 1001)
            #expect(result.bytes == Content(first + second))
            #expect(result.summary.compressedDigest == digest(compressed))
        }
        let onlySkippable = try readLayer(skippable, options: Self.hashing)
        #expect(onlySkippable.bytes == Content([]))
        #expect(onlySkippable.summary.format == .zstd)
    }

    @Test("T129: other bytes after a zstd frame are an error", arguments: [[0], [1, 2, 3, 4, 5], [0x28, 0xb5, 0x2f]])
    func zstdGarbage(garbage: [UInt8]) throws {
        let compressed = try run(["zstd", "-qc"], sampleBytes(1000)) + garbage
        #expect(codeThrown { _ = try readLayer(compressed) } == .invalidArchive)
    }

    @Test("A7: zstd windows of 128 MiB are accepted and larger ones refused")
    func windows() throws {
        // Frame header: magic, descriptor without single segment, window exponent, then one empty last raw block.
        func frame(windowLog: UInt8) -> [UInt8] { [0x28, 0xb5, 0x2f, 0xfd, 0, (windowLog - 10) << 3, 1, 0, 0] }
        #expect(try readLayer(frame(windowLog: 27)).bytes == Content([]))
        #expect(codeThrown { _ = try readLayer(frame(windowLog: 28)) } == .limitExceeded)
    }

    @Test("Only one layer of compression is removed", arguments: [["bzip2", "-c"], ["xz", "-c"], ["lz4", "-qc"]])
    func nested(command: [String]) throws {
        let inner = try run(command, sampleBytes(10_000))
        #expect(try readLayer(try run(command, inner)).bytes == Content(inner))
    }
}
