import LayerCompression
import LayerModel
import Testing

@Suite struct DetectionTests {
    static let cases: [(name: String, bytes: [UInt8], format: LayerFormat)] = [
        ("empty", [], .none),
        ("one byte", [0x1f], .none),
        ("gzip", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], .gzip),
        ("gzip, no more than the magic", [0x1f, 0x8b, 8], .gzip),
        ("gzip cut short", [0x1f, 0x8b], .none),
        ("gzip with another method", [0x1f, 0x8b, 7, 0], .none),
        ("bzip2", [0x42, 0x5a, 0x68, 0x39], .bzip2),
        ("bzip2 cut short", [0x42, 0x5a], .none),
        ("xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], .xz),
        ("xz cut short", [0xfd, 0x37, 0x7a, 0x58, 0x5a], .none),
        ("zstd", [0x28, 0xb5, 0x2f, 0xfd], .zstd),
        ("zstd cut short", [0x28, 0xb5, 0x2f], .none),
        ("zstd, first skippable magic", [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], .zstd),
        ("zstd, last skippable magic", [0x5f, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9], .zstd),
        ("skippable magic with too little behind it", [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0], .none),
        ("beside the skippable magics", [0x60, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], .none),
        ("lz4", [0x04, 0x22, 0x4d, 0x18], .lz4),
        ("a tar name", Array("usr/share/".utf8), .none),
        ("zeros", [UInt8](repeating: 0, count: 10), .none),
    ]

    @Test("A3: a layer's first bytes say how it is compressed", arguments: cases.indices)
    func detect(index: Int) {
        let example = Self.cases[index]
        #expect(LayerFormat.detect(example.bytes.span.bytes) == example.format, "\(example.name)")
    }

    @Test("T131: a tar name that begins like gzip is gzip to a sniffer, and a tar to who knows the media type")
    func precedence() throws {
        var block = [UInt8](repeating: 0, count: 512)
        block.replaceSubrange(0..<4, with: [0x1f, 0x8b, 8, UInt8(ascii: "x")])
        #expect(LayerFormat.detect(block.span.bytes) == .gzip)
        #expect(codeThrown { _ = try readLayer(block) } == .invalidArchive)
        #expect(try readLayer(block, format: LayerFormat.none).bytes == Content(block))
        var later = [UInt8](repeating: UInt8(ascii: "a"), count: 512)
        later.replaceSubrange(1..<4, with: [0x1f, 0x8b, 8])
        #expect(try readLayer(later).bytes == Content(later))
    }

    @Test("Only the formats of the OCI image specification have media types", arguments: LayerFormat.allCases)
    func mediaTypes(format: LayerFormat) {
        let expected: [LayerFormat: String] = [
            .none: "application/vnd.oci.image.layer.v1.tar",
            .gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
            .zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
        ]
        #expect(format.mediaType == expected[format])
    }
}
