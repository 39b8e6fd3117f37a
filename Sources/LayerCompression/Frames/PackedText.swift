public import LayerModel

#if Zstd
    import CZstd
#else
    import CAbsent
#endif

/// Text that is kept in memory until its length is known, compressed meanwhile.
public final class PackedText {
    private var pieces: [(packed: [UInt8], byteCount: Int)] = []
    /// Bytes of the text.
    public private(set) var byteCount: UInt64 = 0

    public init() {}

    /// Adds text; a call is worth some thousand bytes.
    public func append(_ text: RawSpan) throws(LayerError) {
        guard text.byteCount > 0 else { return }
        var packed = [UInt8](repeating: 0, count: ZSTD_compressBound(text.byteCount))
        // Reason: libzstd reads the text and writes the array inside their bounds, during the call.
        let result = unsafe packed.withUnsafeMutableBytes { target in
            unsafe text.withUnsafeBytes { source in
                unsafe ZSTD_compress(target.baseAddress, target.count, source.baseAddress, source.count, 1)
            }
        }
        guard ZSTD_isError(result) == 0 else {
            throw LayerError(.io, "keep the table of contents", cause: .reason(zstdErrorText(result)))
        }
        packed.removeLast(packed.count - result)
        // A copy has the size that it needs.
        pieces.append((Array(packed[...]), text.byteCount))
        byteCount += UInt64(text.byteCount)
    }

    /// Gives the text, a piece at a time.
    public func forEach(_ body: (RawSpan) throws(LayerError) -> Void) throws(LayerError) {
        for (packed, count) in pieces {
            var text = [UInt8](repeating: 0, count: count)
            // Reason: as above.
            let result = unsafe text.withUnsafeMutableBytes { target in
                unsafe packed.withUnsafeBytes { source in
                    unsafe ZSTD_decompress(target.baseAddress, target.count, source.baseAddress, source.count)
                }
            }
            guard result == count else {
                throw LayerError(.io, "keep the table of contents", cause: .reason("it cannot be unpacked"))
            }
            try body(text.rawBytes)
        }
    }
}
