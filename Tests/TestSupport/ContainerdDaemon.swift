import Glibc

/// Debian's containerd with root, state and socket below one directory. It needs root; containers need the cgroup file
/// systems mounted. A start takes a fifth of a second.
public final class ContainerdDaemon {
    public let socket: String
    private let directory: String
    private let daemon: Daemon
    private var hasStopped = false
    /// The namespace of calls that name none. Containers' cgroups are called like it, so it is no one else's.
    public let namespace: String

    public static let program = "/usr/bin/containerd"
    public static let client = "/usr/bin/ctr"

    /// Starts it; `settings` is added to its configuration, a file of version 2: `[proxy_plugins]`, for example. Plugins
    /// that look for other programs, or that do not belong to images and containers, are off.
    public init(in directory: String, settings: String = "", environment: [String: String] = [:]) throws {
        self.directory = directory
        socket = directory + "/containerd.sock"
        namespace = "ldiff-" + (directory.split(separator: "/").suffix(2).joined(separator: "-"))
        for program in [Self.program, Self.client] where access(program, X_OK) != 0 {
            throw TestFailure("\(program) is missing: install Debian's containerd")
        }
        let off = ["cri", "aufs", "btrfs", "devmapper", "zfs"].map { name in
            name == "cri" ? "\"io.containerd.grpc.v1.cri\"" : "\"io.containerd.snapshotter.v1.\(name)\""
        }
        let configuration = """
            version = 2
            root = "\(directory)/root"
            state = "\(directory)/state"
            disabled_plugins = [\(off.joined(separator: ", "))]
            [grpc]
              address = "\(socket)"
            [ttrpc]
              address = "\(socket).ttrpc"
            \(settings)
            """
        try writeFile(directory + "/containerd.toml", Array(configuration.utf8))
        unlink(socket)
        daemon = try Daemon(
            [Self.program, "--config", directory + "/containerd.toml", "--log-level", "warn"],
            environment: environment.merging(["HOME": directory]) { one, _ in one }, log: directory + "/containerd.log")
        do {
            try daemon.wait(until: "ready") {
                guard accepts(socket: socket) else { return false }
                return try run(["version"]).status == 0
            }
        } catch {
            clear()
            throw error
        }
    }

    /// Runs `ctr`; it may take two minutes.
    public func run(_ words: [String], namespace: String? = nil, input: [UInt8] = []) throws -> ProgramResult {
        try runProgram(
            [
                "/usr/bin/timeout", "--kill-after=5", "120", Self.client, "--address", socket, "--namespace",
                namespace ?? self.namespace,
            ] + words, input: input)
    }

    /// Runs `ctr`, which must succeed.
    @discardableResult
    public func callAsFunction(_ words: String..., namespace: String? = nil, input: [UInt8] = []) throws
        -> ProgramResult
    {
        let result = try run(words, namespace: namespace, input: input)
        guard result.status == 0 else {
            throw TestFailure("ctr \(words.joined(separator: " ")): \(result.errors); \(daemon.tail)")
        }
        return result
    }

    /// The log so far, for tests of what a plugin did to it.
    public var log: String { daemon.tail }

    /// Ends it; an error where a process or a mount stays.
    public func stop() throws {
        try daemon.stop()
        hasStopped = true
        Leftovers.removeControlGroups(namespace)
        let left = try Leftovers.clear(below: directory)
        guard left.isEmpty else { throw TestFailure("containerd left \(left.joined(separator: ", "))") }
    }

    private func clear() {
        daemon.kill()
        _ = try? Leftovers.clear(below: directory, seconds: 1)
        Leftovers.removeControlGroups(namespace)
    }

    deinit { if !hasStopped { clear() } }
}
