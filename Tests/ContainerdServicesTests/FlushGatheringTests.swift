import NIOCore
import NIOEmbedded
import Testing

@testable import ContainerdServices

@Suite struct FlushGatheringTests {
    /// Stands for the socket.
    private final class FlushCounter: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        var count = 0

        func flush(context: ChannelHandlerContext) {
            count += 1
            context.flush()
        }
    }

    @Test
    func `what is written in one turn of the event loop is sent at once, at its end or before the connection closes`()
        throws
    {
        let counter = FlushCounter()
        let channel = EmbeddedChannel(handlers: [counter, FlushGathering()])
        func received() throws -> Int {
            var count = 0
            while let part = try channel.readOutbound(as: ByteBuffer.self) { count += part.readableBytes }
            return count
        }
        for round in 1...2 {
            for _ in 0..<3 { channel.writeAndFlush(ByteBuffer(string: "answer"), promise: nil) }
            #expect(counter.count == round - 1)
            channel.embeddedEventLoop.run()
            #expect(counter.count == round)
            #expect(try received() == 18)
        }
        channel.writeAndFlush(ByteBuffer(string: "last"), promise: nil)
        channel.close(promise: nil)
        #expect(counter.count == 3)
        #expect(try received() == 4)
        channel.embeddedEventLoop.run()
        #expect(counter.count == 3)
    }
}
