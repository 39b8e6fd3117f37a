import Glibc
import LayerCompression
import LayerModel
import Testing

@Suite(.timeLimit(.minutes(5))) struct GzipSinkTests {
    /// The size of the pieces that `GzipSink` cuts its input into; part of the output format.
    static let piece = 1 << 20

    static let inputs: [(name: String, bytes: [UInt8])] = [
        ("nothing", []),
        ("one byte", [65]),
        ("text", sampleBytes(300_000)),
        ("a piece but one byte", sampleBytes(piece - 1)),
        ("exactly a piece", sampleBytes(piece)),
        ("a piece and one byte", sampleBytes(piece + 1)),
        ("exactly three pieces", sampleBytes(3 * piece)),
        ("many pieces", sampleBytes(5 * piece + 12_345)),
        ("zeros", [UInt8](repeating: 0, count: 5 * piece + 3)),
        ("what cannot be compressed", randomBytes(2 * piece + 777)),
    ]

    static func compress(_ bytes: [UInt8], level: Int?, workers: Int, split: Int = .max) throws -> Content {
        var sink = try GzipSink(MemorySink(), level: level, workers: workers)
        try sink.write(bytes: bytes, split: split)
        try sink.finish()
        let isFinished = sink.base.isFinished
        #expect(isFinished)
        return Content(sink.base.bytes)
    }

    @Test(
        "D41: gzip, python and this reader read what is written", arguments: inputs.indices, [nil, 0, 1, 2, 3, 4, 6, 9])
    func readBack(index: Int, level: Int?) throws {
        let input = Self.inputs[index].bytes
        let compressed = try Self.compress(input, level: level, workers: 2).bytes
        #expect(Array(compressed.prefix(10)) == [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])
        #expect(Content(try run(["gzip", "-dc"], compressed)) == Content(input))
        let python =
            "import sys,zlib; d=zlib.decompressobj(31); o=sys.stdout.buffer; "
            + "o.write(d.decompress(sys.stdin.buffer.read())); assert d.eof and not d.unused_data"
        #expect(Content(try run(["python3", "-c", python], compressed)) == Content(input), "a single member")
        #expect(try readLayer(compressed, format: .gzip).bytes == Content(input))
        #expect(compressed.count <= input.count + input.count / 1000 + 64)
    }

    @Test("The bytes depend neither on the number of workers nor on how writes are cut", arguments: [0, 1, 2, 3, 6])
    func deterministic(level: Int) throws {
        let input = sampleBytes(6 * Self.piece + 4321)
        let expected = try Self.compress(input, level: level, workers: 1)
        for workers in [2, 3, 8] {
            for split in [999, 65_536, Self.piece, Self.piece + 1, .max] {
                #expect(try Self.compress(input, level: level, workers: workers, split: split) == expected)
            }
        }
        #expect(expected.bytes.count < input.count / 2)
    }

    @Test("Levels that do not exist are refused", arguments: [-1, 10, 100])
    func badLevel(level: Int) {
        #expect(codeThrown { _ = try GzipSink(NullSink(), level: level, workers: 1) } == .invalidArgument)
    }

    @Test("An error of the sink below ends the job, with all threads joined", arguments: [0, 1, 500_000])
    func failingBase(limit: Int) throws {
        let input = sampleBytes(12 * Self.piece)
        let code = codeThrown {
            var sink = try GzipSink(FailingSink(limit: limit), workers: 2)
            try sink.write(bytes: input)
            try sink.finish()
        }
        #expect(code == .noSpace)
    }

    @Test("A sink given up in the middle leaves no thread behind")
    func earlyDrop() async {
        await #expect(processExitsWith: .success) {
            let before = try threadCount()
            for workers in [1, 2, 8] {
                var sink = try GzipSink(NullSink(), workers: workers)
                try sink.write(bytes: sampleBytes(7 * GzipSinkTests.piece))
            }
            try expectThreads(atMost: before)
        }
    }

    @Test("A pipe that nobody reads any more is an error, not a signal")
    func brokenPipe() throws {
        let pipe = try PipeEnds()
        close(pipe.readEnd)
        defer { close(pipe.writeEnd) }
        let code = codeThrown {
            var sink = try GzipSink(DescriptorSink(descriptor: pipe.writeEnd), workers: 1)
            try sink.write(bytes: sampleBytes(3 * Self.piece))
            try sink.finish()
        }
        #expect(code == .io)
    }
}

/// Takes `limit` bytes and then fails like a full disk.
struct FailingSink: ByteSink, ~Copyable {
    var limit: Int

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        limit -= bytes.byteCount
        if limit < 0 { throw LayerError(.noSpace, "write the test's output") }
    }

    mutating func finish() throws(LayerError) {}
}
