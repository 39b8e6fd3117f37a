import DaemonSupport
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import LayerModel
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

/// Messages as they go over the wire.
private struct Raw: MessageSerializer, MessageDeserializer {
    func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes { Bytes(message) }
    func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] {
        bytes.withUnsafeBytes { Array($0) }
    }
}

/// `grpc.health.v1.Health`.
@Suite struct HealthTests {
    private static func method(_ name: String) -> MethodDescriptor {
        MethodDescriptor(fullyQualifiedService: "grpc.health.v1.Health", method: name)
    }

    private static func request(_ service: String) -> ClientRequest<[UInt8]> {
        ClientRequest(message: service.isEmpty ? [] : [0x0a, UInt8(service.utf8.count)] + Array(service.utf8))
    }

    private func withClient<Result: Sendable>(
        _ health: StoreHealth, _ body: @Sendable (GRPCClient<HTTP2ClientTransport.Posix>) async throws -> Result
    ) async throws -> Result {
        let socket = "/tmp/ldiff-health-\(UInt64.random(in: .min ... .max)).sock"
        defer { unlink(socket) }
        return try await serving([HealthService(health: health)], at: socket) {
            let transport = try HTTP2ClientTransport.Posix(
                target: .unixDomainSocket(path: socket, authority: "localhost"), transportSecurity: .plaintext)
            return try await withGRPCClient(transport: transport) { try await body($0) }
        }
    }

    private static func check(
        _ service: String, _ client: GRPCClient<HTTP2ClientTransport.Posix>
    ) async throws -> [UInt8] {
        try await client.unary(
            request: request(service), descriptor: method("Check"), serializer: Raw(), deserializer: Raw(),
            options: .defaults
        ) { try $0.message }
    }

    @Test func `services are well while the stores are`() async throws {
        let troubled = Atomic<Bool>(false)
        let health = StoreHealth(BlockingBridge()) {
            [.store(driver: "overlay2", home: PathBytes("/"))]
                + (troubled.load(ordering: .relaxed) ? [.trouble("zfs cannot be opened")] : [])
        }
        let found = try await withClient(health) { client in
            var found: [[UInt8]] = []
            for service in ["", "containerd.services.snapshots.v1.Snapshots", "containerd.services.diff.v1.Diff"] {
                found.append(try await Self.check(service, client))
            }
            return found
        }
        #expect(found == [[0x08, 1], [0x08, 1], [0x08, 1]])
        let unknown = try await withClient(health) { client in
            try await failure { try await Self.check("other", client) }?.code
        }
        #expect(unknown == .notFound)
        troubled.store(true, ordering: .relaxed)
        let ill = try await withClient(health) { client in try await Self.check("", client) }
        #expect(ill == [0x08, 2])
        #expect(health.troubles() == ["zfs cannot be opened"])
    }

    @Test(arguments: [("", UInt8(1)), ("other", UInt8(3))])
    func `who watches is told at once`(service: String, status: UInt8) async throws {
        let health = StoreHealth(BlockingBridge()) { [] }
        try await withClient(health) { client in
            let first = try await client.serverStreaming(
                request: Self.request(service), descriptor: Self.method("Watch"), serializer: Raw(),
                deserializer: Raw(), options: .defaults
            ) { response in
                for try await message in response.messages { return message }
                return []
            }
            #expect(first == [0x08, status])
        }
    }

    @Test(
        arguments: [
            ([], ""), ([0x0a, 1, 0x61], "a"), ([0x10, 0xff, 1, 0x0a, 1, 0x61], "a"), ([0x0a, 2, 0x61], nil),
            ([0x0a], nil),
            ([0x0b], nil), ([0x1d, 1, 2, 3, 4], ""), ([0x19, 1, 2, 3], nil), ([0xff, 0xff, 0xff], nil),
            ([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], nil),
        ] as [([UInt8], String?)])
    func `requests are read as protobuf has them`(bytes: [UInt8], service: String?) {
        #expect((try? HealthRequestDeserializer().deserialize(bytes)) == service)
    }

    @Test func `threads that hang are a trouble, and no reason to wait for long`() {
        let bridge = BlockingBridge(shortThreads: 1)
        let isOver = Atomic<Bool>(false)
        let health = StoreHealth(bridge) {
            while !isOver.load(ordering: .acquiring) { usleep(1000) }
            return []
        }
        let start = ContinuousClock.now
        let found = health.troubles()
        #expect(found.count == 1 && found[0].contains("two seconds"), "\(found)")
        #expect(health.troubles() == found)
        #expect(start.duration(to: .now) < .seconds(8))
        isOver.store(true, ordering: .releasing)
        #expect(health.troubles() == [])
    }

    @Test func `the daemon says that it is well, and ends although somebody watches`() async throws {
        let daemon = try SnapshotDaemon()
        let said = try runProgram([programBesideTests("ldiff"), "status", "--check", "--address", daemon.socket])
        #expect(said.status == 0, "\(said.lines) \(said.errors)")
        #expect(said.lines == ["\(daemon.socket): containerd-ldiff-grpc 0.1.0 is well"])
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: daemon.socket, authority: "localhost"), transportSecurity: .plaintext)
        let process = daemon.process
        let told = try await withGRPCClient(transport: transport) { client in
            try await client.serverStreaming(
                request: Self.request(""), descriptor: Self.method("Watch"), serializer: Raw(), deserializer: Raw(),
                options: .defaults
            ) { response in
                var told: (message: [UInt8], ends: ContinuousClock.Instant)?
                for try await message in response.messages {
                    told = (message, .now)
                    kill(process, SIGTERM)
                }
                return (told?.message, told?.ends.duration(to: .now))
            }
        }
        #expect(told.0 == [0x08, 1])
        #expect(try #require(told.1) < .seconds(4))
        try daemon.stop()
        let gone = try runProgram([programBesideTests("ldiff"), "status", "--check", "--address", daemon.socket])
        #expect(gone.status == 69 && gone.lines.count == 1, "\(gone.lines) \(gone.errors)")
    }
}
