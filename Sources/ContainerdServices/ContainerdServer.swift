import DaemonSupport
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import LayerModel
import LinuxIO
import Logging
import NIOCore
import NIOHTTP2
import NIOPosix
import ServiceLifecycle

/// What the daemon for containerd is started with.
package struct ContainerdSettings: Sendable {
    package var snapshots: SnapshotSettings
    /// containerd's own socket, for the content store.
    package var containerdAddress: String
    /// The namespace of calls that tell none and whose mounts tell none; nil looks in all of them.
    package var defaultNamespace: String?

    package init(snapshots: SnapshotSettings, containerdAddress: String) {
        self.snapshots = snapshots
        self.containerdAddress = containerdAddress
    }
}

/// The daemon for containerd: Snapshots and Diff on one socket, and whether they are well.
package final class ContainerdServer: Service {
    private let socket: ListeningSocket
    private let snapshotters: SnapshotterSet
    private let bridge: BlockingBridge
    private let logger: Logger
    private let server: GRPCServer<HTTP2ServerTransport.Posix>
    /// What keeps the daemon from its work.
    package let health: StoreHealth
    /// One thread serves all connections: containerd has one, and everything that takes time is done elsewhere.
    private let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    /// How long calls may go on after the daemon was asked to end. Layers that are being unpacked then are given up;
    /// containerd begins them anew. With what comes behind it, the end takes less than ten seconds.
    private static let patience = Duration.seconds(7)
    /// Bytes of one message, containerd's own number.
    private static let messageLimit = 16 << 20

    /// Opens the snapshots. Takes over the socket. Blocks.
    package init(
        _ settings: ContainerdSettings, socket: ListeningSocket, bridge: BlockingBridge, metrics: CallMetrics,
        logger: Logger
    ) throws {
        self.socket = socket
        self.bridge = bridge
        self.logger = logger
        snapshotters = try SnapshotterSet(settings.snapshots, bridge: bridge, logger: logger)
        health = StoreHealth(bridge) { [snapshotters] in snapshotters.healthSubjects }
        let root = PathBytes(settings.snapshots.root)
        var differ = DifferOptions(
            containerdAddress: settings.containerdAddress, workDirectory: root.appending("differ"))
        differ.defaultNamespace = settings.defaultNamespace
        try differ.makeWorkDirectory()
        let services: [any RegistrableRPCService] = [
            SnapshotsService(snapshotters: snapshotters, metrics: metrics, logger: logger),
            DiffService(options: differ, snapshots: snapshotters, bridge: bridge, metrics: metrics, logger: logger),
            HealthService(health: health),
        ]
        let transport = HTTP2ServerTransport.Posix(
            listeningSocketDescriptor: Int(socket.takeDescriptor()), transportSecurity: .plaintext,
            config: Self.configuration, eventLoopGroup: loops)
        server = GRPCServer(transport: transport, services: services)
    }

    /// What containerd's client expects.
    private static var configuration: HTTP2ServerTransport.Posix.Config {
        .defaults { config in
            config.rpc.maxRequestPayloadSize = messageLimit
            config.http2.targetWindowSize = 1 << 20
            // A client that is told no number takes it for unlimited, and NIOHTTP2 for 100: one call more ended the
            // connection. Calls beyond this many wait in the client; those that block wait for the bridge's threads.
            config.http2.maxConcurrentStreams = 4096
            config.connection.keepalive.clientBehavior.minPingIntervalWithoutCalls = .seconds(10)
            config.connection.keepalive.clientBehavior.allowWithoutCalls = true
            config.channelDebuggingCallbacks.onAcceptTCPConnection = { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandlers([FlushGathering(), EarlyCalls(), PingAnswers()], position: .first)
                    let http = try pipeline.handler(type: NIOHTTP2Handler.self)
                    try pipeline.addHandler(HeaderListLimit(), position: .after(http))
                }
            }
            config.channelDebuggingCallbacks.onAcceptHTTP2Stream = { channel in
                channel.eventLoop.makeCompletedFuture {
                    let limit = MessageLimit(limit: messageLimit)
                    try channel.pipeline.syncOperations.addHandler(limit, position: .first)
                }
            }
            // Answers are small and somebody waits for each: `FlushGathering` delays none.
            config.connection.flushCoalescing = nil
        }
    }

    /// Serves until the daemon is asked to end; then lets calls end, for a while.
    package func run() async throws {
        defer { socket.close() }
        try await withThrowingTaskGroup { group in
            group.addTask { [self] in
                await snapshotters.cleanUpAll()
                try? await gracefulShutdown()
                try? await Task.sleep(for: Self.patience)
                // What is still being unpacked ends here; the server can then end too.
                bridge.cancelAll()
            }
            group.addTask { [server, loops] in
                try await withGracefulShutdownHandler {
                    try await withTaskExecutorPreference(EventLoopExecutor(loops.next())) { try await server.serve() }
                } onGracefulShutdown: {
                    server.beginGracefulShutdown()
                }
            }
            // The first to end is the server, unless calls hang for longer than they may.
            try await group.next()
            group.cancelAll()
        }
        await withCheckedContinuation { continuation in
            Task.detached { [self] in
                try? await bridge.run { [self] in snapshotters.close() }
                continuation.resume()
            }
        }
    }
}
