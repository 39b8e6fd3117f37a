import NIOCore
import NIOHPACK
import NIOHTTP2

/// Answers a message that says that it is too long with `ResourceExhausted`, before its bytes come.
///
/// gRPC's transport resets such a stream, which clients show as an internal error without a word. Stands first in a
/// stream's pipeline, so that what follows never sees the message.
final class MessageLimit: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias InboundOut = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload

    private let limit: Int
    /// The beginning of a message: whether it is compressed, and its length.
    private var head: [UInt8] = []
    /// Bytes of the current message still to come.
    private var left = 0
    private var isRefused = false

    init(limit: Int) { self.limit = limit }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isRefused { return }
        if case .data(let frame) = unwrapInboundIn(data), case .byteBuffer(let bytes) = frame.data,
            let length = tooLong(bytes)
        {
            return refuse(length, context)
        }
        context.fireChannelRead(data)
    }

    /// Follows the messages in the stream; the length of the first that is too long.
    private func tooLong(_ bytes: ByteBuffer) -> Int? {
        var bytes = bytes
        while bytes.readableBytes > 0 {
            let count = min(left, bytes.readableBytes)
            bytes.moveReaderIndex(forwardBy: count)
            left -= count
            guard left == 0, let byte = bytes.readInteger(as: UInt8.self) else { continue }
            head.append(byte)
            guard head.count == 5 else { continue }
            left = head.dropFirst().reduce(0) { $0 << 8 | Int($1) }
            head.removeAll(keepingCapacity: true)
            if left > limit { return left }
        }
        return nil
    }

    private func refuse(_ length: Int, _ context: ChannelHandlerContext) {
        isRefused = true
        // ResourceExhausted is 8.
        let headers: HPACKHeaders = [
            ":status": "200", "content-type": "application/grpc", "grpc-status": "8",
            "grpc-message":
                "a message of \(length) bytes is longer than the \(limit) that are taken: resource exhausted",
        ]
        let answer = HTTP2Frame.FramePayload.headers(.init(headers: headers, endStream: true))
        context.writeAndFlush(wrapOutboundOut(answer)).assumeIsolated().whenComplete { _ in
            // The client need not send the rest.
            context.close(promise: nil)
        }
    }
}
