import Foundation
import Glibc
import LayerCompression
import LayerModel
import LinuxIO
import Testing

@Suite(.timeLimit(.minutes(5))) struct ReaderControlTests {
    static let bombTools: [[String]] = [
        ["gzip", "-c"], ["zstd", "-qc"], ["bzip2", "-c"], ["xz", "-c"], ["lz4", "-qc"],
    ]

    @Test("V18: a bomb stops at the limit on uncompressed bytes", arguments: bombTools)
    func bombLimit(tool: [String]) throws {
        let bomb = try run(tool, [UInt8](repeating: 0, count: 48 << 20))
        var options = LayerReaderOptions()
        options.maxUncompressedBytes = 4 << 20
        let file = try ScratchFile(bomb)
        var reader = try LayerReader(descriptor: file.descriptor, options: options)
        var byteCount = 0
        let code = codeThrown {
            while let slab = try reader.next() {
                byteCount += slab.count
                reader.recycle(slab)
            }
        }
        #expect(code == .limitExceeded)
        #expect(byteCount <= 4 << 20)
        options.maxUncompressedBytes = 48 << 20
        #expect(try readLayer(bomb, options: options).bytes.bytes.count == 48 << 20, "the limit itself is allowed")
    }

    @Test("V18: a bomb stops at the limit on the ratio", arguments: [["gzip", "-c"], ["zstd", "-qc"]])
    func bombRatio(tool: [String]) throws {
        let bomb = try run(tool, [UInt8](repeating: 0, count: 80 << 20))
        var options = LayerReaderOptions()
        options.maxRatio = 100
        #expect(codeThrown { _ = try readLayer(bomb, options: options) } == .limitExceeded)
        let small = try run(tool, [UInt8](repeating: 0, count: 8 << 20))
        #expect(try readLayer(small, options: options).bytes.bytes.count == 8 << 20)
    }

    @Test("T127, A8: drain reads to the end, and the digests cover it", arguments: [["cat"], ["gzip", "-c"]])
    func drain(tool: [String]) throws {
        let input = sampleBytes(5 << 20) + [UInt8](repeating: 0, count: 65_536) + Array("trailing garbage".utf8)
        let compressed = try run(tool, input)
        let file = try ScratchFile(compressed)
        var reader = try LayerReader(descriptor: file.descriptor, options: LayerReaderTests.hashing)
        let slab = try #require(try reader.next())
        let first = slab.count
        reader.recycle(slab)
        #expect(codeThrown { _ = try reader.finish() } == .invalidArgument, "not before the end")
        #expect(try reader.drain() == UInt64(input.count - first))
        let summary = try reader.finish()
        #expect(summary.diffID == digest(input))
        #expect(summary.compressedDigest == digest(compressed))
    }

    @Test("V17: drain stops at its limit")
    func drainLimit() throws {
        let compressed = try run(["gzip", "-c"], [UInt8](repeating: 0, count: 64 << 20))
        let file = try ScratchFile(compressed)
        var options = LayerReaderOptions()
        options.maxTrailingBytes = 3 << 20
        var reader = try LayerReader(descriptor: file.descriptor, options: options)
        #expect(codeThrown { try reader.drain() } == .limitExceeded)
    }

    @Test("Slabs that the consumer keeps are not used again, those it gives back at once still get hashed")
    func keptSlabs() throws {
        let input = sampleBytes(40 << 20)
        let file = try ScratchFile(input)
        var reader = try LayerReader(descriptor: file.descriptor, options: LayerReaderTests.hashing)
        var kept: [(slab: Slab, offset: Int)] = []
        var offset = 0
        while let slab = try reader.next() {
            #expect(slab.start >= SlabSourceDefaults.headroom)
            let count = slab.count
            if offset / SlabSourceDefaults.payload % 3 == 0 {
                // A consumer may use the headroom at once, even while the slab is being hashed.
                slab.start -= 1000
                slab.copy([UInt8](repeating: 0x55, count: 1000).span.bytes, at: slab.start)
                kept.append((slab, offset))
            } else {
                reader.recycle(slab)
            }
            offset += count
        }
        for (slab, offset) in kept {
            let range = slab.start + 1000..<slab.end
            let expected = digest(Array(input[offset..<offset + range.count]))
            #expect(Digest.of(slab.span(range)) == expected)
            reader.recycle(slab)
        }
        #expect(try reader.finish().diffID == digest(input))
    }

    @Test("Uncompressed slabs are full even when a pipe delivers little at a time")
    func fullSlabs() throws {
        let input = sampleBytes((2 << 20) + 100)
        let pipe = try PipeEnds()
        let thread = Thread {
            var sink = DescriptorSink(descriptor: pipe.writeEnd)
            try? sink.write(bytes: input, split: 3000)
            close(pipe.writeEnd)
        }
        thread.start()
        defer { close(pipe.readEnd) }
        var reader = try LayerReader(descriptor: pipe.readEnd)
        var counts: [Int] = []
        while let slab = try reader.next() {
            counts.append(slab.count)
            reader.recycle(slab)
        }
        #expect(counts == [1 << 20, 1 << 20, 100])
    }

    @Test("A8: a reader blocked on a silent pipe is cancelled from another thread")
    func cancelBlocked() throws {
        let pipe = try PipeEnds()
        defer {
            close(pipe.readEnd)
            close(pipe.writeEnd)
        }
        var options = LayerReaderOptions()
        let flag = CancelFlag()
        options.cancel = flag
        var reader = try LayerReader(descriptor: pipe.readEnd, options: options)
        Thread {
            usleep(50_000)
            flag.cancel()
        }.start()
        #expect(codeThrown { _ = try reader.next() } == .cancelled)
    }

    @Test("A cancelled reader of a file stops too")
    func cancelFile() throws {
        let file = try ScratchFile(sampleBytes(30 << 20))
        var options = LayerReaderOptions()
        let flag = CancelFlag()
        options.cancel = flag
        var reader = try LayerReader(descriptor: file.descriptor, options: options)
        _ = try reader.next()
        flag.cancel()
        #expect(codeThrown { _ = try reader.next() } == .cancelled)
    }

    @Test("A reader that is dropped early ends its threads, also those blocked on a silent pipe")
    func dropped() async {
        await #expect(processExitsWith: .success) {
            let before = try threadCount()
            for _ in 0..<20 {
                let pipe = try PipeEnds()
                do { _ = try LayerReader(descriptor: pipe.readEnd, options: LayerReaderTests.hashing) }
                close(pipe.readEnd)
                close(pipe.writeEnd)
                let file = try ScratchFile([UInt8](repeating: 0, count: 20 << 20))
                var reader = try LayerReader(descriptor: file.descriptor, options: LayerReaderTests.hashing)
                _ = try reader.next()
            }
            try expectThreads(atMost: before)
        }
    }

    @Test("The progress counter ends at the number of compressed bytes")
    func progress() throws {
        let compressed = try run(["gzip", "-c"], sampleBytes(3 << 20))
        var options = LayerReaderOptions()
        let counter = ByteCounter()
        options.progress = counter
        _ = try readLayer(compressed, options: options)
        #expect(counter.value == UInt64(compressed.count))
    }

    @Test("A descriptor that does not block is waited for, both ways")
    func nonBlocking() throws {
        let input = sampleBytes(3 << 20)
        let pipe = try PipeEnds()
        _ = fcntl(pipe.readEnd, F_SETFL, O_NONBLOCK)
        _ = fcntl(pipe.writeEnd, F_SETFL, O_NONBLOCK)
        Thread {
            var sink = DescriptorSink(descriptor: pipe.writeEnd)
            usleep(20_000)
            try? sink.write(bytes: input)
            close(pipe.writeEnd)
        }.start()
        defer { close(pipe.readEnd) }
        let result = try readLayer(descriptor: pipe.readEnd, format: nil, options: LayerReaderTests.hashing)
        #expect(result.bytes == Content(input))
    }
}
