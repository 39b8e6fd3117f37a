import Foundation
import TestSupport

/// A Debian's dockerd with our plugin as its storage driver, both with everything of their own below one directory; only
/// the plugin's socket lies where Docker looks for plugins, under a name that nobody else has.
final class DockerRig {
    let directory: TemporaryDirectory
    /// The plugin's files: not among dockerd's, which must leave no process that names its own.
    private let own: TemporaryDirectory
    let driver: String
    private let release: DockerRelease
    let name: String
    private let words: [String]
    private let options: [String]
    private var environment: [String: String]
    private var daemon: Daemon
    private(set) var docker: DockerDaemon

    static let programs = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        .path
    static let program = programs + "/docker-ldiff-graphdriver"

    var path: String { directory.path }
    var home: String { docker.dataRoot + "/" + name }
    var socket: String { "/run/docker/plugins/\(name).sock" }
    var log: String { String(decoding: (try? readFile(own.path + "/plugin.log")) ?? [], as: UTF8.self) }

    init(
        _ driver: String, release: DockerRelease = .installed, options: [String] = [],
        environment: [String: String] = [:]
    ) throws {
        self.release = release
        directory = try TemporaryDirectory()
        own = try TemporaryDirectory()
        self.driver = driver
        self.options = ["--experimental"] + options
        self.environment = environment
        name = "ldiff" + (directory.path.split(separator: "-").last.map { $0.lowercased() } ?? "e2e")
        let socket = "/run/docker/plugins/\(name).sock"
        words = [
            Self.program, "--driver", driver, "--address", socket, "--metrics-address",
            own.path + "/metrics.sock", "--log-level", "debug",
        ]
        daemon = try Self.start(words, socket, own.path)
        docker = try DockerDaemon(
            in: directory.path, release: release, driver: name, options: self.options, environment: environment)
    }

    private static func start(_ words: [String], _ socket: String, _ path: String) throws -> Daemon {
        let daemon = try Daemon(words, log: path + "/plugin.log")
        try daemon.wait(until: "listening") { accepts(socket: socket) }
        return daemon
    }

    /// What the plugin takes.
    var footprint: Footprint { Footprint(of: daemon.process) }

    /// Ends the plugin at once, as a crash would, and starts it again.
    func crash() throws {
        daemon.kill()
        daemon = try Self.start(words, socket, own.path)
    }

    /// Stops dockerd and starts another on the same data root, with the plugin going on.
    func restartDocker() throws {
        try docker.stop()
        docker = try DockerDaemon(in: path, release: release, driver: name, options: options, environment: environment)
    }

    /// Stops both; an error where a process, a mount or the socket stays.
    func stop() throws {
        try docker.stop()
        try daemon.stop()
        guard access(socket, F_OK) != 0 else { throw TestFailure("\(socket) is left") }
        unlink(socket + ".state")
        let left = try Leftovers.clear(below: path)
        guard left.isEmpty else { throw TestFailure("left: \(left.joined(separator: ", ")); \(daemon.tail)") }
    }

    deinit {
        daemon.kill()
        unlink(socket)
        unlink(socket + ".state")
    }
}
