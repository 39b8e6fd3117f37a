import LayerModel

#if Gzip
    import CISAL
#else
    import CAbsent
#endif

/// Inflates gzip with ISA-L: any number of members one after the other, then perhaps zero bytes (A7).
///
/// Headers are read here; ISA-L checks each member's checksum and size.
@safe
struct GzipDecoder: StreamDecoder, ~Copyable {
    private enum Phase {
        case betweenMembers
        case header
        case member
        case padding
    }

    private let state: UnsafeMutablePointer<inflate_state>
    private var phase = Phase.betweenMembers
    private var memberCount = 0

    init() {
        // Reason: owned by this value, initialised here and freed once, in deinit.
        unsafe state = .allocate(capacity: 1)
        unsafe isal_inflate_init(state)
    }

    deinit {
        // Reason: allocated in init.
        unsafe state.deallocate()
    }

    /// Says that members came before those that it will see.
    mutating func goOn() { memberCount = 1 }

    mutating func fill(_ slab: Slab, from input: CompressedInput) throws(LayerError) {
        while slab.end < slab.capacity {
            switch phase {
            case .betweenMembers:
                guard try beginMember(input) else { return }
            case .header: try readHeader(input)
            case .member:
                try inflate(slab, input)
            case .padding:
                try skipPadding(input)
                return
            }
        }
    }

    /// Sees what follows the last member; false at the end of the stream.
    private mutating func beginMember(_ input: CompressedInput) throws(LayerError) -> Bool {
        if input.buffer.count < 2, !input.isAtEnd {
            try input.buffer(atLeast: 2)
        }
        let buffer = input.buffer
        let next = buffer.bytes
        if next.byteCount == 0 { return false }
        if next.byteCount >= 2, next[0] == 0x1f, next[1] == 0x8b {
            // Reason: the state was initialised and is alive.
            unsafe isal_inflate_reset(state)
            unsafe state.pointee.crc_flag = UInt32(ISAL_GZIP_NO_HDR_VER)
            memberCount += 1
            phase = .header
        } else if memberCount > 0, next[0] == 0 {
            phase = .padding
        } else if memberCount > 0 {
            throw .damagedStream(.gzip, "trailing garbage after the stream")
        } else {
            throw .damagedStream(.gzip, "the stream does not begin with a gzip header")
        }
        return true
    }

    private mutating func readHeader(_ input: CompressedInput) throws(LayerError) {
        var header = GzipHeader()
        while true {
            if input.buffer.count == 0, try !input.refill() { throw .truncatedStream(.gzip) }
            let buffer = input.buffer
            let byte = buffer.bytes[0]
            buffer.start += 1
            switch header.take(byte) {
            case .more: continue
            case .complete: phase = .member
            case .damaged: throw .damagedStream(.gzip, "a gzip header is damaged")
            case .unknownMethod: throw .damagedStream(.gzip, "the compression method is unknown")
            case .unknownFlags: throw .damagedStream(.gzip, "a gzip header has reserved flags")
            }
            return
        }
    }

    private mutating func inflate(_ slab: Slab, _ input: CompressedInput) throws(LayerError) {
        // At the end of the input ISA-L may still hold bytes that did not fit the slab before.
        var isAtEnd = false
        if input.buffer.count == 0 { isAtEnd = try !input.refill() }
        let available = input.buffer.count
        let room = slab.capacity - slab.end
        // Reason: both ranges are inside their slabs, which only this thread holds; ISA-L gets exactly their sizes.
        let result = unsafe input.buffer.withUnsafeAddress(input.buffer.start..<input.buffer.end) { source in
            unsafe slab.withUnsafeAddress(slab.end..<slab.capacity) { target in
                unsafe state.pointee.next_in = source.assumingMemoryBound(to: UInt8.self)
                unsafe state.pointee.avail_in = UInt32(available)
                unsafe state.pointee.next_out = target.assumingMemoryBound(to: UInt8.self)
                unsafe state.pointee.avail_out = UInt32(room)
                return unsafe isal_inflate(state)
            }
        }
        let produced = unsafe room - Int(state.pointee.avail_out)
        slab.end += produced
        // Of damaged data ISA-L may say that it took one byte more than there was.
        guard result == ISAL_DECOMP_OK || result == ISAL_END_INPUT else { throw Self.error(result) }
        let consumed = unsafe available - Int(state.pointee.avail_in)
        input.buffer.start += consumed
        if unsafe state.pointee.block_state == ISAL_BLOCK_FINISH {
            phase = .betweenMembers
        } else if consumed == 0, produced == 0 {
            throw isAtEnd ? .truncatedStream(.gzip) : .damagedStream(.gzip, "the compressed data is damaged")
        }
    }

    private func skipPadding(_ input: CompressedInput) throws(LayerError) {
        let buffer = input.buffer
        repeat {
            let bytes = buffer.bytes
            for index in 0..<bytes.byteCount where bytes[index] != 0 {
                throw .damagedStream(.gzip, "trailing garbage after the stream")
            }
        } while try input.refill()
    }

    private static func error(_ result: Int32) -> LayerError {
        switch result {
        case ISAL_INCORRECT_CHECKSUM: .damagedStream(.gzip, "the checksum is wrong")
        default: .damagedStream(.gzip, "the compressed data is damaged")
        }
    }
}
