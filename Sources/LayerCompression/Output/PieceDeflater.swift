import LayerModel

#if Gzip
    import CISAL
#else
    import CAbsent
#endif

/// Deflates pieces of a stream one at a time, each ended on a byte boundary, with ISA-L, or zlib for the denser levels.
///
/// The result depends only on the piece, the 32 KiB before it and the level, so pieces can be deflated on any
/// thread and simply put one after the other. One thread at a time; the memory is reused from piece to piece.
@safe
final class PieceDeflater {
    /// Bytes before a piece that it may refer back to: deflate's window.
    static let window = Int(ISAL_DEF_HIST_SIZE)

    private let stream: UnsafeMutablePointer<isal_zstream>
    private let levelBuffer: UnsafeMutableRawPointer
    private let level: Int
    private let dense: DenseDeflater?

    /// Prepares for one of ISA-L's levels, 0 to 3, or of zlib's, 4 to 9.
    init(level wanted: Int) {
        dense = wanted > GzipLevel.fastest.upperBound ? DenseDeflater(level: wanted) : nil
        let level = dense == nil ? wanted : 0
        self.level = level
        let bufferSize = Self.levelBufferSize(level)
        // Reason: both are owned by this object and freed once, in deinit; the stream is initialised below.
        unsafe stream =
            UnsafeMutableRawPointer
            .allocate(byteCount: MemoryLayout<isal_zstream>.size, alignment: 64)
            .bindMemory(to: isal_zstream.self, capacity: 1)
        unsafe levelBuffer = .allocate(byteCount: max(bufferSize, 1), alignment: 64)
        unsafe isal_deflate_init(stream)
        unsafe stream.pointee.level = UInt32(level)
        unsafe stream.pointee.level_buf = bufferSize == 0 ? nil : levelBuffer.assumingMemoryBound(to: UInt8.self)
        unsafe stream.pointee.level_buf_size = UInt32(bufferSize)
        unsafe stream.pointee.flush = UInt16(SYNC_FLUSH)
    }

    deinit {
        // Reason: allocated in init; nothing keeps the addresses.
        unsafe stream.deallocate()
        unsafe levelBuffer.deallocate()
    }

    /// Room that `deflate` needs in its output for a piece of `byteCount` bytes, whatever its contents.
    static func outputBound(_ byteCount: Int) -> Int {
        storedSize(byteCount) + 1024
    }

    /// Deflates the valid bytes of `piece`, see below.
    func deflate(_ piece: Slab, history: Int, into output: Slab) -> UInt32 {
        deflate(piece, piece.start..<piece.end, history: history, into: output)
    }

    /// Deflates the bytes of `piece` at `range` behind those of `output`, and gives the CRC-32 of the piece.
    ///
    /// The `history` bytes in front of the piece's start are what the decompressor has seen before.
    func deflate(_ piece: Slab, _ range: Range<Int>, history: Int, into output: Slab) -> UInt32 {
        let begin = output.end
        if let dense {
            let room = min(Self.storedSize(range.count), output.capacity - begin)
            if !dense.deflate(piece, range, history: history, into: output, room: room) {
                Self.store(piece, range, into: output)
            }
            // Reason: ISA-L reads the range's bytes, during the call.
            return unsafe piece.withUnsafeAddress(range) {
                unsafe crc32_gzip_refl(0, $0.assumingMemoryBound(to: UInt8.self), UInt64(range.count))
            }
        }
        // Reason: the addresses stay inside the slabs, whose only holder is this call; the counts given to ISA-L
        // are those of the valid bytes, and of the free bytes of the output.
        return unsafe piece.withUnsafeAddress(range.lowerBound - history..<range.upperBound) { input in
            let bytes = unsafe (input + history).assumingMemoryBound(to: UInt8.self)
            unsafe isal_deflate_reset(stream)
            if history > 0 {
                unsafe isal_deflate_set_dict(stream, input.assumingMemoryBound(to: UInt8.self), UInt32(history))
            }
            unsafe stream.pointee.next_in = bytes
            unsafe stream.pointee.avail_in = UInt32(range.count)
            let room = min(Self.storedSize(range.count), output.capacity - begin)
            unsafe output.withUnsafeAddress(begin..<begin + room) { target in
                unsafe stream.pointee.next_out = target.assumingMemoryBound(to: UInt8.self)
                unsafe stream.pointee.avail_out = UInt32(room)
                unsafe isal_deflate(stream)
            }
            let isComplete =
                unsafe stream.pointee.avail_in == 0 && stream.pointee.avail_out > 0
                && stream.pointee.internal_state.state == ZSTATE_NEW_HDR
            if isComplete {
                output.end = begin + room - Int(unsafe stream.pointee.avail_out)
            } else {
                Self.store(piece, range, into: output)
            }
            return unsafe crc32_gzip_refl(0, bytes, UInt64(range.count))
        }
    }

    /// Bytes of a piece written as stored blocks: five more for every 65,535.
    private static func storedSize(_ byteCount: Int) -> Int {
        byteCount + 5 * ((byteCount + 65_534) / 65_535)
    }

    /// Writes a piece that cannot be made smaller as stored blocks (RFC 1951, 3.2.4).
    private static func store(_ piece: Slab, _ range: Range<Int>, into output: Slab) {
        var offset = range.lowerBound
        while offset < range.upperBound {
            let length = min(65_535, range.upperBound - offset)
            let low = UInt8(length & 0xff)
            let high = UInt8(length >> 8)
            output.append([0, low, high, ~low, ~high].rawBytes)
            output.append(piece.span(offset..<offset + length))
            offset += length
        }
    }

    /// ISA-L's suggested working memory of a level (the header's expressions are not imported).
    private static func levelBufferSize(_ level: Int) -> Int {
        let kibi = 1024
        let tokens = 4 * 64 * kibi
        switch level {
        case 1: return 4 * kibi + 2 * 8 * kibi + tokens
        case 2: return 4 * kibi + 2 * 32 * kibi + tokens
        case 3: return 4 * kibi + 16 * kibi + 2 * 32 * kibi + tokens
        default: return 0
        }
    }
}
