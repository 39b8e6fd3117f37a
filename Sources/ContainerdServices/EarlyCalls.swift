import NIOCore

/// Holds the calls of a new connection until the client has acknowledged the server's settings.
///
/// A client may call before it has read them (RFC 9113 3.4). What they allow holds for the server from their
/// acknowledgement on, so that a first call with long metadata ended the connection although it was within what is
/// announced. The frames of SETTINGS pass at once, all else behind them: they only ever allow more than the protocol's
/// defaults, so taking them earlier refuses nothing.
///
/// Stands before NIOHTTP2's handler, and leaves once its work is done.
final class EarlyCalls: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    /// The transport's own and those of `HeaderListLimit`.
    private static let settingsCount = 2
    private static let settingsType: UInt8 = 4
    private static let acknowledgement: UInt8 = 1
    private static let prefaceByteCount = 24
    private static let headByteCount = 9
    /// What is held of a client that goes on and on; then it gets what it would have got without this.
    static let byteLimit = 1 << 20
    /// How long a client may take that never acknowledges.
    static let patience = TimeAmount.seconds(1)

    private var passing = prefaceByteCount
    /// The beginning of a frame that has not come in full.
    private var pending = ByteBuffer()
    private var held = ByteBuffer()
    private var acknowledged = 0
    private var isDone = false

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.patience) {
            let (handler, context) = bound.value
            handler.finish(context)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isDone else { return context.fireChannelRead(data) }
        var arrived = unwrapInboundIn(data)
        pending.writeBuffer(&arrived)
        var passed = ByteBuffer()
        if passing > 0, var part = pending.readSlice(length: min(passing, pending.readableBytes)) {
            passing -= part.readableBytes
            passed.writeBuffer(&part)
        }
        while passing == 0, acknowledged < Self.settingsCount, var frame = nextFrame() {
            if isSettings(frame) {
                if flags(frame) & Self.acknowledgement != 0 { acknowledged += 1 }
                passed.writeBuffer(&frame)
            } else {
                held.writeBuffer(&frame)
            }
        }
        if passed.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(passed)) }
        if acknowledged == Self.settingsCount || held.readableBytes + pending.readableBytes > Self.byteLimit {
            finish(context)
        }
    }

    /// Passes on what was held, and is gone.
    private func finish(_ context: ChannelHandlerContext) {
        guard !isDone else { return }
        isDone = true
        guard context.channel.isActive else { return }
        held.writeBuffer(&pending)
        if held.readableBytes > 0 {
            context.fireChannelRead(wrapInboundOut(held))
            context.fireChannelReadComplete()
        }
        held = ByteBuffer()
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    private func nextFrame() -> ByteBuffer? {
        let start = pending.readerIndex
        guard let high = pending.getInteger(at: start, as: UInt8.self),
            let low = pending.getInteger(at: start + 1, as: UInt16.self)
        else { return nil }
        return pending.readSlice(length: Self.headByteCount + Int(high) << 16 + Int(low))
    }

    private func isSettings(_ frame: ByteBuffer) -> Bool {
        frame.getInteger(at: frame.readerIndex + 3, as: UInt8.self) == Self.settingsType
    }

    private func flags(_ frame: ByteBuffer) -> UInt8 {
        frame.getInteger(at: frame.readerIndex + 4, as: UInt8.self) ?? 0
    }
}
