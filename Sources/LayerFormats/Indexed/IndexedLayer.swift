public import LayerCompression
public import LayerModel

/// A way of writing a layer so that parts of it can be read alone.
public enum IndexedFormat: String, Sendable, Equatable, CaseIterable {
    case zstdChunked = "zstd:chunked"
    case estargz

    /// The layer without its index.
    public var plain: LayerFormat { self == .zstdChunked ? .zstd : .gzip }
}

/// How such a layer is written.
public struct IndexedLayerOptions: Sendable {
    public var format: IndexedFormat
    /// Of zstd or ISA-L; nil for the standard.
    public var level: Int?
    /// Threads that compress.
    public var workers = 1
    /// eStargz: bytes of a piece, 1 to 4 MiB.
    public var chunkSize = 4 << 20
    /// eStargz: a member begins only when the one before has so many bytes; 0 for each piece.
    public var minChunkSize = 0
    /// eStargz: the tar stays as it is, and the table of contents is given apart.
    public var keepsDiffID = false
    /// Compute the digest of the tar.
    public var digests = true
    /// A layer that the index cannot carry is an error, not a layer without one.
    public var requiresIndex = false

    public init(_ format: IndexedFormat) { self.format = format }
}

/// Why a layer has no index: what the table of contents cannot say.
public enum IndexObstacle: Error, Equatable, Sendable, CustomStringConvertible {
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

    public var description: String {
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
public struct IndexedLayerSummary: Sendable {
    /// Why there is no index; nil if there is one.
    public var obstacle: IndexObstacle?
    /// The annotations of the layer's descriptor, without which nobody uses the index.
    public var annotations: [IndexAnnotation] = []
    /// Entries of the table of contents.
    public var entries = 0
    /// Frames or members of the tar.
    public var frames = 0
    /// Bytes of the index.
    public var indexBytes: UInt64 = 0
    /// Bytes of the layer, compressed and not.
    public var outputBytes: UInt64 = 0
    public var uncompressedBytes: UInt64 = 0
    /// The digest of the uncompressed layer.
    public var diffID: Digest?
    /// A table of contents that is given apart: a gzip'ed archive.
    public var table: [UInt8]?

    public init() {}
}

/// One annotation of a layer's descriptor.
public struct IndexAnnotation: Sendable, Equatable {
    public let key: String
    public let value: String

    public init(_ key: String, _ value: String) {
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
