import Glibc
import NIOCore
import NIOEmbedded
import TestSupport
import Testing

@testable import ContainerdServices

/// A frame of HTTP/2 (RFC 9113 4.1).
private func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt8 = 0, _ payload: [UInt8]) -> [UInt8] {
    [0, 0, UInt8(payload.count), type, flags, 0, 0, 0, stream] + payload
}

private func ping(_ mark: UInt8, flags: UInt8 = 0) -> [UInt8] {
    frame(6, flags: flags, Array(repeating: mark, count: 8))
}

private let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

@Suite struct PingAnswersTests {
    /// However the bytes arrive. What only looks like a PING, being inside another frame, an answer or malformed, passes.
    @Test(arguments: [1, 2, 5, 9, 16, 17, 18, 1000])
    func `pings are answered and everything else passes as it came`(piece: Int) throws {
        let others = [
            preface + frame(4, []), frame(1, flags: 4, stream: 1, ping(9)), ping(8, flags: 1) + frame(6, [1, 2, 3]),
            frame(6, stream: 1, Array(repeating: 7, count: 8)) + frame(0, flags: 1, stream: 1, []),
        ]
        let sent = others[0] + ping(1) + others[1] + ping(2) + ping(3) + others[2] + ping(4) + others[3]
        let channel = EmbeddedChannel(handler: PingAnswers())
        for start in stride(from: 0, to: sent.count, by: piece) {
            try channel.writeInbound(ByteBuffer(bytes: sent[start..<min(start + piece, sent.count)]))
        }
        var passed = ByteBuffer()
        while var part = try channel.readInbound(as: ByteBuffer.self) { passed.writeBuffer(&part) }
        var answers = ByteBuffer()
        while var part = try channel.readOutbound(as: ByteBuffer.self) { answers.writeBuffer(&part) }
        #expect(Array(passed.readableBytesView) == others.flatMap { $0 })
        #expect(Array(answers.readableBytesView) == (1...4).flatMap { ping($0, flags: 1) })
        _ = try channel.finish()
    }

    /// Go's client sends one with almost every answer; NIOHTTP2 alone ends the connection after 200.
    @Test func `a thousand pings at once do not end a connection`() throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let daemon = try SnapshotDaemon(in: place.directory("d"))
        let descriptor = try connectedSocket(daemon.socket)
        let pings = (0..<1000).flatMap { ping(UInt8($0 & 0x7f)) }
        let sent = preface + frame(4, []) + pings
        #expect(send(descriptor, sent, sent.count, Int32(MSG_NOSIGNAL)) == sent.count)
        var received: [UInt8] = []
        var (answers, closings, start) = (0, 0, 0)
        while answers < 1000, closings == 0 {
            var buffer = [UInt8](repeating: 0, count: 65536)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            received += buffer[..<count]
            while received.count >= start + 9 {
                let end = start + 9 + Int(received[start + 1]) << 8 + Int(received[start + 2])
                guard received.count >= end else { break }
                if received[start + 3] == 6, received[start + 4] == 1 { answers += 1 }
                if received[start + 3] == 7 { closings += 1 }
                start = end
            }
        }
        // Before the daemon, which waits for those connected to it.
        close(descriptor)
        #expect(answers == 1000)
        #expect(closings == 0, "GOAWAY")
        try daemon.stop()
    }
}
