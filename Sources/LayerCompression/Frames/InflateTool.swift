import LayerModel
import LinuxIO

#if Gzip
    import CISAL
#else
    import CAbsent
#endif
#if Zstd
    import CZstd
#else
    import CAbsent
#endif

/// What one worker inflates whole frames with; its memory is reused from frame to frame.
@safe
final class InflateTool {
    let format: LayerFormat
    private let context: OpaquePointer?
    private let state: UnsafeMutablePointer<inflate_state>?
    private var input = Slab(capacity: 1 << 20)
    private var scratch: Slab?

    init(_ format: LayerFormat) {
        self.format = format
        // Reason, here and below: both belong to this object, are made here and freed once, in deinit; the buffers that the
        // libraries get are used during the calls, within their bounds.
        unsafe context = format == .zstd ? ZSTD_createDCtx() : nil
        if format == .gzip {
            let made = UnsafeMutablePointer<inflate_state>.allocate(capacity: 1)
            unsafe isal_inflate_init(made)
            unsafe state = made
        } else {
            unsafe state = nil
        }
    }

    deinit {
        unsafe ZSTD_freeDCtx(context)
        unsafe state?.deallocate()
    }

    /// A part of a file; less where the file ends before.
    func read(_ range: Range<UInt64>, of file: SharedDescriptor) throws(LayerError) -> Slab {
        let count = range.count
        if input.capacity < count { input = Slab(capacity: count) }
        input.start = 0
        input.end = 0
        do throws(SystemCallError) {
            while input.end < count {
                let read = try file.descriptor.read(
                    into: input, input.end..<count, at: Int64(range.lowerBound) + Int64(input.end))
                if read == 0 { break }
                input.end += read
            }
        } catch {
            throw LayerError(error, "read the layer", path: nil)
        }
        return input
    }

    /// Inflates what a frame holds behind the bytes of `output`: `byteCount` bytes of it from `innerOffset` on. A frame of
    /// zstd must hold no more; a member of gzip may.
    func inflate(
        _ input: Slab, _ frame: Range<Int>, _ innerOffset: Int, _ byteCount: Int, into output: Slab
    ) throws(LayerError) {
        if format == .zstd {
            guard innerOffset == 0 else { throw .damagedStream(.zstd, "pieces share a frame") }
            return try decompress(input, frame, byteCount, into: output)
        }
        guard innerOffset > 0 else { return try inflateMember(input, frame, byteCount, into: output) }
        let whole = innerOffset + byteCount
        let slab = scratch.flatMap { $0.capacity >= whole ? $0 : nil } ?? Slab(capacity: whole)
        scratch = slab
        slab.start = 0
        slab.end = 0
        try inflateMember(input, frame, whole, into: slab)
        output.append(slab.span(innerOffset..<whole))
    }

    private func decompress(_ input: Slab, _ frame: Range<Int>, _ byteCount: Int, into output: Slab) throws(LayerError)
    {
        let begin = output.end
        let result = unsafe input.withUnsafeAddress(frame) { source in
            unsafe output.withUnsafeAddress(begin..<begin + byteCount) { target in
                unsafe ZSTD_decompressDCtx(context, target, byteCount, source, frame.count)
            }
        }
        guard ZSTD_isError(result) == 0 else { throw .damagedStream(.zstd, zstdErrorText(result)) }
        guard result == byteCount else { throw .damagedStream(.zstd, "a frame holds less than it should") }
        output.end = begin + byteCount
    }

    private func inflateMember(
        _ input: Slab, _ frame: Range<Int>, _ byteCount: Int, into output: Slab
    ) throws(LayerError) {
        guard let state = unsafe state else { return }
        var at = frame.lowerBound
        var header = GzipHeader()
        reading: while true {
            guard at < frame.upperBound else { throw .truncatedStream(.gzip) }
            let byte = input.span(at..<at + 1)[0]
            at += 1
            switch header.take(byte) {
            case .more: continue
            case .complete: break reading
            case .damaged, .unknownMethod, .unknownFlags: throw .damagedStream(.gzip, "a gzip header is damaged")
            }
        }
        let begin = output.end
        unsafe isal_inflate_reset(state)
        unsafe state.pointee.crc_flag = UInt32(ISAL_GZIP_NO_HDR_VER)
        let body = at..<frame.upperBound
        let result = unsafe input.withUnsafeAddress(body) { source in
            unsafe output.withUnsafeAddress(begin..<begin + byteCount) { target in
                unsafe state.pointee.next_in = source.assumingMemoryBound(to: UInt8.self)
                unsafe state.pointee.avail_in = UInt32(body.count)
                unsafe state.pointee.next_out = target.assumingMemoryBound(to: UInt8.self)
                unsafe state.pointee.avail_out = UInt32(byteCount)
                return unsafe isal_inflate(state)
            }
        }
        guard result == ISAL_DECOMP_OK || result == ISAL_END_INPUT || result == ISAL_OUT_OVERFLOW else {
            throw .damagedStream(.gzip, "the compressed data is damaged")
        }
        guard unsafe state.pointee.avail_out == 0 else {
            throw .damagedStream(.gzip, "a member holds less than it should")
        }
        output.end = begin + byteCount
    }
}
