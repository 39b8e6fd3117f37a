import TarCodec
import Testing

/// Archives that between them use every state of the decoder.
private func seeds() throws -> [[UInt8]] {
    let extents = (0..<30).map { (offset: Int64($0 * 10), length: Int64(3)) }
    let body = String(repeating: "data", count: 30).prefix(90)
    let sparse = SparseForm.allCases.map { $0.archive(size: 400, extents, body: String(body)).end().bytes }
    let meta = RawArchive().pax([("comment", "c")], type: "g")
        .meta("L", Array("long/name\0".utf8), magic: .gnu).meta("K", Array("link\0".utf8), magic: .gnu)
        .pax([("path", "p"), ("mtime", "-1.5"), ("SCHILY.xattr.user.x", "v"), ("LIBARCHIVE.xattr.user.%79", "AP8")])
        .header("f", type: "2").file("b", "body").end()
    let formats = RawArchive().header("v7", magic: .v7).header("star", magic: .star) { $0.put("pre/fix", 345) }
        .header("gnu", magic: .gnu) { $0.put("junk", 345) }.header("s", type: "\0").end()
    let golden = try Golden.all.map { try archive($0.sources()) }
    return golden + sparse + [meta.bytes, formats.bytes]
}

/// Numbers that look random and are the same in every run (xorshift).
private struct Numbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state &* 0x2545_f491_4f6c_dd1d
    }
}

struct FuzzTests {
    @Test("P5 every truncation gives an error or, at a block boundary, the shorter archive")
    func truncation() throws {
        for seed in try seeds() {
            let whole = decode(seed)
            #expect(whole.error == nil)
            for count in 0..<seed.count {
                let reading = decode(Array(seed.prefix(count)))
                let known = reading.entries.dropLast(reading.error == nil ? 0 : 1)
                #expect(whole.entries.starts(with: known))
                if count % 512 == 0 { continue }
                let isPastEnd = reading.ending == whole.ending
                #expect(reading.error?.kind == .unexpectedEOF || isPastEnd, "\(count)")
            }
        }
    }

    @Test("P6 the window's size never matters, for flipped bits under right and wrong checksums")
    func flips() throws {
        var numbers = Numbers(seed: 7)
        for (index, seed) in try seeds().enumerated() {
            for round in 0..<150 {
                let archive = mutated(seed, keepsChecksums: round % 3 != 0, &numbers)
                let whole = decode(archive)
                let windows = (0..<5).map { _ in Int.random(in: 1...1200, using: &numbers) }
                for split in [[1], [511, 2], [512], windows] {
                    #expect(decode(archive, windows: split) == whole, "seed \(index) round \(round) split \(split)")
                }
                let skipped = decode(archive, windows: windows, leavesBodies: true)
                #expect(skipped.entries.map(\.offset) == whole.entries.map(\.offset))
                #expect(skipped.ending == whole.ending)
            }
        }
    }

    @Test("P6 blocks of chance under right checksums never trap")
    func noise() {
        var numbers = Numbers(seed: 11)
        let alphabet: [UInt8] = [0, 0x20, 0x30, 0x31, 0x37, 0x39, 0x80, 0xff, 0x7f, 0x0a, 0x2d, 0x2e, 0x3d]
        let types = Array("0123456SxgLK\0".utf8)
        for _ in 0..<4000 {
            var archive: [UInt8] = []
            for _ in 0..<4 {
                var block = RawArchive().header("n", magic: Bool.random(using: &numbers) ? .gnu : .ustar).bytes
                block[156] = types.randomElement(using: &numbers) ?? 0
                for _ in 0..<Int.random(in: 0...12, using: &numbers) {
                    let place = Int.random(in: 100..<512, using: &numbers)
                    block[place] = alphabet.randomElement(using: &numbers) ?? 0
                }
                if Bool.random(using: &numbers) { block.put("00000001000\0", 124) }
                block.sign()
                archive += block
            }
            let whole = decode(archive)
            #expect(decode(archive, windows: [100, 600]) == whole)
        }
    }

    @Test("P6 records of chance never trap")
    func recordNoise() {
        var numbers = Numbers(seed: 13)
        let keys = [
            "path", "size", "uid", "mtime", "atime", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.map",
            "GNU.sparse.numblocks", "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.realsize",
            "GNU.sparse.size", "GNU.sparse.name", "LIBARCHIVE.xattr.a", "SCHILY.xattr.b",
        ]
        let values = [
            "", "0", "1", "512", "-1", "9223372036854775807", "-9223372036854775808", "18446744073709551616", "0,1",
            "0,0,9223372036854775807,0", "1.5", "-.5", "a\0b", "%", "AAA", "1,9223372036854775807",
        ]
        for _ in 0..<4000 {
            let records = (0..<Int.random(in: 1...6, using: &numbers)).map { _ in
                (keys.randomElement(using: &numbers) ?? "", values.randomElement(using: &numbers) ?? "")
            }
            let archive = RawArchive().pax(records).file("f", "1\n0\n6\n").file("g", "").end().bytes
            let whole = decode(archive)
            #expect(decode(archive, windows: [3, 700]) == whole)
        }
    }

    /// A copy with some bytes changed; the checksums of its headers are made right again on request.
    private func mutated(_ seed: [UInt8], keepsChecksums: Bool, _ numbers: inout Numbers) -> [UInt8] {
        var copy = seed
        for _ in 0..<Int.random(in: 1...4, using: &numbers) {
            let place = Int.random(in: 0..<copy.count, using: &numbers)
            copy[place] ^= UInt8(1) << UInt8.random(in: 0...7, using: &numbers)
        }
        guard keepsChecksums else { return copy }
        for start in stride(from: 0, to: copy.count, by: 512) where isChecksumRight(seed[start..<start + 512]) {
            var block = Array(copy[start..<start + 512])
            block.sign()
            copy.put(block, start)
        }
        return copy
    }
}
