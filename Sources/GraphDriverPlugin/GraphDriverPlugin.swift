import DaemonSupport
import HummingbirdCore
import LayerDrivers
import LayerModel
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization

/// Docker's graphdriver plugin: one of our drivers, served on a unix socket to dockerd up to 27.
public final class GraphDriverPlugin: Service {
    /// How it runs.
    public struct Configuration: Sendable {
        /// The driver, unless Docker names one with `ldiff.driver`.
        public var driver: DriverName
        public var version: String
        /// How long calls have to end at a shutdown before they are stopped.
        public var patience: Duration = .seconds(10)

        public init(driver: DriverName, version: String) {
            self.driver = driver
            self.version = version
        }
    }

    private let socket: ListeningSocket
    private let configuration: Configuration
    private let store: PluginStore
    private let bridge = BlockingBridge()
    private let registry: MetricsRegistry
    private let logger: Logger
    private let manager: ServiceManager
    private let connections = Mutex<[ObjectIdentifier: any Channel]>([:])

    /// Takes the store over from an earlier process, if Docker has one open and it can be opened: otherwise calls say why not.
    ///
    /// Throws where the journal cannot be kept.
    public init(
        _ socket: ListeningSocket, _ configuration: Configuration, registry: MetricsRegistry,
        manager: ServiceManager, logger: Logger
    ) throws(LayerError) {
        self.socket = socket
        self.configuration = configuration
        self.registry = registry
        self.manager = manager
        self.logger = logger
        store = try PluginStore(journal: socket.path + ".state", driver: configuration.driver, logger: logger)
        store.restore()
    }

    /// Serves until the service is shut down.
    public func run() async throws {
        defer { socket.close() }
        let metrics = CallMetrics(
            registry, program: "docker-ldiff-graphdriver", version: configuration.version, drivers: [store.driverName])
        let responder = PluginResponder(
            calls: PluginCalls(store: store, bridge: bridge, version: configuration.version),
            streams: PluginStreams(store: store, bridge: bridge, metrics: metrics), metrics: metrics,
            metricsText: { [registry] in registry.text() }, logger: logger)
        let http = HTTP1Channel(responder: { request, writer, _ in try await responder.respond(request, writer) })
        let logger = logger
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 4096, initial: 65536, maximum: 262_144)
            )
            .bind(socket.takeDescriptor()) { channel in http.setup(channel: channel, logger: logger) }
        logger.notice("listening", metadata: ["socket": "\(socket.path)"])
        manager.ready("serving the driver \(store.driverName)")
        try await withGracefulShutdownHandler {
            try await withThrowingDiscardingTaskGroup { group in
                try await server.executeThenClose { arrivals in
                    for try await connection in arrivals {
                        group.addTask { [self] in
                            let channel = connection.channel
                            connections.withLock { $0[ObjectIdentifier(channel)] = channel }
                            await http.handle(value: connection, logger: logger)
                            connections.withLock { $0[ObjectIdentifier(channel)] = nil }
                        }
                    }
                }
            }
        } onGracefulShutdown: { [self] in
            shutDown(server.channel)
        }
    }

    /// Takes no more connections, ends idle ones at once and busy ones after their answer; what takes longer than our
    /// patience is stopped.
    private func shutDown(_ server: any Channel) {
        server.close(promise: nil)
        for channel in connections.withLock({ Array($0.values) }) {
            channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
        Task { [self] in
            try? await Task.sleep(for: configuration.patience)
            logger.warning("stopping calls that have not ended", metadata: ["calls": "\(bridge.longCount)"])
            bridge.cancelAll()
            try? await Task.sleep(for: configuration.patience)
            for channel in connections.withLock({ Array($0.values) }) { channel.close(promise: nil) }
        }
    }
}
