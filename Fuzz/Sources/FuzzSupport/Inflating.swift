import CISAL

/// What deflated data says, at most a few megabytes, and how much of the data that was.
public func inflate(_ deflated: [UInt8], isGzip: Bool) -> (bytes: [UInt8], used: Int) {
    var state = inflate_state()
    isal_inflate_init(&state)
    if isGzip { state.crc_flag = UInt32(ISAL_GZIP) }
    var output = [UInt8](repeating: 0, count: 4 << 20)
    var source = deflated
    let (left, room) = source.withUnsafeMutableBufferPointer { source in
        output.withUnsafeMutableBufferPointer { target in
            state.next_in = source.baseAddress
            state.avail_in = UInt32(source.count)
            state.next_out = target.baseAddress
            state.avail_out = UInt32(target.count)
            _ = isal_inflate(&state)
            // Of damaged data it may say that it took one byte more than there was.
            return (state.avail_in > source.count ? 0 : Int(state.avail_in), Int(state.avail_out))
        }
    }
    output.removeLast(room)
    return (output, deflated.count - left)
}
