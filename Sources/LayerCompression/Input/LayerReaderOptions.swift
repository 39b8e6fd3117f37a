public import LayerModel
public import LinuxIO

/// What a `LayerReader` computes on the way, and what bounds it keeps.
public struct LayerReaderOptions: Sendable {
    /// Compute the digest of the bytes as they are read (the layer's digest in a registry).
    public var hashCompressed = false
    /// Compute the digest of the uncompressed stream (the diff ID).
    public var hashUncompressed = false
    /// The most uncompressed bytes accepted; nil for no limit.
    public var maxUncompressedBytes: UInt64?
    /// The most uncompressed bytes accepted for each compressed one; nil for no limit. Not asked before
    /// `ratioGrace` bytes, since small streams of zeros compress a thousandfold and harm nobody.
    public var maxRatio: UInt64?
    /// The most bytes that `drain` throws away; nil for no limit.
    public var maxTrailingBytes: UInt64?
    /// Raised by the number of bytes read from the descriptor, for progress displays.
    public var progress: ByteCounter?
    /// Where members of gzip are supposed to begin, in order: what lies between is inflated on several threads. Wrong ones cost
    /// time only.
    public var memberStarts: [UInt64] = []
    /// Threads that inflate where a stream has parts that can be inflated alone; nil means one a core.
    public var workers: Int?
    /// Stops the reader from another thread; `next` then throws `cancelled`.
    public var cancel: CancelFlag?

    /// Uncompressed bytes before `maxRatio` counts: 64 MiB.
    public static let ratioGrace: UInt64 = 64 << 20

    /// No digests, no limits.
    public init() {}
}

/// What a layer's stream was, known at its end.
public struct LayerSummary: Sendable, Equatable {
    /// The format that was given or detected.
    public var format: LayerFormat
    /// Bytes read from the descriptor.
    public var compressedBytes: UInt64
    /// Bytes of the uncompressed stream.
    public var uncompressedBytes: UInt64
    /// Digest of the bytes read, if it was asked for.
    public var compressedDigest: Digest?
    /// Digest of the uncompressed stream, if it was asked for.
    public var diffID: Digest?
}
