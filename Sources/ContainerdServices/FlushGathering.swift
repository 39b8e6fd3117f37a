import NIOCore

/// Sends what is written in one turn of the event loop at once: an answer's head, message and status come as three flushes, and
/// the answers of other calls beside them.
final class FlushGathering: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var isPending = false
    private var isThere = true

    func flush(context: ChannelHandlerContext) {
        guard !isPending else { return }
        isPending = true
        context.eventLoop.assumeIsolated().execute { self.send(context) }
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        send(context)
        context.close(mode: mode, promise: promise)
    }

    func handlerRemoved(context: ChannelHandlerContext) { isThere = false }

    private func send(_ context: ChannelHandlerContext) {
        guard isPending, isThere else { return }
        isPending = false
        context.flush()
    }
}
