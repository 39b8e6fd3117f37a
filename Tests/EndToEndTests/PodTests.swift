import Glibc
import TestSupport
import Testing

/// A pod of Kubernetes whose users are not the machine's (`hostUsers: false`), through containerd's own CRI.
@Suite(.serialized, .timeLimit(.minutes(5))) struct PodTests {
    @Test(arguments: [true, false])
    func `a pod with users of its own has the image's ids, mapped or in a copy`(remapsIDs: Bool) throws {
        let directory = try TemporaryDirectory()
        // The container's root comes through it.
        chmod(directory.path, 0o755)
        let pod = try PodMachine(in: directory, remapsIDs: remapsIDs)
        let script =
            "stat -c %u:%g / /own /bin/busybox; echo x >/made; chown 7:8 /made; stat -c %u:%g /made; cat /proc/self/uid_map"
        let (result, made) = try pod.run(script)
        #expect(result.status == 0, "\(result.errors); \(pod.log)")
        #expect(result.lines.prefix(4) == ["0:0", "5:6", "0:0", "7:8"], "\(result.lines)")
        #expect(result.lines.last?.split(separator: " ") == ["0", "300000", "65536"], "\(result.lines)")
        // With the capability the image's files lie there once, with the image's ids.
        #expect(made.filter { $0.hasSuffix("/own") }.count == (remapsIDs ? 1 : 2), "\(made)")
        try pod.stop()
    }
}

/// containerd 2.x with its CRI, a runc that maps ids, a network that only says that it is one, and our snapshotter.
final class PodMachine {
    private let path: String
    private let ldiff: LDiffDaemon
    private let containerd: Daemon
    private let client: String
    private let programs: String
    private static let image = "docker.io/library/pod:1"

    init(in directory: TemporaryDirectory, remapsIDs: Bool) throws {
        path = directory.path
        programs = try Self.fetched()
        let release = try ContainerdRelease.sid.programs()
        client = release + "/ctr"
        try writeFile(path + "/daemon.toml", Array((remapsIDs ? "[snapshot]\nremap_ids = true\n" : "").utf8))
        ldiff = try LDiffDaemon(
            in: path, containerd: path + "/c.sock", words: ["--config", path + "/daemon.toml"])
        let words = [LDiffDaemon.program("ldiff"), "config", "containerd", "--version", "2.1.9", "--format", "3"]
        let snippet = try runProgram(
            words + ["--address", ldiff.socket, "--root", ldiff.root] + (remapsIDs ? ["--remap-ids"] : []))
        guard snippet.status == 0 else { throw TestFailure("\(words): \(snippet.errors)") }
        try writeFile(path + "/ldiff.toml", snippet.output)
        try Self.makeNetwork(path)
        try writeFile(path + "/containerd.toml", Array(Self.settings(path, programs).utf8))
        containerd = try Daemon(
            [release + "/containerd", "--config", path + "/containerd.toml", "--log-level", "warn"],
            environment: ["PATH": "\(release):\(Daemon.environment["PATH"] ?? "")"], log: path + "/containerd.log")
        try containerd.wait(until: "ready") { [path] in accepts(socket: path + "/c.sock") }
    }

    /// Where runc and Python's gRPC are.
    private static func fetched() throws -> String {
        try FetchedFolder.path("fetch-pod-programs")
    }

    /// Programs that answer as a network's plugins do, and do nothing.
    private static func makeNetwork(_ path: String) throws {
        let answer =
            #"{"cniVersion":"1.0.0","interfaces":[{"name":"'$CNI_IFNAME'","sandbox":"'$CNI_NETNS'"}],"#
            + #""ips":[{"interface":0,"address":"10.77.0.2/24"}]}"#
        let program = """
            #!/bin/sh
            cat >/dev/null
            case $CNI_COMMAND in
            VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
            ADD) echo '\(answer)' ;;
            esac
            """
        for folder in ["cni", "cni/bin", "cni/conf"] { mkdir("\(path)/\(folder)", 0o755) }
        for name in ["given", "loopback"] { try writeFile("\(path)/cni/bin/\(name)", Array(program.utf8), mode: 0o755) }
        let network = #"{"cniVersion":"1.0.0","name":"given","plugins":[{"type":"given"}]}"#
        try writeFile(path + "/cni/conf/10-given.conflist", Array(network.utf8))
    }

    private static func settings(_ path: String, _ programs: String) -> String {
        let runtime = "plugins.\"io.containerd.cri.v1.runtime\""
        return """
            version = 3
            imports = ["\(path)/ldiff.toml"]
            root = "\(path)/root"
            state = "\(path)/state"
            [grpc]
              address = "\(path)/c.sock"
            [ttrpc]
              address = "\(path)/t.sock"
            [plugins."io.containerd.cri.v1.images"]
              snapshotter = "ldiff"
              [plugins."io.containerd.cri.v1.images".pinned_images]
                sandbox = "\(image)"
            [\(runtime)]
              # This machine may forbid what a pod's first process asks for.
              restrict_oom_score_adj = true
              disable_apparmor = true
              [\(runtime).cni]
                bin_dirs = ["\(path)/cni/bin"]
                conf_dir = "\(path)/cni/conf"
              [\(runtime).containerd.runtimes.runc]
                runtime_type = "io.containerd.runc.v2"
                [\(runtime).containerd.runtimes.runc.options]
                  BinaryName = "\(programs)/bin/runc"
            """
    }

    var log: String { containerd.tail + ldiff.log }

    private func ctr(_ words: String...) throws {
        let result = try runProgram([client, "--address", path + "/c.sock", "--namespace", "k8s.io"] + words)
        guard result.status == 0 else { throw TestFailure("ctr \(words): \(result.errors); \(log)") }
    }

    /// Runs a script in a pod, and says which files with the names of the test's lie in the store with which owners meanwhile.
    func run(_ script: String) throws -> (ProgramResult, [String]) {
        let tar = Tar.archive(try busyboxPieces() + [F("own", "own").ids(5, 6)])
        let image = OCIArchive(
            name: Self.image, layers: [try OCIArchive.Layer(tar, "none")], command: ["/bin/sh", "-c", "sleep 1000"])
        try writeFile(path + "/image.tar", image.bytes)
        try ctr("image", "import", "--snapshotter", "ldiff", path + "/image.tar")
        mkdir(path + "/logs", 0o755)
        let result = try runProgram([
            "/usr/bin/timeout", "120", programs + "/python/bin/python", packagePath("Tests/EndToEndTests/pod/pod.py"),
            path + "/c.sock", Self.image, "300000", path + "/logs", script,
        ])
        let found = try runProgram([
            "find", ldiff.root + "/overlay2/snapshots", "-name", "own", "-printf", "%U:%G %p\\n",
        ])
        return (result, found.lines)
    }

    func stop() throws {
        try containerd.stop()
        try ldiff.stop()
        let left = try Leftovers.clear(below: path)
        guard left.isEmpty else { throw TestFailure("left: \(left)") }
    }
}
