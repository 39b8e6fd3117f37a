import NIOCore
import NIOHTTP2

/// Announces that metadata may be longer than the 16 KiB that gRPC's transport allows for and does not let us change: beyond
/// them NIOHTTP2 ends the connection, and with it every call of everybody who shares it.
///
/// It says so in settings of its own, right behind the transport's; the new limit holds once the peer has acknowledged
/// them (RFC 9113 6.5.3). A client keeps to what is announced, so longer metadata fail with it, and for their call only.
/// Stands behind NIOHTTP2's handler.
final class HeaderListLimit: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTP2Frame
    typealias OutboundOut = HTTP2Frame

    /// Below what NIOHTTP2 takes of one header in six frames of 16 KiB.
    static let byteCount = 64 << 10

    func channelActive(context: ChannelHandlerContext) {
        let setting = HTTP2Setting(parameter: .maxHeaderListSize, value: Self.byteCount)
        let frame = HTTP2Frame(streamID: .rootStream, payload: .settings(.settings([setting])))
        context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
        context.fireChannelActive()
    }
}
