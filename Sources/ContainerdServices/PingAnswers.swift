import NIOCore

/// Answers the PINGs of HTTP/2 before NIOHTTP2 sees them, and spreads the ends of calls that were given up.
///
/// Go's client measures the bandwidth with a PING at almost every answer. NIOHTTP2 takes more than 200 control frames in half a
/// minute for an attack and ends the connection under calls that are at work, which the client then sends again; gRPC's
/// transport does not let us change that number (RFC 9113 4.1 and 6.7). It counts resets in the same way, so that two hundred
/// callers who give up at once took everybody's connection with them: see `ResetPace`. Everything else passes as it came.
final class PingAnswers: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Bytes of the client's preface, which comes before the first frame.
    private static let prefaceByteCount = 24
    private static let headByteCount = 9
    private static let pingByteCount = 8
    private static let pingType: UInt8 = 6
    private static let resetByteCount = 4
    private static let resetType: UInt8 = 3

    /// Bytes that pass without a look: the preface, then what is left of a frame.
    private var passing = prefaceByteCount
    /// The beginning of a frame whose head, or PING, has not come in full.
    private var pending = ByteBuffer()
    private var pace = ResetPace()
    /// Headers have begun, in whose midst nothing else may come.
    private var isInHeaders = false
    private var isWaking = false

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
            if type == Self.resetType, length == Self.resetByteCount {
                guard var reset = pending.readSlice(length: Self.headByteCount + length) else { break }
                if !pace.hold(reset, .now()) { passed.writeBuffer(&reset) }
                continue
            }
            guard type == Self.pingType, flags & 1 == 0, length == Self.pingByteCount, stream == 0 else {
                passing = Self.headByteCount + length
                // HEADERS and CONTINUATION.
                if type == 1 || type == 9 { isInHeaders = flags & 4 == 0 }
                continue
            }
            guard var ping = pending.readSlice(length: Self.headByteCount + length) else { break }
            ping.setInteger(1, at: ping.readerIndex + 4, as: UInt8.self)
            context.write(wrapOutboundOut(ping), promise: nil)
            answered = true
        }
        if passing == 0, !isInHeaders { pace.release(into: &passed, .now()) }
        pending.discardReadBytes()
        if answered { context.flush() }
        if passed.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(passed)) }
        wakeUp(context)
    }

    /// Held resets go when they may, also where nothing else comes.
    private func wakeUp(_ context: ChannelHandlerContext) {
        guard let time = pace.nextRelease, !isWaking else { return }
        isWaking = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(deadline: time) {
            let (handler, context) = bound.value
            handler.isWaking = false
            guard context.channel.isActive else { return }
            var passed = ByteBuffer()
            if handler.passing == 0, !handler.isInHeaders { handler.pace.release(into: &passed, .now()) }
            if passed.readableBytes > 0 {
                context.fireChannelRead(handler.wrapInboundOut(passed))
                context.fireChannelReadComplete()
            }
            handler.wakeUp(context)
        }
    }
}
