import ArgumentParser
import DaemonSupport
import GraphDriverPlugin
import LayerModel
import Logging

extension DriverName: ExpressibleByArgument {}
extension Logger.Level: @retroactive ExpressibleByArgument {}

/// `docker-ldiff-graphdriver`: ldiff's drivers for Docker.
@main
struct GraphDriverDaemon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "docker-ldiff-graphdriver",
        abstract: "Serves ldiff's drivers to Docker as the storage driver \"ldiff\".",
        discussion: """
            Docker 18.09 to 27 takes storage drivers from plugins:

              docker-ldiff-graphdriver --driver overlay2 &
              dockerd --experimental --storage-driver ldiff

            Docker 27 wants DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1 in dockerd's environment, too. From 28 on use \
            containerd-ldiff-grpc. The socket's name without .sock is the driver's name for Docker; each dockerd needs a \
            plugin of its own.

            OPTIONS OF DOCKER (dockerd --storage-opt):
              ldiff.driver=NAME    the driver, instead of --driver
              ldiff.sync=true      a layer is on disk before Docker hears that it is there
              ldiff.profile=full   layers carry all attributes of their files, not just those that Docker's do
              overlay2.size=10G, zfs.fsname=POOL/DATASET, ...   are the driver's, see ldiff layer --help

            What layers Docker has mounted is kept beside the socket, so the plugin can be restarted at any time. It tells \
            systemd when it is ready, takes its socket from a .socket unit, and ends cleanly at SIGTERM. Its counters are \
            read with ldiff status.
            """,
        version: "docker-ldiff-graphdriver \(LayerKitVersion.current)")

    @Option(
        help: ArgumentHelp("The driver.", valueName: DriverName.allCases.map(\.rawValue).joined(separator: "|")))
    var driver = DriverName.overlay2

    @Option(help: ArgumentHelp("The socket that Docker finds the plugin at.", valueName: "socket"))
    var address = "/run/docker/plugins/ldiff.sock"

    @Option(
        help: ArgumentHelp(
            """
            HOST:PORT where counters and latencies are shown besides, in numbers; or the path of their socket. Default: only \
            metrics.sock beside the first; for a socket among Docker's plugins /run/ldiff/docker-metrics.sock.
            """, valueName: "address"))
    var metricsAddress: String?

    @Option(help: ArgumentHelp("What is logged.", valueName: Logger.Level.names.joined(separator: "|")))
    var logLevel = Logger.Level.info

    func run() async throws {
        DaemonProcess.prepare()
        LineLogHandler.install(level: logLevel)
        let logger = Logger(label: "docker-ldiff-graphdriver")
        do {
            try await serve(logger)
        } catch {
            logger.critical("\(error)")
            throw ExitCode(1)
        }
        logger.notice("stopped")
    }

    private func serve(_ logger: Logger) async throws {
        let manager = ServiceManager()
        let activation = try SocketActivation.fromEnvironment()
        let socket = try ListeningSocket.open(address, from: activation)
        let registry = MetricsRegistry()
        let plugin = try GraphDriverPlugin(
            socket, .init(driver: driver, version: LayerKitVersion.current), registry: registry, manager: manager,
            logger: logger)
        let metrics = try MetricsPlaces(
            metricsAddress, besideSocket: socket.path, from: activation, health: plugin.health
        ) { registry.text() }
        defer { metrics.close() }
        // What an answer says is in the journal before it is given, and what is half made is swept by the next process.
        try await DaemonProcess.run([plugin], manager: manager, logger: logger, limit: .milliseconds(9300)) {
            metrics.close()
            socket.close()
        }
    }
}
