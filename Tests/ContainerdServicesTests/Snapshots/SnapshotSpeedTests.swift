import ContainerdAPI
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import TestSupport
import Testing

/// 320 Prepare, Stat and Commit from 16 callers, through containerd: its own snapshotter against ours, in turn.
@Suite(.serialized) struct SnapshotSpeedTests {
    private static let callers = 16
    private static let rounds = 20

    /// Names that of each round and caller; seconds that all took.
    private static func run(_ client: SnapshotClient, _ mark: String) async throws -> Double {
        let clock = ContinuousClock()
        let start = clock.now
        try await withThrowingTaskGroup { group in
            for caller in 0..<callers {
                group.addTask {
                    for round in 0..<rounds {
                        let name = "\(mark)-\(caller)-\(round)"
                        _ = try await client.prepare(name + "-key")
                        _ = try await client.stat(name + "-key")
                        try await client.commit(name, name + "-key")
                    }
                }
            }
            try await group.waitForAll()
        }
        let seconds = (clock.now - start) / .seconds(1)
        for caller in 0..<callers { for round in 0..<rounds { try await client.remove("\(mark)-\(caller)-\(round)") } }
        return seconds
    }

    @Test func `sixteen callers are served no slower than by containerd's own snapshotter`() async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let plugin = try SnapshotDaemon(in: place.directory("l"))
        let containerd = try ContainerdDaemon(
            in: place.directory("c"),
            settings: "[proxy_plugins.ldiff]\n  type = \"snapshot\"\n  address = \"\(plugin.socket)\"\n")
        let namespace = [NamespaceHeader(containerd.namespace)]
        var seconds: [String: [Double]] = [:]
        do {
            try await withGRPCClient(
                transport: .http2NIOPosix(
                    target: .unixDomainSocket(path: containerd.socket, authority: "localhost"),
                    transportSecurity: .plaintext),
                interceptors: namespace
            ) { client in
                for round in 0..<4 {
                    for name in ["overlayfs", "ldiff"] {
                        let client = SnapshotClient(service: .init(wrapping: client), snapshotter: name)
                        let taken = try await Self.run(client, "\(name)-\(round)")
                        // The first round opens files and fills caches.
                        if round > 0 { seconds[name, default: []].append(taken) }
                    }
                }
            }
        } catch {
            throw TestFailure("\(error): \(containerd.log) \(plugin.log)")
        }
        let direct = try await SnapshotClient.connected(to: plugin.socket) { client in
            _ = try await Self.run(client, "warm")
            return try await Self.run(client, "direct")
        }
        let theirs = seconds["overlayfs"]?.min() ?? 0
        let ours = seconds["ldiff"]?.min() ?? .infinity
        print(
            "320 x Prepare, Stat, Commit through containerd: overlayfs \(seconds["overlayfs"] ?? []), "
                + "ldiff \(seconds["ldiff"] ?? []); ldiff's socket itself \(direct)")
        #expect(ours < theirs * 1.25, "ldiff \(ours) s, overlayfs \(theirs) s")
        #expect(direct < theirs)
        try containerd.stop()
        try plugin.stop()
    }
}

/// Puts the namespace into the metadata of every call.
struct NamespaceHeader: ClientInterceptor {
    private let namespace: String
    init(_ namespace: String) { self.namespace = namespace }

    func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingClientRequest<Input>, context: ClientContext,
        next: (StreamingClientRequest<Input>, ClientContext) async throws -> StreamingClientResponse<Output>
    ) async throws -> StreamingClientResponse<Output> {
        var request = request
        request.metadata.replaceOrAddString(namespace, forKey: "containerd-namespace")
        return try await next(request, context)
    }
}
