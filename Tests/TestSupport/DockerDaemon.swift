import Glibc

/// A Debian's dockerd with everything of its own below one directory: images, state, socket, cgroups, and a containerd
/// that it starts itself. It has no network: what needs one is given as archives.
///
/// It needs root, the cgroup file systems mounted, and a data root on a file system that overlayfs takes as an upper
/// directory (not overlay itself). A start takes about half a second, a stop two and a half.
package final class DockerDaemon {
    /// The data root; `overlay2` and `image/overlay2/layerdb` lie in it.
    package let dataRoot: String
    package let socket: String
    private let directory: String
    private let group: String
    private let daemon: Daemon
    private var hasStopped = false

    /// The client of the same release, whatever else is in PATH.
    package let client: String

    /// Starts it on `directory`/data with the storage driver `driver` and waits until it answers.
    package init(
        in directory: String, release: DockerRelease = .installed, driver: String, options: [String] = [],
        environment: [String: String] = [:]
    ) throws {
        self.directory = directory
        let programs = try release.programs()
        let program = programs + "/sbin/dockerd"
        client = programs + "/bin/docker"
        dataRoot = directory + "/data"
        socket = directory + "/docker.sock"
        group = "ldiff-" + (directory.split(separator: "/").last.map(String.init) ?? "test")
        for program in [program, client] where access(program, X_OK) != 0 {
            throw TestFailure("\(program) is missing: install Debian's docker.io")
        }
        guard access("/sys/fs/cgroup/devices", F_OK) == 0 || access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0
        else { throw TestFailure("dockerd needs the cgroup file systems mounted below /sys/fs/cgroup") }
        for name in ["data", "home"] where mkdir("\(directory)/\(name)", 0o755) != 0 && errno != EEXIST {
            throw TestFailure.call("mkdir", "\(directory)/\(name)")
        }
        // The machine's own /etc/docker/daemon.json is not ours to follow; a file that is named must be there.
        let settings = directory + "/daemon.json"
        try writeFile(settings, Array("{}".utf8))
        let words = [
            program, "--config-file", settings, "--data-root", dataRoot, "--exec-root", directory + "/exec",
            "--pidfile", directory + "/docker.pid", "--host", "unix://" + socket, "--storage-driver", driver,
            "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
            "--userland-proxy=false", "--log-level", "warn", "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--cgroup-parent", "/" + group,
        ]
        unlink(socket)
        daemon = try Daemon(
            words + options,
            environment: environment.merging([
                "HOME": directory + "/home",
                "PATH": "\(programs)/sbin:\(programs)/bin:\(Daemon.environment["PATH"] ?? "")",
            ]) { one, _ in one },
            log: directory + "/dockerd.log")
        do {
            try daemon.wait(until: "ready") {
                guard accepts(socket: socket) else { return false }
                return try run(["version", "--format", "{{.Server.Version}}"]).status == 0
            }
        } catch {
            // Failing, it leaves the mount of its data root on itself.
            clear()
            throw error
        }
    }

    /// Runs the client; it may take two minutes.
    package func run(_ words: [String], input: [UInt8] = []) throws -> ProgramResult {
        try runProgram(
            [
                "/usr/bin/timeout", "--kill-after=5", "120", "/usr/bin/env", "DOCKER_BUILDKIT=0",
                "DOCKER_CONFIG=\(directory)/home", client, "--host", "unix://" + socket,
            ] + words, input: input)
    }

    /// Runs the client, which must succeed.
    @discardableResult
    package func callAsFunction(_ words: String..., input: [UInt8] = []) throws -> ProgramResult {
        try succeed(words, input: input)
    }

    /// Runs the client, which must succeed.
    @discardableResult
    package func succeed(_ words: [String], input: [UInt8] = []) throws -> ProgramResult {
        let result = try run(words, input: input)
        guard result.status == 0 else {
            throw TestFailure("docker \(words.joined(separator: " ")): \(result.errors); \(daemon.tail)")
        }
        return result
    }

    /// Ends it and its containerd; an error where a process or a mount stays.
    package func stop() throws {
        try daemon.stop()
        hasStopped = true
        Leftovers.removeControlGroups(group)
        let left = try Leftovers.clear(below: directory)
        guard left.isEmpty else { throw TestFailure("dockerd left \(left.joined(separator: ", "))") }
    }

    private func clear() {
        daemon.kill()
        _ = try? Leftovers.clear(below: directory, seconds: 1)
        Leftovers.removeControlGroups(group)
    }

    deinit { if !hasStopped { clear() } }
}
