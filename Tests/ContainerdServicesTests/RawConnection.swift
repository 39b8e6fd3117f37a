import ContainerdAPI
import Glibc
import NIOCore
import NIOHPACK
import SwiftProtobuf
import TestSupport

/// A connection of HTTP/2 (RFC 9113) whose frames the test makes and reads itself, to do what no client does.
final class RawConnection {
    struct Frame {
        var type: UInt8
        var flags: UInt8
        var stream: Int
        var payload: [UInt8]

        static let data: UInt8 = 0
        static let headers: UInt8 = 1
        static let reset: UInt8 = 3
        static let settings: UInt8 = 4
        static let goAway: UInt8 = 7
        static let continuation: UInt8 = 9
        static let endStream: UInt8 = 1
        static let endHeaders: UInt8 = 4
    }

    private let descriptor: Int32
    private var received: [UInt8] = []
    private var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
    private var decoder = HPACKDecoder(allocator: ByteBufferAllocator())

    /// Connects and says hello. Reads fail after ten seconds of silence.
    init(_ path: String) throws {
        descriptor = try connectedSocket(path)
        try send(Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8))
        try send(.settings, [])
    }

    deinit { close(descriptor) }

    func send(_ type: Frame.Kind, flags: UInt8 = 0, stream: Int = 0, _ payload: [UInt8]) throws {
        let length = payload.count
        let head = [UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255), type.rawValue, flags]
        try send(head + (0..<4).map { UInt8(stream >> (24 - 8 * $0) & 255) } + payload)
    }

    private func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw TestFailure("send: errno \(errno)") }
            rest = rest.dropFirst(count)
        }
    }

    /// The next frame; nil at the end of the connection.
    func next() -> Frame? {
        while true {
            if received.count >= 9 {
                let length = Int(received[0]) << 16 | Int(received[1]) << 8 | Int(received[2])
                if received.count >= 9 + length {
                    defer { received.removeFirst(9 + length) }
                    let stream = received[5..<9].reduce(0) { $0 << 8 | Int($1) }
                    return Frame(
                        type: received[3], flags: received[4], stream: stream,
                        payload: Array(received[9..<9 + length]))
                }
            }
            var buffer = [UInt8](repeating: 0, count: 65536)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return nil }
            received += buffer[..<count]
        }
    }

    /// Waits for both of the server's settings and acknowledges them, as clients of gRPC do before their first call: what they
    /// allow holds from then on.
    func acknowledgeSettings() throws {
        var count = 0
        while count < 2, let frame = next() {
            guard frame.type == Frame.settings, frame.flags & 1 == 0 else { continue }
            count += 1
            try send(.settings, flags: 1, [])
        }
    }

    /// The headers in a frame; each such frame has to be given, in order.
    func headers(_ frame: Frame) throws -> [String: String] {
        var payload = ByteBuffer(bytes: frame.payload)
        let headers = try decoder.decodeHeaders(from: &payload)
        return Dictionary(headers.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
    }

    /// Begins a call of Snapshots; the headers go in pieces of 16 KiB.
    func begin(_ method: String, stream: Int, _ more: [String: String] = [:]) throws {
        var headers: HPACKHeaders = [
            ":method": "POST", ":scheme": "http", ":path": "/containerd.services.snapshots.v1.Snapshots/\(method)",
            ":authority": "localhost", "content-type": "application/grpc", "te": "trailers",
        ]
        for (name, value) in more { headers.add(name: name, value: value) }
        var block = ByteBuffer()
        try encoder.encode(headers: headers, to: &block)
        let bytes = Array(block.readableBytesView)
        for start in stride(from: 0, to: bytes.count, by: 16384) {
            let end = min(bytes.count, start + 16384)
            try send(
                start == 0 ? .headers : .continuation, flags: end == bytes.count ? Frame.endHeaders : 0,
                stream: stream, Array(bytes[start..<end]))
        }
    }

    /// A message of Stat for a snapshot that is not there, and the end of the call.
    func finishStat(stream: Int) throws {
        let request = Containerd_Services_Snapshots_V1_StatSnapshotRequest.with {
            $0.snapshotter = "ldiff"
            $0.key = "nothing"
        }
        let message: [UInt8] = try request.serializedBytes()
        try send(.data, flags: Frame.endStream, stream: stream, [0, 0, 0, 0, UInt8(message.count)] + message)
    }
}

extension RawConnection.Frame {
    /// What a test sends.
    enum Kind: UInt8 {
        case data = 0
        case headers = 1
        case reset = 3
        case settings = 4
        case continuation = 9
    }
}

/// A connection whose reads fail after ten seconds of silence.
func connectedSocket(_ path: String) throws -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    guard result == 0 else { throw TestFailure("cannot connect to \(path): \(errno)") }
    return descriptor
}
