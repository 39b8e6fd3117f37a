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

    @Test("A gzip header with a checksum of its own is read wherever it is cut, and refused where it is damaged")
    func headerChecksum() throws {
        // Extra field, name, comment and checksum, as RFC 1952 allows; then an empty member's data and trailer.
        let header: [UInt8] = [0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 0xff, 2, 0, 7, 7, 0x6e, 0, 0x63, 0x6f, 0]
        var checksum: UInt32 = 0xffff_ffff
        for byte in header {
            checksum ^= UInt32(byte)
            for _ in 0..<8 { checksum = checksum & 1 == 1 ? checksum >> 1 ^ 0xedb8_8320 : checksum >> 1 }
        }
        let ending = [UInt8(~checksum & 0xff), UInt8(~checksum >> 8 & 0xff)]
        let member = header + ending + [3, 0] + [UInt8](repeating: 0, count: 8)
        let text = try run(["gzip", "-c"], Array("text".utf8))
        // Across the end of the decoder's first read, of 256 KiB, which empty members in front fill.
        for cut in 1...member.count {
            let filler = emptyMembers(byteCount: (256 << 10) - cut)
            #expect(try readLayer(filler + member + text).bytes == Content(Array("text".utf8)), "cut at \(cut)")
        }
        var damaged = member
        damaged[15] ^= 1
        #expect(codeThrown { _ = try readLayer(text + damaged) } == .invalidArchive)
    }

    @Test("A gzip header with reserved flags is refused, also of a later member", arguments: [0x20, 0x40, 0x80])
    func reservedFlags(flag: UInt8) throws {
        let member = try run(["gzip", "-c"], sampleBytes(1000))
        var flagged = member
        flagged[3] |= flag
        #expect(codeThrown { _ = try readLayer(flagged, format: .gzip) } == .invalidArchive)
        #expect(codeThrown { _ = try readLayer(member + flagged, format: .gzip) } == .invalidArchive)
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

/// Four gzip members that say nothing, with extra fields that make them so long together.
private func emptyMembers(byteCount: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    for index in 0..<4 {
        let extra = byteCount * (index + 1) / 4 - bytes.count - 22
        bytes += [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, UInt8(extra & 0xff), UInt8(extra >> 8)]
        bytes += [UInt8](repeating: 7, count: extra) + [3, 0] + [UInt8](repeating: 0, count: 8)
    }
    return bytes
}
