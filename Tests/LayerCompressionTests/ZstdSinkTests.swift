import LayerCompression
import LayerModel
import Testing

@Suite(.timeLimit(.minutes(5))) struct ZstdSinkTests {
    /// Inputs around the size of the jobs that are compressed side by side.
    static let inputs: [(name: String, bytes: [UInt8])] = [
        ("nothing", []),
        ("one byte", [65]),
        ("text", sampleBytes(300_000)),
        ("exactly a job", sampleBytes(4 << 20)),
        ("several jobs", sampleBytes((9 << 20) + 12_345)),
        ("zeros", [UInt8](repeating: 0, count: (9 << 20) + 3)),
        ("what cannot be compressed", randomBytes((5 << 20) + 777)),
    ]

    static func compress(_ bytes: [UInt8], level: Int?, workers: Int, split: Int = .max) throws -> Content {
        var sink = try ZstdSink(MemorySink(), level: level, workers: workers)
        try sink.write(bytes: bytes, split: split)
        try sink.finish()
        let isFinished = sink.base.isFinished
        #expect(isFinished)
        return Content(sink.base.bytes)
    }

    @Test("zstd and this reader read what is written", arguments: inputs.indices, [nil, 1, 7])
    func readBack(index: Int, level: Int?) throws {
        let input = Self.inputs[index].bytes
        let compressed = try Self.compress(input, level: level, workers: 2).bytes
        #expect(LayerFormat.detect(compressed.span.bytes) == .zstd)
        #expect(Content(try run(["zstd", "-dcq"], compressed)) == Content(input))
        #expect(try readLayer(compressed).bytes == Content(input))
        #expect(compressed[4] & 4 == 4, "the frame header announces a checksum (RFC 8878, 3.1.1.1.1)")
    }

    @Test("The bytes depend neither on the number of workers nor on how writes are cut", arguments: [1, 3, 5])
    func deterministic(level: Int) throws {
        let input = sampleBytes((17 << 20) + 4321)
        let expected = try Self.compress(input, level: level, workers: 1)
        for workers in [2, 8] {
            for split in [4099, 1 << 20, (4 << 20) + 1, .max] {
                #expect(try Self.compress(input, level: level, workers: workers, split: split) == expected)
            }
        }
    }

    @Test("Levels that do not exist are refused", arguments: [-5, 0, 20, 100])
    func badLevel(level: Int) {
        #expect(codeThrown { _ = try ZstdSink(NullSink(), level: level, workers: 1) } == .invalidArgument)
    }

    @Test("An error of the sink below ends the job", arguments: [0, 1000])
    func failingBase(limit: Int) throws {
        let code = codeThrown {
            var sink = try ZstdSink(FailingSink(limit: limit), workers: 2)
            try sink.write(bytes: sampleBytes(24 << 20))
            try sink.finish()
        }
        #expect(code == .noSpace)
    }
}
