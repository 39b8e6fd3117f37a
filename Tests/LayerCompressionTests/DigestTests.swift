import LayerCompression
import LayerModel
import Testing

@Suite struct DigestTests {
    static let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    @Test("A4: the digest of no bytes is that of the empty string")
    func emptyString() {
        #expect(digest([]).description == Self.empty)
        #expect(DigestState().finalize().description == Self.empty)
    }

    @Test("Digests are those of sha256sum, however the bytes are cut", arguments: [1, 55, 64, 1000, 1 << 20])
    func sumTool(split: Int) throws {
        let bytes = sampleBytes(200_000)
        let text = String(decoding: try run(["sha256sum"], bytes), as: UTF8.self)
        var sink = DigestSink(MemorySink())
        try sink.write(bytes: bytes, split: split)
        try sink.finish()
        let (digest, byteCount) = (sink.digest, sink.byteCount)
        #expect(try #require(digest).hexadecimal == text.prefix(64))
        #expect(byteCount == 200_000)
        let passedOn = sink.base.bytes
        #expect(Content(passedOn) == Content(bytes))
        let isFinished = sink.base.isFinished
        #expect(isFinished)
    }

    @Test("V33: what a digest says about itself can be read back")
    func roundTrip() throws {
        let value = digest([1, 2, 3])
        #expect(Digest(parsing: value.description) == value)
        #expect(try Digest(validating: value.description) == value)
    }

    static let bad = [
        "", "sha256", "sha256:", "sha256:../../x", "sha512:" + String(repeating: "0", count: 64),
        "SHA256:" + String(repeating: "0", count: 64), "sha256:" + String(repeating: "0", count: 63),
        "sha256:" + String(repeating: "0", count: 65), "sha256:" + String(repeating: "A", count: 64),
        "sha256:" + String(repeating: "g", count: 64), " sha256:" + String(repeating: "0", count: 63),
        "sha256:" + String(repeating: "0", count: 63) + "/", "sha256:" + String(repeating: "0", count: 62) + "é",
        String(repeating: "0", count: 64), "sha256:" + String(repeating: "0", count: 63) + "\n",
    ]

    @Test("V33: anything but sha256 and 64 lower-case digits is refused", arguments: bad)
    func refused(text: String) {
        #expect(Digest(parsing: text) == nil)
        #expect(codeThrown { _ = try Digest(validating: text) } == .invalidArgument)
    }

    @Test("A digest has 32 bytes")
    func byteCounts() {
        #expect(Digest(bytes: [UInt8](repeating: 1, count: 31)) == nil)
        #expect(Digest(bytes: [UInt8](repeating: 1, count: 33)) == nil)
        #expect(Digest(bytes: [UInt8](repeating: 0xab, count: 32))?.hexadecimal == String(repeating: "ab", count: 32))
    }
}
