import ContainerdAPI
import GRPCCore
import Glibc
import TestSupport
import Testing

private typealias Frame = RawConnection.Frame

/// Clients that are broken, or mean harm: the others must not notice.
@Suite(.serialized, .timeLimit(.minutes(3))) struct HostileClientTests {
    private func run(_ body: (SnapshotDaemon) async throws -> Void) async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let daemon = try SnapshotDaemon(in: place.directory("d"))
        try await body(daemon)
        try daemon.stop()
    }

    /// The daemon's sockets: of the services, and of its metrics.
    private func sockets(_ daemon: SnapshotDaemon) -> [String] {
        [daemon.socket, daemon.directory + "/run/metrics.sock"]
    }

    /// Somebody else is answered at once.
    private func isServed(_ daemon: SnapshotDaemon, _ name: String) async throws {
        let start = ContinuousClock.now
        try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare(name)
            #expect(try await client.stat(name).kind == .active)
        }
        #expect(ContinuousClock.now - start < .seconds(10), "\(name)")
    }

    @Test func `garbage ends no connection but its own`() async throws {
        let hello = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
        let garbage: [[UInt8]] = [
            (0..<100_000).map { _ in .random(in: 0...255) }, Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8),
            [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], hello + (0..<50_000).map { _ in .random(in: 0...255) },
            // A frame longer than any may be, headers that are none, data for no call, a window that overflows.
            hello + [255, 255, 255, 0, 0, 0, 0, 0, 1], hello + [0, 0, 4, 1, 5, 0, 0, 0, 1, 255, 255, 255, 255],
            hello + [0, 0, 1, 0, 1, 0, 0, 0, 9, 7], hello + [0, 0, 4, 8, 0, 0, 0, 0, 0, 127, 255, 255, 255],
            Array(repeating: 0, count: 1 << 20), Array(repeating: 10, count: 1 << 20),
        ]
        try await run { daemon in
            for (index, bytes) in garbage.enumerated() {
                for socket in sockets(daemon) {
                    let descriptor = try connectedSocket(socket)
                    _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
                    if index % 2 == 0 { shutdown(descriptor, Int32(SHUT_WR)) }
                    close(descriptor)
                }
                try await isServed(daemon, "garbage-\(index)")
            }
        }
    }

    @Test func `thousands of connections that say nothing, or half of it, keep nobody out`() async throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        try await run { daemon in
            var descriptors: [Int32] = []
            defer { for descriptor in descriptors { close(descriptor) } }
            let parts: [[UInt8]] = [[], Array("PRI * HTTP/2.0\r\n".utf8), Array("GET /met".utf8)]
            for number in 0..<3000 {
                let descriptor = try connectedSocket(sockets(daemon)[number % 10 == 0 ? 1 : 0])
                let part = parts[number % 3]
                _ = send(descriptor, part, part.count, Int32(MSG_NOSIGNAL))
                descriptors.append(descriptor)
            }
            // NIO's client gives up where the queue of the socket is full; once this one is served, it is empty.
            try RawConnection(daemon.socket).acknowledgeSettings()
            try await isServed(daemon, "beside them")
        }
    }

    /// A client cannot send what is no UTF-8, but all else.
    @Test func `keys of any letters and labels of 400 KiB are kept or refused as a whole`() async throws {
        try await run { daemon in
            let every = String(String.UnicodeScalarView((1...255).compactMap { Unicode.Scalar(UInt32($0)) }))
            let keys = [every, "\0", "a\0b", "../../x", "/", ".", "snapshots/1", "\u{202e}", "e\u{301}"]
            var labels: [String: String] = [:]
            for number in 0..<100 { labels["l\(number)"] = String(repeating: "v", count: 4090) }
            let before = try await SnapshotClient.connected(to: daemon.socket) { client in
                for key in keys {
                    let answer = try await failure { try await client.prepare(key) }
                    #expect(answer == nil || answer?.code == .invalidArgument, "\(key): \(answer?.message ?? "")")
                    guard answer == nil else { continue }
                    #expect(try await client.stat(key).name.utf8.elementsEqual(key.utf8))
                }
                let answer = try await failure { try await client.prepare("labels", labels: labels) }
                #expect(answer == nil || answer?.code == .invalidArgument, "\(answer?.message ?? "")")
                if answer == nil { #expect(try await client.stat("labels").labels == labels) }
                return try await client.list()
            }
            daemon.kill()
            try daemon.start()
            try await SnapshotClient.connected(to: daemon.socket) { client in
                #expect(try await client.list() == before)
                for key in before.keys { try await client.remove(key) }
                #expect(try await client.list().isEmpty)
            }
        }
    }

    /// NIOHTTP2 takes more than two hundred for an attack, and ends the connection under everybody's calls.
    @Test func `a thousand calls that are given up leave the connection to the others`() async throws {
        try await run { daemon in
            let connection = try RawConnection(daemon.socket)
            try connection.acknowledgeSettings()
            for call in 0..<1000 {
                try connection.begin("Stat", stream: call * 2 + 1)
                try connection.send(.reset, stream: call * 2 + 1, [0, 0, 0, 8])
            }
            try connection.begin("Stat", stream: 2001)
            try connection.finishStat(stream: 2001)
            var status: String?
            while status == nil, let frame = connection.next(), frame.type != Frame.goAway {
                guard frame.type == Frame.headers else { continue }
                let headers = try connection.headers(frame)
                if frame.stream == 2001 { status = headers["grpc-status"] }
            }
            // NotFound
            #expect(status == "5")
        }
    }
}
