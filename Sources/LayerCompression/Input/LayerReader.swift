public import LayerModel
import LinuxIO

/// Reads a layer from a descriptor, decompresses it and computes its digests, each on a thread of its own, while the
/// caller consumes the uncompressed stream.
///
/// Decompression happens in this process only. Giving up early is fine: dropping the reader ends its threads, even
/// when they are blocked in the kernel.
public struct LayerReader: SlabSource, ~Copyable {
    private let pipeline: ReaderPipeline
    private let maxTrailingBytes: UInt64?
    private let cancel: CancelFlag?
    private var isAtEnd = false

    /// Starts to read `descriptor`, a file, pipe or socket, which stays the caller's and must outlive the reader.
    ///
    /// `format` nil means: look at the first bytes (A3). Callers that know the media type to be an uncompressed tar
    /// pass `.none` (A5). A stream of no bytes is an empty layer in every format (A4). Throws when the system has no
    /// room for a thread; everything else shows in `next`.
    public init(
        descriptor: Int32, format: LayerFormat? = nil, options: LayerReaderOptions = LayerReaderOptions()
    ) throws(LayerError) {
        try self.init(.descriptor(descriptor), format, options)
    }

    /// The same for bytes that `input` reads, on a thread of the reader's.
    public init(
        _ input: any ForeignInput, format: LayerFormat? = nil, options: LayerReaderOptions = LayerReaderOptions()
    ) throws(LayerError) {
        try self.init(.foreign(input), format, options)
    }

    private init(_ source: InputBytes, _ format: LayerFormat?, _ options: LayerReaderOptions) throws(LayerError) {
        pipeline = try ReaderPipeline(source, format: format, options: options)
        maxTrailingBytes = options.maxTrailingBytes
        cancel = options.cancel
    }

    deinit {
        pipeline.shutDown()
    }

    /// The next piece of the uncompressed stream; nil at its end.
    ///
    /// Throws `invalidArchive` for damaged or truncated streams and trailing garbage, `limitExceeded`, `cancelled`,
    /// or the error of the read call. Bytes decoded before the error come first.
    public mutating func next() throws(LayerError) -> Slab? {
        try cancel?.check("read the layer")
        let slab = try pipeline.exchange.next()
        if slab == nil { isAtEnd = true }
        return slab
    }

    public mutating func recycle(_ slab: consuming Slab) {
        pipeline.exchange.recycle(slab)
    }

    /// Reads what is left and throws it away, so that the digests cover it and the producer is not stopped (A8).
    ///
    /// Throws `limitExceeded` after `maxTrailingBytes`, and whatever `next` throws. Returns the number of bytes.
    @discardableResult
    public mutating func drain() throws(LayerError) -> UInt64 {
        var byteCount: UInt64 = 0
        while let slab = try next() {
            byteCount += UInt64(slab.count)
            recycle(slab)
            if let limit = maxTrailingBytes, byteCount > limit {
                throw LayerError(
                    .limitExceeded, "read the end of the layer",
                    cause: .reason("more than \(limit) bytes follow the archive"))
            }
        }
        return byteCount
    }

    /// The lengths and digests, after `next` returned nil or `drain` returned.
    ///
    /// Throws `invalidArgument` before the end of the stream.
    public mutating func finish() throws(LayerError) -> LayerSummary {
        guard isAtEnd, let summary = pipeline.finish() else {
            throw LayerError(
                .invalidArgument, "finish the layer", cause: .reason("the stream has not been read to its end"))
        }
        return summary
    }
}
