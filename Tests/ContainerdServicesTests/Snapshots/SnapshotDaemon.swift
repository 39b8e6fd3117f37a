import Glibc
import TestSupport

/// The program, with a root and sockets of its own below a directory of one test.
final class SnapshotDaemon {
    let directory: String
    let root: String
    let socket: String
    private var daemon: Daemon
    private let words: [String]
    private let owned: TemporaryDirectory?

    /// The program, next to the tests that run it.
    static var program: String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path[..<(path.lastIndex(of: "/") ?? path.startIndex)] + "/containerd-ldiff-grpc"
    }

    /// Starts it and waits until it answers. `settings` is its configuration file.
    init(driver: String = "overlay2", settings: String = "", in place: String? = nil, root: String? = nil) throws {
        owned = place == nil ? try TemporaryDirectory() : nil
        directory = place ?? owned?.path ?? ""
        self.root = root ?? directory + "/root"
        socket = directory + "/run/ldiff.sock"
        try writeFile(directory + "/config.toml", Array(settings.utf8))
        words = [
            Self.program, "--root", self.root, "--address", socket, "--driver", driver, "--log-level", "debug",
            "--config", directory + "/config.toml", "--containerd-address", directory + "/none.sock",
        ]
        daemon = try Daemon(words, log: directory + "/daemon.log")
        try waitUntilReady()
    }

    private func waitUntilReady() throws {
        try daemon.wait(until: "listening") { [socket] in accepts(socket: socket) }
    }

    /// Ends it as systemd does.
    func stop() throws { try daemon.stop() }

    /// Ends it as a power failure would, as far as a process can tell.
    func kill() { daemon.kill() }

    /// Starts it once more, after `stop` or `kill`.
    func start() throws {
        daemon = try Daemon(words, log: directory + "/daemon.log")
        try waitUntilReady()
    }

    var log: String { daemon.tail }
    var process: pid_t { daemon.process }

    deinit { daemon.kill() }
}
