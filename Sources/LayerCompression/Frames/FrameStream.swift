public import LayerModel
public import LinuxIO

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

/// Decompresses a part of a file frame by frame, or member by member, and says where each of them ends.
@safe
public struct FrameStream: ~Copyable {
    /// What a step came to.
    public enum Step: Sendable, Equatable {
        /// The slab is full, or input was used up.
        case more
        /// A frame ended here; skippable ones hold nothing.
        case frameEnd
        /// The part of the file has no more frames.
        case end
    }

    /// Bytes of the file before what comes next.
    public private(set) var position: UInt64
    private let end: UInt64
    private let format: LayerFormat
    private let input = Slab(capacity: 256 << 10)
    private let context: OpaquePointer?
    private let state: UnsafeMutablePointer<inflate_state>?
    private var isInFrame = false
    private var header: GzipHeader?

    /// Reads `range` of a file, which is in `format`: zstd or gzip.
    public init(_ format: LayerFormat, range: Range<UInt64>) throws(LayerError) {
        try format.require("read frames")
        try self.init(available: format, range)
    }

    private init(available format: LayerFormat, _ range: Range<UInt64>) throws(LayerError) {
        self.format = format
        position = range.lowerBound
        end = range.upperBound
        switch format {
        case .zstd:
            // Reason, here and below: both belong to this value, are made here and freed once, in deinit; the buffers that the
            // libraries get are used during the calls, within their bounds.
            unsafe state = nil
            unsafe context = ZSTD_createDCtx()
            unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27)
        case .gzip:
            unsafe context = nil
            let made = UnsafeMutablePointer<inflate_state>.allocate(capacity: 1)
            unsafe isal_inflate_init(made)
            unsafe state = made
        default:
            unsafe context = nil
            unsafe state = nil
            throw LayerError(.unsupported, "read frames", cause: .reason("\(format.name) has none"))
        }
    }

    deinit {
        unsafe ZSTD_freeDCtx(context)
        unsafe state?.deallocate()
    }

    /// Puts the next bytes behind those of `slab`, none beyond the end of a frame.
    public mutating func next(_ slab: Slab, from file: borrowing OwnedDescriptor) throws(LayerError) -> Step {
        while slab.end < slab.capacity {
            // What the libraries still hold of a frame that is complete comes out without input.
            var hasInput = input.count > 0
            if !hasInput { hasInput = try refill(file) }
            guard hasInput || isInFrame else { return .end }
            guard hasInput || header == nil else { throw .truncatedStream(format) }
            let (before, start) = (slab.end, position)
            let isEnd = format == .zstd ? try decompress(slab) : try inflate(slab)
            if isEnd { return .frameEnd }
            if slab.end > before { return .more }
            guard position > start else {
                throw hasInput ? .damagedStream(format, "the compressed data is damaged") : .truncatedStream(format)
            }
        }
        return .more
    }

    private mutating func refill(_ file: borrowing OwnedDescriptor) throws(LayerError) -> Bool {
        guard position < end else { return false }
        input.start = 0
        input.end = 0
        let wanted = Int(min(UInt64(input.capacity), end - position))
        do throws(SystemCallError) {
            input.end = try file.read(into: input, 0..<wanted, at: Int64(position))
        } catch {
            throw LayerError(error, "read the layer", path: nil)
        }
        return input.count > 0
    }

    private mutating func use(_ byteCount: Int) {
        input.start += byteCount
        position += UInt64(byteCount)
    }

    private mutating func decompress(_ slab: Slab) throws(LayerError) -> Bool {
        var used = 0
        let result = unsafe input.withUnsafeAddress(input.start..<input.end) { source in
            unsafe slab.withUnsafeAddress(slab.end..<slab.capacity) { target in
                var from = unsafe ZSTD_inBuffer(src: source, size: input.count, pos: 0)
                var to = unsafe ZSTD_outBuffer(dst: target, size: slab.capacity - slab.end, pos: 0)
                let result = unsafe ZSTD_decompressStream(context, &to, &from)
                used = unsafe from.pos
                slab.end += unsafe to.pos
                return result
            }
        }
        use(used)
        guard ZSTD_isError(result) == 0 else { throw .damagedStream(.zstd, zstdErrorText(result)) }
        isInFrame = result != 0
        return result == 0
    }

    private mutating func inflate(_ slab: Slab) throws(LayerError) -> Bool {
        guard let state = unsafe state else { return false }
        if !isInFrame {
            isInFrame = true
            header = GzipHeader()
            unsafe isal_inflate_reset(state)
            unsafe state.pointee.crc_flag = UInt32(ISAL_GZIP_NO_HDR_VER)
        }
        if header != nil {
            try readHeader()
            return false
        }
        let (available, room) = (input.count, slab.capacity - slab.end)
        let result = unsafe input.withUnsafeAddress(input.start..<input.end) { source in
            unsafe slab.withUnsafeAddress(slab.end..<slab.capacity) { target in
                unsafe state.pointee.next_in = source.assumingMemoryBound(to: UInt8.self)
                unsafe state.pointee.avail_in = UInt32(available)
                unsafe state.pointee.next_out = target.assumingMemoryBound(to: UInt8.self)
                unsafe state.pointee.avail_out = UInt32(room)
                return unsafe isal_inflate(state)
            }
        }
        guard result == ISAL_DECOMP_OK || result == ISAL_END_INPUT else {
            throw .damagedStream(
                .gzip, result == ISAL_INCORRECT_CHECKSUM ? "the checksum is wrong" : "the compressed data is damaged")
        }
        let produced = unsafe room - Int(state.pointee.avail_out)
        let used = unsafe available - Int(state.pointee.avail_in)
        slab.end += produced
        use(used)
        if unsafe state.pointee.block_state == ISAL_BLOCK_FINISH {
            isInFrame = false
            return true
        }
        return false
    }

    private mutating func readHeader() throws(LayerError) {
        while input.count > 0, var reading = header {
            let byte = input.bytes[0]
            use(1)
            let result = reading.take(byte)
            header = reading
            switch result {
            case .more: continue
            case .complete: header = nil
            case .damaged, .unknownMethod, .unknownFlags: throw .damagedStream(.gzip, "a gzip header is damaged")
            }
        }
    }
}
