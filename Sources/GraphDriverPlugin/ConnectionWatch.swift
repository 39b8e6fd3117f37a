import NIOCore
import Synchronization

/// What one connection is doing, and since when nothing has moved on it that its peer should move.
///
/// Lies in the pipeline behind the HTTP codec, so that bytes which never become a request are no progress.
final class ConnectionWatch: ChannelDuplexHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = NIOAny
    typealias InboundOut = NIOAny
    typealias OutboundIn = NIOAny
    typealias OutboundOut = NIOAny

    /// Where its request is.
    enum Phase {
        /// None is there, or none whose head is complete.
        case idle
        /// Its body is being read.
        case receiving
        /// It is complete, and the answer is ours to give.
        case working
    }

    private struct State {
        var phase = Phase.idle
        var channel: (any Channel)?
        /// Whether we would take what the peer sends; not while a layer's slabs are all full.
        var isReading = false
        /// Pieces of answers that the peer has not taken.
        var unsent = 0
        var lastMove = NIODeadline.now()
    }

    private let state = Mutex(State())
    private let connections: PluginConnections

    init(_ connections: PluginConnections) { self.connections = connections }

    /// Since when the connection waits for its peer; nil while it waits for us.
    var silentSince: (time: NIODeadline, phase: Phase)? {
        state.withLock { state in
            let peerIsNext =
                switch state.phase {
                case .idle: true
                case .receiving: state.isReading
                case .working: state.unsent > 0
                }
            return peerIsNext ? (state.lastMove, state.phase) : nil
        }
    }

    func enter(_ phase: Phase) {
        state.withLock { state in
            state.phase = phase
            state.lastMove = .now()
        }
    }

    func close() { state.withLock { $0.channel }?.close(promise: nil) }

    /// Ends it now where it is idle, and else when its answer is given.
    func quiesce() {
        state.withLock { $0.channel }?.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
    }

    // MARK: The pipeline

    func handlerAdded(context: ChannelHandlerContext) {
        state.withLock { $0.channel = context.channel }
        connections.add(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        connections.remove(self)
        // The channel holds its pipeline, and that holds this.
        state.withLock { $0.channel = nil }
    }

    func read(context: ChannelHandlerContext) {
        state.withLock { $0.isReading = true }
        context.read()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        state.withLock { $0.isReading = false }
        context.fireChannelReadComplete()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        state.withLock { $0.lastMove = .now() }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let promise = promise ?? context.eventLoop.makePromise()
        state.withLock { state in
            state.unsent += 1
            if state.unsent == 1 { state.lastMove = .now() }
        }
        promise.futureResult.whenComplete { [self] _ in
            state.withLock { state in
                state.unsent -= 1
                state.lastMove = .now()
            }
        }
        context.write(data, promise: promise)
    }
}
