import Glibc

/// A Debian's containerd with root, state and socket below one directory. It needs root; containers need the cgroup file
/// systems mounted. A start takes a fifth of a second.
package final class ContainerdDaemon {
    package let socket: String
    private let directory: String
    private let daemon: Daemon
    private var hasStopped = false
    /// The namespace of calls that name none. Containers' cgroups are called like it, so it is no one else's.
    package let namespace: String

    /// Path of `ctr` of the same release.
    package let client: String

    /// Starts it; `settings` is added to its configuration, a file of version 2: `[proxy_plugins]`, for example; `imports`
    /// are whole files. Plugins that look for other programs, or that do not belong to images and containers, are off.
    package init(
        in directory: String, release: ContainerdRelease = .installed, settings: String = "", imports: [String] = [],
        environment: [String: String] = [:]
    ) throws {
        self.directory = directory
        let programs = try release.programs()
        let program = programs + "/containerd"
        client = programs + "/ctr"
        socket = directory + "/containerd.sock"
        namespace = "ldiff-" + (directory.split(separator: "/").suffix(2).joined(separator: "-"))
        for program in [program, client] where access(program, X_OK) != 0 {
            throw TestFailure("\(program) is missing: install Debian's containerd")
        }
        let off = [
            "grpc.v1.cri", "cri.v1.images", "cri.v1.runtime", "nri.v1.nri", "snapshotter.v1.aufs",
            "snapshotter.v1.btrfs", "snapshotter.v1.devmapper", "snapshotter.v1.zfs",
        ].map { "\"io.containerd.\($0)\"" }
        let files = imports.map { "\"\($0)\"" }.joined(separator: ", ")
        let configuration = """
            version = 2
            imports = [\(files)]
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
            [program, "--config", directory + "/containerd.toml", "--log-level", "warn"],
            environment: environment.merging(
                ["HOME": directory, "PATH": "\(programs):\(Daemon.environment["PATH"] ?? "")"]) { one, _ in one },
            log: directory + "/containerd.log")
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
    package func run(_ words: [String], namespace: String? = nil, input: [UInt8] = []) throws -> ProgramResult {
        try runProgram(
            [
                "/usr/bin/timeout", "--kill-after=5", "120", client, "--address", socket, "--namespace",
                namespace ?? self.namespace,
            ] + words, input: input)
    }

    /// Runs `ctr`, which must succeed.
    @discardableResult
    package func callAsFunction(_ words: String..., namespace: String? = nil, input: [UInt8] = []) throws
        -> ProgramResult
    {
        let result = try run(words, namespace: namespace, input: input)
        guard result.status == 0 else {
            throw TestFailure("ctr \(words.joined(separator: " ")): \(result.errors); \(daemon.tail)")
        }
        return result
    }

    /// The log so far, for tests of what a plugin did to it.
    package var log: String { daemon.tail }

    /// Ends it; an error where a process or a mount stays.
    package func stop() throws {
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
