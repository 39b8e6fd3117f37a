import LayerModel

#if Zstd
    import CZstd
#else
    import CAbsent
#endif
#if Gzip
    import CISAL
#else
    import CAbsent
#endif

/// What one worker compresses frames with; its memory is reused from frame to frame.
@safe
final class FrameTool {
    private let codec: FrameCodec
    private let context: OpaquePointer?
    private let deflater: PieceDeflater?
    private static let zeros = Slab(capacity: 1 << 20, zeroed: 1 << 20)

    init(_ codec: FrameCodec) {
        self.codec = codec
        switch codec {
        case .zstd(let level):
            // Reason: owned by this object and freed once, in deinit; the parameters are valid ones.
            unsafe context = ZSTD_createCCtx()
            unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Int32(level))
            unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
            deflater = nil
        case .gzip(let level):
            unsafe context = nil
            deflater = PieceDeflater(level: level)
        }
    }

    deinit {
        // Reason: created in init; nil is allowed.
        unsafe ZSTD_freeCCtx(context)
    }

    /// Room that frames of so many bytes need at most, whatever they hold.
    static func bound(_ byteCount: Int, frames: Int) -> Int { byteCount + byteCount / 200 + frames * 600 }

    /// Compresses a part of a slab to a frame behind the bytes of `output`.
    func compress(_ input: Slab, _ range: Range<Int>, into output: Slab) throws(LayerError) {
        if let deflater { return Self.compressMember(input, range, deflater, into: output) }
        let begin = output.end
        // Reason: both ranges are inside their slabs, which only this thread holds; libzstd gets exactly their sizes.
        let result = unsafe input.withUnsafeAddress(range) { source in
            unsafe output.withUnsafeAddress(begin..<output.capacity) { target in
                unsafe ZSTD_compress2(context, target, output.capacity - begin, source, range.count)
            }
        }
        try check(result)
        output.end = begin + result
    }

    /// Compresses so many zero bytes to one frame.
    func compress(zeros: Int64, into output: inout [UInt8]) throws(LayerError) {
        guard deflater == nil else {
            throw LayerError(.unsupported, "compress with gzip", cause: .reason("members hold no runs of zeros"))
        }
        // Reason, here and below: the context is alive, and the buffers are used during the calls only.
        try check(unsafe ZSTD_CCtx_setPledgedSrcSize(context, UInt64(zeros)))
        let target = Slab(capacity: 128 << 10)
        var left = zeros
        var isComplete = false
        while !isComplete {
            let count = Int(min(left, Int64(Self.zeros.capacity)))
            left -= Int64(count)
            var position = 0
            repeat {
                let directive = left == 0 ? ZSTD_e_end : ZSTD_e_continue
                let result = unsafe Self.zeros.withUnsafeAddress(0..<Self.zeros.capacity) { source in
                    unsafe target.withUnsafeAddress(0..<target.capacity) { address in
                        var from = unsafe ZSTD_inBuffer(src: source, size: count, pos: position)
                        var to = unsafe ZSTD_outBuffer(dst: address, size: target.capacity, pos: 0)
                        let result = unsafe ZSTD_compressStream2(context, &to, &from, directive)
                        position = unsafe from.pos
                        target.end = unsafe to.pos
                        return result
                    }
                }
                try check(result)
                unsafe target.bytes.withUnsafeBytes { unsafe output.append(contentsOf: $0) }
                isComplete = left == 0 && result == 0
            } while position < count || left == 0 && !isComplete
        }
    }

    /// The digest of so many zero bytes.
    func digest(zeros: Int64) -> Digest {
        var state = DigestState()
        var left = zeros
        while left > 0 {
            let count = Int(min(left, Int64(Self.zeros.capacity)))
            state.update(Self.zeros.span(0..<count))
            left -= Int64(count)
        }
        return state.finalize()
    }

    private func check(_ result: Int) throws(LayerError) {
        guard ZSTD_isError(result) != 0 else { return }
        throw LayerError(.io, "compress with zstd", cause: .reason(zstdErrorText(result)))
    }

    /// A member of its own: header, blocks, an empty last block, checksum and size (RFC 1952).
    private static func compressMember(
        _ input: Slab, _ range: Range<Int>, _ deflater: PieceDeflater, into output: Slab
    ) {
        let header = GzipMember.header
        output.append(header.rawBytes)
        var checksum = ChecksumCombiner()
        var at = range.lowerBound
        while at < range.upperBound {
            let end = min(at + GzipPiece.byteCount, range.upperBound)
            let history = min(at - range.lowerBound, PieceDeflater.window)
            checksum.append(deflater.deflate(input, at..<end, history: history, into: output), length: end - at)
            at = end
        }
        let trailer = GzipMember.trailer(checksum.checksum, UInt64(range.count))
        output.append(trailer.rawBytes)
    }
}

/// The ends of gzip members: no name, time 0, operating system unknown.
enum GzipMember {
    static let header: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]

    /// An empty last block, the checksum, and the size modulo 2^32 (RFC 1952, 2.3.1).
    static func trailer(_ checksum: UInt32, _ byteCount: UInt64) -> [UInt8] {
        var trailer: [UInt8] = [3, 0]
        for value in [checksum, UInt32(truncatingIfNeeded: byteCount)] {
            for shift: UInt32 in [0, 8, 16, 24] { trailer.append(UInt8(value >> shift & 0xff)) }
        }
        return trailer
    }
}
