package import LayerCompression
package import LayerModel

/// A way of writing a layer so that parts of it can be read alone.
package enum IndexedFormat: String, Sendable, Equatable, CaseIterable {
    case zstdChunked = "zstd:chunked"
    case estargz

    /// The layer without its index.
    package var plain: LayerFormat { self == .zstdChunked ? .zstd : .gzip }
}

/// How such a layer is written.
package struct IndexedLayerOptions: Sendable {
    package var format: IndexedFormat
    /// Of zstd or ISA-L; nil for the standard.
    package var level: Int?
    /// Threads that compress.
    package var workers = 1
    /// eStargz: bytes of a piece, 1 to 4 MiB.
    package var chunkSize = 4 << 20
    /// eStargz: a member begins only when the one before has so many bytes; 0 for each piece.
    package var minChunkSize = 0
    /// eStargz: the tar stays as it is, and the table of contents is given apart.
    package var keepsDiffID = false
    /// Compute the digest of the tar.
    package var digests = true
    /// A layer that the index cannot carry is an error, not a layer without one.
    package var requiresIndex = false

    package init(_ format: IndexedFormat) { self.format = format }
}

/// Why a layer has no index: what the table of contents cannot say.
package enum IndexObstacle: Error, Equatable, Sendable, CustomStringConvertible {
    case nameNotUTF8(PathBytes)
    case linkNotUTF8(PathBytes)
    case attributeNotUTF8(PathBytes)
    case ownerNotUTF8(PathBytes)
    case repeatedName(PathBytes)
    case missingTarget(PathBytes)
    case globalHeader
    case sparse(PathBytes)
    case type(PathBytes)
    case time(PathBytes)
    case number(PathBytes)

    package var description: String {
        switch self {
        case .nameNotUTF8(let path): "the name \(path) is not UTF-8"
        case .linkNotUTF8(let path): "the target of \(path) is not UTF-8"
        case .attributeNotUTF8(let path): "the name of an attribute of \(path) is not UTF-8"
        case .ownerNotUTF8(let path): "the owner of \(path) is not UTF-8"
        case .repeatedName(let path): "\(path) comes twice"
        case .missingTarget(let path): "\(path) is a link to a file that does not come before it"
        case .globalHeader: "the archive has global headers"
        case .sparse(let path): "\(path) is stored as a sparse file"
        case .type(let path): "\(path) is of a kind that indexes do not know"
        case .time(let path): "a time of \(path) is outside the years 1 to 9999"
        case .number(let path): "a number of \(path) is below zero"
        }
    }
}

/// What was written.
package struct IndexedLayerSummary: Sendable {
    /// Why there is no index; nil if there is one.
    package var obstacle: IndexObstacle?
    /// The annotations of the layer's descriptor, without which nobody uses the index.
    package var annotations: [IndexAnnotation] = []
    /// Entries of the table of contents.
    package var entries = 0
    /// Frames or members of the tar.
    package var frames = 0
    /// Bytes of the index.
    package var indexBytes: UInt64 = 0
    /// Bytes of the layer, compressed and not.
    package var outputBytes: UInt64 = 0
    package var uncompressedBytes: UInt64 = 0
    /// The digest of the uncompressed layer.
    package var diffID: Digest?
    /// A table of contents that is given apart: a gzip'ed archive.
    package var table: [UInt8]?

    package init() {}
}

/// One annotation of a layer's descriptor.
package struct IndexAnnotation: Sendable, Equatable {
    package let key: String
    package let value: String

    package init(_ key: String, _ value: String) {
        self.key = key
        self.value = value
    }

    static let zstdPrefix = "io.github.containers.zstd-chunked."
    static let oldZstdPrefix = "io.containers.zstd-chunked."
    static let manifestChecksum = zstdPrefix + "manifest-checksum"
    static let manifestPosition = zstdPrefix + "manifest-position"
    static let tarSplitPosition = zstdPrefix + "tarsplit-position"
    static let tableDigest = "containerd.io/snapshot/stargz/toc.digest"
    static let uncompressedSize = "io.containers.estargz.uncompressed-size"
}

/// Names that eStargz gives a meaning of its own.
enum EstargzName {
    static let table: StaticString = "stargz.index.json"
    static let prefetch: StaticString = ".prefetch.landmark"
    static let noPrefetch: StaticString = ".no.prefetch.landmark"
    /// What a landmark holds.
    static let landmarkContents: [UInt8] = [0x0f]

    static func isReserved(_ name: RawSpan) -> Bool {
        var rest = name
        while bytes(rest, startWith: "./") { rest = rest.extracting(2..<rest.byteCount) }
        return bytes(rest, equal: table) || bytes(rest, equal: prefetch) || bytes(rest, equal: noPrefetch)
    }
}
