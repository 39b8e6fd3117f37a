import NIOCore

/// Answers the PINGs of HTTP/2 before NIOHTTP2 sees them.
///
/// Go's client measures the bandwidth with a PING at almost every answer. NIOHTTP2 takes more than 200 control frames in half a
/// minute for an attack and ends the connection under calls that are at work, which the client then sends again; gRPC's
/// transport does not let us change that number (RFC 9113 4.1 and 6.7). Everything else passes as it came.
final class PingAnswers: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Bytes of the client's preface, which comes before the first frame.
    private static let prefaceByteCount = 24
    private static let headByteCount = 9
    private static let pingByteCount = 8
    private static let pingType: UInt8 = 6

    /// Bytes that pass without a look: the preface, then what is left of a frame.
    private var passing = prefaceByteCount
    /// The beginning of a frame whose head, or PING, has not come in full.
    private var pending = ByteBuffer()

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var arrived = unwrapInboundIn(data)
        pending.writeBuffer(&arrived)
        var passed = context.channel.allocator.buffer(capacity: pending.readableBytes)
        var answered = false
        while pending.readableBytes > 0 {
            if passing > 0 {
                guard var part = pending.readSlice(length: min(passing, pending.readableBytes)) else { break }
                passing -= part.readableBytes
                passed.writeBuffer(&part)
                continue
            }
            let start = pending.readerIndex
            guard let high = pending.getInteger(at: start, as: UInt8.self),
                let low = pending.getInteger(at: start + 1, as: UInt16.self),
                let type = pending.getInteger(at: start + 3, as: UInt8.self),
                let flags = pending.getInteger(at: start + 4, as: UInt8.self),
                let stream = pending.getInteger(at: start + 5, as: UInt32.self)
            else { break }
            let length = Int(high) << 16 | Int(low)
            guard type == Self.pingType, flags & 1 == 0, length == Self.pingByteCount, stream == 0 else {
                passing = Self.headByteCount + length
                continue
            }
            guard var ping = pending.readSlice(length: Self.headByteCount + length) else { break }
            ping.setInteger(1, at: ping.readerIndex + 4, as: UInt8.self)
            context.write(wrapOutboundOut(ping), promise: nil)
            answered = true
        }
        pending.discardReadBytes()
        if answered { context.flush() }
        if passed.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(passed)) }
    }
}
