import LayerModel

/// How the bytes of a layer are compressed.
public enum LayerFormat: Sendable, Equatable, CaseIterable {
    case none
    case gzip
    case zstd
    case bzip2
    case xz
    case lz4

    /// The trait of the package without which a build neither reads nor writes the format; nil where it is there always.
    private var missingTrait: String? {
        var missing: [LayerFormat: String] = [:]
        #if !Gzip
            missing[.gzip] = "Gzip"
        #endif
        #if !Zstd
            missing[.zstd] = "Zstd"
        #endif
        #if !OtherFormats
            for format in [LayerFormat.bzip2, .xz, .lz4] { missing[format] = "OtherFormats" }
        #endif
        return missing[self]
    }

    /// Throws `unsupported` where this build has not the library that the format needs. Whatever uses one asks this first.
    func require(_ operation: StaticString) throws(LayerError) {
        guard let trait = missingTrait else { return }
        throw LayerError(
            .unsupported, "\(operation)", cause: .reason("this build of the library has no \(name)"),
            hint: "build the package ldiff with its trait \(trait)")
    }

    /// The most bytes that `detect` looks at.
    public static let detectionLength = 10

    /// The format that a stream beginning with `firstBytes` has (A3).
    ///
    /// Never fails: empty, short and unknown beginnings are `.none`. A tar archive whose first name begins with
    /// a compressor's magic bytes is taken for that compressor; who knows better from a media type passes
    /// `.none` instead of asking (A5).
    public static func detect(_ firstBytes: RawSpan) -> LayerFormat {
        if begins(firstBytes, [0x1f, 0x8b, 0x08]) { return .gzip }
        if begins(firstBytes, [0x42, 0x5a, 0x68]) { return .bzip2 }
        if begins(firstBytes, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) { return .xz }
        if begins(firstBytes, [0x28, 0xb5, 0x2f, 0xfd]) { return .zstd }
        if begins(firstBytes, [0x04, 0x22, 0x4d, 0x18]) { return .lz4 }
        if isSkippableFrame(firstBytes) { return .zstd }
        return .none
    }

    /// The OCI media type of a layer in this format, or nil where the OCI image specification has none.
    public var mediaType: String? {
        switch self {
        case .none: "application/vnd.oci.image.layer.v1.tar"
        case .gzip: "application/vnd.oci.image.layer.v1.tar+gzip"
        case .zstd: "application/vnd.oci.image.layer.v1.tar+zstd"
        case .bzip2, .xz, .lz4: nil
        }
    }

    /// The word users write for this format.
    public var name: String {
        switch self {
        case .none: "none"
        case .gzip: "gzip"
        case .zstd: "zstd"
        case .bzip2: "bzip2"
        case .xz: "xz"
        case .lz4: "lz4"
        }
    }

    private static func begins(_ bytes: RawSpan, _ magic: [UInt8]) -> Bool {
        guard bytes.byteCount >= magic.count else { return false }
        for index in magic.indices where bytes[index] != magic[index] { return false }
        return true
    }

    /// A zstd skippable frame (RFC 8878, 3.1.2): any of sixteen magics, then a four-byte length.
    private static func isSkippableFrame(_ bytes: RawSpan) -> Bool {
        bytes.byteCount >= 8 && bytes[0] & 0xf0 == 0x50 && bytes[1] == 0x2a
            && bytes[2] == 0x4d && bytes[3] == 0x18
    }
}
