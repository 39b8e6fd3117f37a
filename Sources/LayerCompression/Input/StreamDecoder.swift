import LayerModel

/// Turns a compressed stream into slabs.
protocol StreamDecoder: ~Copyable {
    /// Fills the free end of `slab`; a slab that is not full afterwards is the last one.
    ///
    /// Throws `invalidArchive` for streams that are damaged, cut short or followed by something else.
    mutating func fill(_ slab: Slab, from input: CompressedInput) throws(LayerError)
}

/// Hands an uncompressed stream on as it is.
struct PlainDecoder: StreamDecoder {
    mutating func fill(_ slab: Slab, from input: CompressedInput) throws(LayerError) {
        try input.fill(slab)
    }
}

extension LayerError {
    /// The error for a compressed stream that cannot be what it claims to be.
    @inline(never)
    static func damagedStream(_ format: LayerFormat, _ reason: String) -> LayerError {
        LayerError(.invalidArchive, "decompress the layer", cause: .reason("\(format.name): \(reason)"))
    }

    /// The error for a compressed stream that ends too early.
    @inline(never)
    static func truncatedStream(_ format: LayerFormat) -> LayerError {
        damagedStream(format, "the stream is truncated")
    }
}
