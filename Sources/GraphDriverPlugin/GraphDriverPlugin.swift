import DaemonSupport
import HummingbirdCore
import LayerDrivers
import LayerModel
import LinuxIO
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Docker's graphdriver plugin: one of our drivers, served on a unix socket to dockerd up to 27.
package final class GraphDriverPlugin: Service {
    /// How it runs.
    package struct Configuration: Sendable {
        /// The driver, unless Docker names one with `ldiff.driver`.
        package var driver: DriverName
        package var version: String
        /// How long calls have to end at a shutdown before they are stopped, with the time that stopping takes well below
        /// the ten seconds after which a daemon is killed by those who wait for it.
        package var patience: Duration = .seconds(5)

        package init(driver: DriverName, version: String) {
            self.driver = driver
            self.version = version
        }
    }

    private let socket: ListeningSocket
    private let configuration: Configuration
    private let store: PluginStore
    private let bridge: BlockingBridge
    private let connections: PluginConnections
    /// What keeps the daemon from its work.
    package let health: StoreHealth
    private let registry: MetricsRegistry
    private let logger: Logger
    private let manager: ServiceManager

    /// Takes the store over from an earlier process, if Docker has one open and it can be opened: otherwise calls say why not.
    ///
    /// Throws where the journal cannot be kept.
    package init(
        _ socket: ListeningSocket, _ configuration: Configuration, registry: MetricsRegistry,
        manager: ServiceManager, logger: Logger
    ) throws(LayerError) {
        self.socket = socket
        self.configuration = configuration
        self.registry = registry
        self.manager = manager
        self.logger = logger
        store = try PluginStore(journal: socket.path + ".state", driver: configuration.driver, logger: logger)
        let descriptors = ProcessState.raiseDescriptorLimit()
        connections = PluginConnections(descriptors: descriptors)
        // A layer that comes in holds a few descriptors, and a thread while its peer is silent.
        bridge = BlockingBridge(incomingThreads: max(4, min(256, descriptors / 16)))
        health = StoreHealth(bridge) { [store] in store.healthSubjects }
        store.restore()
    }

    /// Serves until the service is shut down.
    package func run() async throws {
        defer { socket.close() }
        let metrics = CallMetrics(
            registry, program: "docker-ldiff-graphdriver", version: configuration.version, drivers: [store.driverName])
        let responder = PluginResponder(
            calls: PluginCalls(store: store, bridge: bridge, version: configuration.version),
            streams: PluginStreams(store: store, bridge: bridge, metrics: metrics), metrics: metrics,
            metricsText: { [registry] in registry.text() }, logger: logger)
        let (logger, connections) = (logger, connections)
        let http = HTTP1Channel(
            responder: { request, writer, channel in
                // A connection that has ended meanwhile has none, and what it sent is a call all the same.
                let watch =
                    (try? await channel.pipeline.handler(type: ConnectionWatch.self).get())
                    ?? ConnectionWatch(connections)
                watch.enter(.receiving)
                defer { watch.enter(.idle) }
                try await responder.respond(request, writer, watch)
            }, configuration: .init(additionalChannelHandlers: [ConnectionWatch(connections)]))
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 4096, initial: 65536, maximum: 262_144)
            )
            .bind(socket.takeDescriptor()) { channel in http.setup(channel: channel, logger: logger) }
        logger.notice("listening", metadata: ["socket": "\(socket.path)"])
        manager.ready("serving the driver \(store.driverName)")
        let sweeper = Task { [self] in await sweep() }
        defer { sweeper.cancel() }
        try await withGracefulShutdownHandler {
            try await withThrowingDiscardingTaskGroup { group in
                try await server.executeThenClose { arrivals in
                    for try await connection in arrivals {
                        group.addTask { await http.handle(value: connection, logger: logger) }
                    }
                }
            }
        } onGracefulShutdown: { [self] in
            shutDown(server.channel)
        }
    }

    /// Ends, until it is cancelled, what peers have left.
    private func sweep() async {
        while (try? await Task.sleep(for: .seconds(15))) != nil {
            let count = connections.closeSilent(for: PluginConnections.patience)
            if count > 0 { logger.info("ended connections on which nothing moved", metadata: ["count": "\(count)"]) }
        }
    }

    /// Takes no more connections, ends idle ones at once and busy ones after their answer; what takes longer than our
    /// patience is stopped, and what waits for a peer that is silent.
    private func shutDown(_ server: any Channel) {
        server.close(promise: nil)
        connections.quiesce()
        Task { [self] in
            try? await Task.sleep(for: configuration.patience)
            logger.warning("stopping calls that have not ended", metadata: ["calls": "\(bridge.longCount)"])
            bridge.cancelAll()
            _ = connections.closeSilent(for: .seconds(1))
            // The others have a moment to say why.
            try? await Task.sleep(for: .seconds(2))
            connections.closeAll()
        }
    }
}
