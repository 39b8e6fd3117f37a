import Glibc

/// The program `containerd-ldiff-grpc`, with a root and sockets of its own below a directory of one test.
package final class SnapshotDaemon {
    package let directory: String
    package let root: String
    package let socket: String
    private var daemon: Daemon
    private let words: [String]
    private let owned: TemporaryDirectory?
    private let isWatched: Bool
    /// Watches the calls of one that was started so, to the root's file system.
    package private(set) var watch: CallWatch?

    /// The program, next to the tests that run it.
    package static var program: String { (try? programBesideTests("containerd-ldiff-grpc")) ?? "containerd-ldiff-grpc" }

    /// Starts it and waits until it answers. `settings` is its configuration file; `place` an existing directory for
    /// everything, or nil for one of its own. With `isWatched` the root must be a file system of its own.
    package init(
        driver: String = "overlay2", settings: String = "", in place: String? = nil, containerd: String? = nil,
        environment: [String: String] = [:], isWatched: Bool = false
    ) throws {
        owned = place == nil ? try TemporaryDirectory() : nil
        directory = place ?? owned?.path ?? ""
        root = directory + "/root"
        socket = directory + "/run/ldiff.sock"
        self.environment = environment
        self.isWatched = isWatched
        try writeFile(directory + "/config.toml", Array(settings.utf8))
        words =
            (isWatched ? try CallWatch.prefix() : []) + [
                Self.program, "--root", root, "--address", socket, "--driver", driver, "--log-level", "debug",
                "--config", directory + "/config.toml", "--containerd-address", containerd ?? directory + "/none.sock",
            ]
        daemon = try Daemon(words, environment: environment, log: directory + "/daemon.log")
        try beginWatching { _ in }
        try waitUntilReady()
    }

    private func beginWatching(_ plan: (CallWatch) -> Void) throws {
        guard isWatched else { return }
        watch = nil
        let new = try CallWatch(daemon.process, store: root)
        plan(new)
        new.go()
        watch = new
    }

    private let environment: [String: String]

    private func waitUntilReady() throws {
        try daemon.wait(until: "ready") { [socket] in answersHTTP2(socket: socket) }
    }

    /// Its number; another after `start`.
    package var process: pid_t { daemon.process }

    /// Ends it as systemd does.
    package func stop() throws { try daemon.stop() }

    /// Ends it as a power failure would, as far as a process can tell.
    package func kill() { daemon.kill() }

    /// Starts it once more, after `stop` or `kill`.
    package func start() throws { try start { _ in } }

    /// The same, with a plan for its very first calls.
    package func start(_ plan: (CallWatch) -> Void) throws {
        daemon = try Daemon(words, environment: environment, log: directory + "/daemon.log")
        try beginWatching(plan)
        try waitUntilReady()
    }

    /// The mount points of its packed layers; they outlive it.
    package func layerMounts() throws -> [String] { try Leftovers.layerMounts(of: root) }

    /// Unmounts them, as the end of the machine does.
    package func unmountLayers() throws { try Leftovers.unmountLayers(of: root) }

    /// The end of the log.
    package var log: String { daemon.tail }

    deinit {
        daemon.kill()
        try? unmountLayers()
    }
}

/// Whether a server of HTTP/2 answers at a socket's path: it sends its settings as soon as it has ours.
private func answersHTTP2(socket path: String) -> Bool {
    let hello = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
    guard let descriptor = connected(socket: path) else { return false }
    defer { close(descriptor) }
    var limit = timeval(tv_sec: 2, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    guard send(descriptor, hello, hello.count, Int32(MSG_NOSIGNAL)) == hello.count else { return false }
    var frame = [UInt8](repeating: 0, count: 9)
    return recv(descriptor, &frame, 9, Int32(MSG_WAITALL)) == 9 && frame[3] == 4
}
