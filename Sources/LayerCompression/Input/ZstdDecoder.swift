import LayerModel

#if Zstd
    import CZstd
#else
    import CAbsent
#endif

/// Decompresses zstd: any number of frames, skippable ones anywhere (A7, T129).
@safe
struct ZstdDecoder: StreamDecoder, ~Copyable {
    /// Windows up to 128 MiB, as A7 asks; larger ones are refused instead of allocated.
    private static let windowLogLimit: Int32 = 27

    private let context: OpaquePointer
    private var isBetweenFrames = true

    init() throws(LayerError) {
        // Reason: owned by this value and freed once, in deinit.
        guard let context = unsafe ZSTD_createDCtx() else {
            throw LayerError(.io, "decompress the layer", cause: .reason("zstd: out of memory"))
        }
        unsafe self.context = context
        // Reason: the context is alive; the parameter and its value are valid ones.
        unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.windowLogLimit)
    }

    deinit {
        // Reason: created in init.
        unsafe ZSTD_freeDCtx(context)
    }

    mutating func fill(_ slab: Slab, from input: CompressedInput) throws(LayerError) {
        while slab.end < slab.capacity {
            if input.buffer.count == 0, try !input.refill() {
                // What the context still holds of a frame that is complete comes out without input.
                if isBetweenFrames { return }
                guard try decompress(slab, input) > 0 else { throw .truncatedStream(.zstd) }
                continue
            }
            _ = try decompress(slab, input)
        }
    }

    /// Fills the free end of `slab` with bytes of one frame only; true when it has ended.
    mutating func fillFrame(_ slab: Slab, from input: CompressedInput) throws(LayerError) -> Bool {
        while slab.end < slab.capacity {
            var hasInput = input.buffer.count > 0
            if !hasInput { hasInput = try input.refill() }
            let produced = try decompress(slab, input)
            if isBetweenFrames { return true }
            guard hasInput || produced > 0 else { throw .truncatedStream(.zstd) }
        }
        return false
    }

    /// One step; returns the number of bytes produced.
    private mutating func decompress(_ slab: Slab, _ input: CompressedInput) throws(LayerError) -> Int {
        let begin = slab.end
        let available = input.buffer.count
        var consumed = 0
        // Reason: both ranges are inside their slabs, which only this thread holds; libzstd gets exactly their sizes.
        let result = unsafe input.buffer.withUnsafeAddress(input.buffer.start..<input.buffer.end) { source in
            unsafe slab.withUnsafeAddress(begin..<slab.capacity) { target in
                var from = unsafe ZSTD_inBuffer(src: source, size: available, pos: 0)
                var to = unsafe ZSTD_outBuffer(dst: target, size: slab.capacity - begin, pos: 0)
                let result = unsafe ZSTD_decompressStream(context, &to, &from)
                consumed = unsafe from.pos
                slab.end = unsafe begin + to.pos
                return result
            }
        }
        input.buffer.start += consumed
        if ZSTD_isError(result) != 0 { throw Self.error(result) }
        isBetweenFrames = result == 0
        return slab.end - begin
    }

    private static func error(_ result: Int) -> LayerError {
        let text = zstdErrorText(result)
        if ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge {
            return LayerError(
                .limitExceeded, "decompress the layer", cause: .reason("zstd: \(text)"),
                hint: "windows of at most 128 MiB are accepted")
        }
        return .damagedStream(.zstd, text)
    }
}
