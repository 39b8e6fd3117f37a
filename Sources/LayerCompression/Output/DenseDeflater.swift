import LayerModel

#if Gzip
    import CISAL
    import CZlib

    // Reason: the function's own name is that of the method below.
    private let flush = unsafe CZlib.deflate
#else
    import CAbsent

    private let flush = unsafe CAbsent.deflate
#endif

/// Deflates pieces of a stream with zlib, denser and slower than ISA-L. As `PieceDeflater`, of which it does the levels
/// above ISA-L's.
@safe
final class DenseDeflater {
    private let stream: UnsafeMutablePointer<z_stream>

    /// Prepares for one of zlib's levels, 4 to 9.
    init(level: Int) {
        // Reason, here and below: the stream belongs to this object; zlib allocates and frees what hangs on it, in init and
        // deinit; the addresses that it gets lie in slabs whose only holder is this call, and are used during the calls.
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        let result = unsafe deflateInit2_(
            stream, Int32(level), Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        precondition(result == Z_OK, "zlib has no memory")
    }

    deinit {
        unsafe deflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// Deflates the bytes of `piece` at `range` behind those of `output`, in at most `room` bytes; false if they do not fit.
    func deflate(_ piece: Slab, _ range: Range<Int>, history: Int, into output: Slab, room: Int) -> Bool {
        let begin = output.end
        let isComplete = unsafe piece.withUnsafeAddress(range.lowerBound - history..<range.upperBound) { input in
            unsafe output.withUnsafeAddress(begin..<begin + room) { target in
                let bytes = unsafe input.assumingMemoryBound(to: UInt8.self)
                unsafe deflateReset(stream)
                if history > 0 { unsafe deflateSetDictionary(stream, bytes, UInt32(history)) }
                unsafe stream.pointee.next_in = bytes + history
                unsafe stream.pointee.avail_in = UInt32(range.count)
                unsafe stream.pointee.next_out = target.assumingMemoryBound(to: UInt8.self)
                unsafe stream.pointee.avail_out = UInt32(room)
                let result = unsafe flush(stream, Z_SYNC_FLUSH)
                return unsafe result == Z_OK && stream.pointee.avail_in == 0 && stream.pointee.avail_out > 0
            }
        }
        guard isComplete else { return false }
        output.end = begin + room - Int(unsafe stream.pointee.avail_out)
        return true
    }
}
