import LayerCompression
import LayerModel
import Testing

@Suite(.timeLimit(.minutes(5))) struct DamageTests {
    static let commands: [(command: [String], format: LayerFormat)] = [
        (["gzip", "-c"], .gzip), (["zstd", "-qc"], .zstd), (["bzip2", "-c"], .bzip2), (["xz", "-c"], .xz),
        (["lz4", "-qc"], .lz4),
    ]

    @Test("T133: a stream cut anywhere is an error in finite time", arguments: commands.indices)
    func truncated(index: Int) throws {
        let (command, format) = Self.commands[index]
        let input = sampleBytes(1_300_000)
        let compressed = try run(command, input)
        var cuts = Array(1...24) + Array((compressed.count - 24)..<compressed.count)
        cuts += stride(from: 25, to: compressed.count - 24, by: compressed.count / 61)
        for cut in cuts {
            let bytes = Array(compressed[0..<cut])
            for delivery in [Delivery.file, .pipe] {
                let code = codeThrown { _ = try readLayer(bytes, format: format, delivery: delivery) }
                #expect(code == .invalidArchive, "\(format.name) cut at \(cut) of \(compressed.count)")
            }
        }
    }

    @Test("T133: what was decoded before the damage is delivered first, and is right")
    func prefix() throws {
        let input = sampleBytes(6 << 20)
        let compressed = try run(["gzip", "-c"], input)
        let file = try ScratchFile(Array(compressed[0..<(compressed.count / 2)]))
        var reader = try LayerReader(descriptor: file.descriptor)
        var decoded: [UInt8] = []
        let code = codeThrown {
            while let slab = try reader.next() {
                slab.bytes.withUnsafeBytes { decoded.append(contentsOf: $0) }
                reader.recycle(slab)
            }
        }
        #expect(code == .invalidArchive)
        #expect(decoded.count > 1 << 20)
        #expect(Content(decoded) == Content(Array(input.prefix(decoded.count))))
    }

    @Test("A7: a wrong checksum or size of a gzip member is an error", arguments: 1...8)
    func gzipTrailer(fromEnd: Int) throws {
        var compressed = try run(["gzip", "-c"], sampleBytes(100_000))
        compressed[compressed.count - fromEnd] ^= 0x10
        #expect(codeThrown { _ = try readLayer(compressed) } == .invalidArchive)
    }

    @Test("Flipped bits never give wrong bytes without an error", arguments: commands.indices)
    func flipped(index: Int) throws {
        let (command, format) = Self.commands[index]
        let input = sampleBytes(60_000)
        let compressed = try run(command, input)
        var random = SplitMix(state: 3)
        for _ in 0..<150 {
            var damaged = compressed
            damaged[Int(random.next() % UInt64(damaged.count))] ^= 1 << UInt8(random.next() % 8)
            // Some bits, such as the time in a gzip header, carry nothing; the contents must survive those.
            do {
                let result = try readLayer(damaged, format: format)
                #expect(result.bytes == Content(input))
            } catch let error as LayerError {
                #expect(error.code == .invalidArchive || error.code == .limitExceeded)
            }
        }
    }

    @Test("Streams that are something else are refused", arguments: commands.indices)
    func otherFormat(index: Int) {
        let format = Self.commands[index].format
        let code = codeThrown { _ = try readLayer(Array("this is no compressed stream at all".utf8), format: format) }
        #expect(code == .invalidArchive, "\(format.name)")
    }

    @Test("A descriptor that cannot be read is an error of the read call")
    func badDescriptor() {
        #expect(codeThrown { _ = try readLayer(descriptor: -1, format: nil, options: LayerReaderOptions()) } == .io)
    }
}
