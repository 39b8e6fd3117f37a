import ArgumentParser
import ContainerdServices
import DaemonSupport
import Glibc
import LayerDrivers
import LayerModel
import Logging

/// The program `containerd-ldiff-grpc`.
struct ContainerdDaemon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "containerd-ldiff-grpc",
        abstract: "Keeps containerd's snapshots, and unpacks and writes its layers.",
        discussion: """
            Serves the services Snapshots and Diff of containerd's API on one unix socket. The name under which containerd
            knows the snapshotter selects the driver: ldiff-overlay2, ldiff-erofs, ldiff-fuse-overlayfs, ldiff-zfs,
            ldiff-aufs; any other name, such as ldiff, is the default one.

            Every setting can be in the configuration file as well; a flag goes before it.

            `containerd-ldiff-grpc check` compares the records of a root with its directories: see its --help.
            """,
        version: "containerd-ldiff-grpc \(LayerKitVersion.current)")

    @Option(help: ArgumentHelp("Where snapshots and their metadata lie. (default: \(Defaults.root))", valueName: "dir"))
    var root: String?

    @Option(
        help: ArgumentHelp("The socket to serve on. (default: \(Defaults.address))", valueName: "socket"))
    var address: String?

    @Option(
        help: ArgumentHelp(
            "The driver of names that name none: overlay2, erofs, fuse-overlayfs, zfs or aufs. (default: overlay2)",
            valueName: "name"))
    var driver: String?

    @Option(
        name: .customLong("containerd-address"),
        help: ArgumentHelp("containerd's socket. (default: \(Defaults.containerdAddress))", valueName: "socket"))
    var containerdAddress: String?

    @Option(
        name: .customLong("log-level"),
        help: ArgumentHelp(
            "trace, debug, info, notice, warning, error or critical. (default: info)", valueName: "level"))
    var logLevel: String?

    @Option(
        name: .customLong("metrics-address"),
        help: ArgumentHelp(
            "HOST:PORT where metrics are told besides, in numbers; or the path of their socket. (default: only metrics.sock beside the other)",
            valueName: "address"))
    var metricsAddress: String?

    @Option(
        help: ArgumentHelp(
            "The configuration file. (default: \(ConfigurationFile.standardPath), where it exists)", valueName: "file"))
    var config: String?

    @Flag(
        name: .customLong("check-config"),
        help: "Only read the configuration file and the flags, say what is wrong with them, and end.")
    var checkConfig = false

    enum Defaults {
        static let root = "/var/lib/containerd-ldiff"
        static let address = "/run/containerd-ldiff/containerd-ldiff.sock"
        static let containerdAddress = "/run/containerd/containerd.sock"
    }

    func run() async throws {
        do {
            try await serve()
        } catch {
            DaemonProcess.fail("containerd-ldiff-grpc", error)
        }
    }

    private func serve() async throws {
        let file = try readConfiguration()
        let level = try level(logLevel ?? file.logLevel ?? "info")
        let driver = try driverName(self.driver ?? file.driver ?? DriverName.overlay2.rawValue)
        var snapshots = SnapshotSettings(root: root ?? file.root ?? Defaults.root, driver: driver)
        _ = try snapshots.checkedRoot()
        if checkConfig { return print("\(config ?? ConfigurationFile.standardPath): nothing is wrong with it") }
        let activation = try SocketActivation.fromEnvironment()
        let manager = ServiceManager()
        LineLogHandler.install(level: level)
        let logger = Logger(label: "containerd-ldiff-grpc")

        let address = self.address ?? file.address ?? Defaults.address
        let socket = try ListeningSocket.open(address, from: activation)
        let registry = MetricsRegistry()
        let metrics = CallMetrics(
            registry, program: "containerd-ldiff-grpc", version: LayerKitVersion.current, drivers: [driver.rawValue])

        snapshots.zfsDataset = file.zfsDataset
        snapshots.options = file.options
        var settings = ContainerdSettings(
            snapshots: snapshots,
            containerdAddress: containerdAddress ?? file.containerdAddress ?? Defaults.containerdAddress)
        settings.defaultNamespace = file.defaultNamespace
        let server = try ContainerdServer(
            settings, socket: socket, bridge: BlockingBridge(), metrics: metrics, logger: logger)
        let endpoint = try MetricsPlaces(
            metricsAddress ?? file.metricsAddress, besideSocket: socket.path, from: activation, health: server.health
        ) { registry.text() }
        defer { endpoint.close() }
        logger.notice(
            "serving",
            metadata: ["address": "\(socket.path)", "root": "\(snapshots.root)", "driver": "\(driver.rawValue)"])
        manager.ready("serving on \(socket.path)")
        try await DaemonProcess.run([server], manager: manager, logger: logger, limit: .milliseconds(9300)) {
            endpoint.close()
            socket.close()
        }
    }

    private func readConfiguration() throws -> ConfigurationFile {
        if let config { return try ConfigurationFile(path: config) }
        do throws(LayerError) {
            return try ConfigurationFile(path: ConfigurationFile.standardPath)
        } catch {
            guard error.code == .notFound else { throw error }
            return ConfigurationFile()
        }
    }

    private func level(_ name: String) throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: name) else {
            throw LayerError(
                .invalidArgument, "set the log level",
                cause: .reason("\"\(name)\" is none of \(Logger.Level.names.joined(separator: ", "))"))
        }
        return level
    }

    private func driverName(_ name: String) throws -> DriverName {
        guard let driver = SnapshotterSet.drivers.first(where: { $0.rawValue == name }) else {
            let names = SnapshotterSet.drivers.map(\.rawValue).joined(separator: ", ")
            throw LayerError(
                .invalidArgument, "choose the driver", cause: .reason("\"\(name)\" is none of \(names)"))
        }
        return driver
    }
}

/// What runs first: the process is set up while it has one thread.
@main
enum Program {
    static func main() async {
        let words = CommandLine.arguments.dropFirst()
        // Beside the flags of the daemon, and not below them: they mean nothing to it.
        if words.first == "check" { return CheckCommand.main(Array(words.dropFirst())) }
        DaemonProcess.prepare()
        await ContainerdDaemon.main()
    }
}
