import Glibc
import TestSupport
import Testing

/// Debian's containerd 1.6 with ldiff as its snapshotter: what a user does.
@Suite(.serialized) struct ContainerdSnapshotTests {
    /// Two layers with whatever layers do.
    private static func image(_ name: String) throws -> DockerArchive {
        let base = Tar.archive(
            try busyboxPieces() + [
                D("etc/"), F("etc/conf", "1\n"), H("etc/hard", "etc/conf"), F("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
                D("tmp/", 0o1777), D("proc/"), D("sys/"), D("dev/"), D("opaque/", 0o750), F("opaque/old", "old"),
                F("gone", "x"), D("keep/"), F("keep/a", "aa"), F("setuid", "s", 0o4755).ids(12, 34),
                F("capable", "c", 0o755).xattr("security.capability", capability(revision: 2)), P("fifo", 0o622),
                F("large", bytes: (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }),
            ])
        let second = Tar.archive([
            W(".wh.gone"), D("opaque/", 0o700), W("opaque/.wh..wh..opq"), F("opaque/new", "new"), F("etc/conf", "22\n"),
            F("implied/deeper/file", "i"),
        ])
        return DockerArchive(name, layers: [base, second])
    }

    private final class Machine {
        let place: TemporaryDirectory
        let plugin: SnapshotDaemon
        let containerd: ContainerdDaemon
        let archive: String
        static let name = "docker.io/library/layers:1"

        init(settings: String = "") throws {
            place = try TemporaryDirectory()
            let pluginPlace = try place.directory("l")
            let containerdPlace = try place.directory("c")
            plugin = try SnapshotDaemon(settings: settings, in: pluginPlace)
            let socket = plugin.socket
            containerd = try ContainerdDaemon(
                in: containerdPlace,
                settings: ["ldiff", "ldiff-fuse-overlayfs"].map {
                    "[proxy_plugins.\($0)]\n  type = \"snapshot\"\n  address = \"\(socket)\"\n"
                }.joined())
            archive = place.path + "/image.tar"
            try writeFile(archive, try ContainerdSnapshotTests.image(Self.name).bytes)
        }

        /// Snapshots on disk of a driver.
        func stored(_ driver: String) -> [String] { directoryNames(plugin.root + "/\(driver)/snapshots") }

        func stop() throws {
            try containerd.stop()
            try plugin.stop()
            #expect(try Leftovers.mounts(below: place.path).isEmpty)
        }
    }

    private static let script = """
        set -e; cat /etc/conf /etc/hard /opaque/new /implied/deeper/file; ls /opaque; test ! -e /gone; id -u
        echo hello >/hello; rm -r /keep; mkdir /keep; echo k >/keep/k; chmod 600 /etc/passwd; ln /hello /hard; rm /large
        """

    @Test(arguments: [("ldiff", "overlay2"), ("ldiff-fuse-overlayfs", "fuse-overlayfs")])
    func `an image is imported, run, changed, committed, exported and removed, and nothing stays`(
        snapshotter: String, driver: String
    ) throws {
        let machine = try Machine()
        let ctr = machine.containerd
        try ctr("image", "import", "--snapshotter", snapshotter, machine.archive)
        #expect(machine.stored(driver).count == 2)
        let output = try ctr(
            "run", "--snapshotter", snapshotter, Machine.name, "one", "/bin/sh", "-c", Self.script)
        #expect(
            output.lines == ["22", "1", "newinew", "0"] || output.lines.joined() == "221newinew0", "\(output.lines)")

        // What the container changed, by containerd's own differ over our mounts.
        let layer = try ctr("snapshot", "--snapshotter", snapshotter, "diff", "one").output
        try writeFile(machine.place.path + "/layer.tgz", layer)
        let names = try runProgram(["tar", "-tzf", machine.place.path + "/layer.tgz"]).lines
        for name in ["hello", "hard", "keep/", "keep/k", "keep/.wh.a", ".wh.large", "etc/passwd"] {
            #expect(names.contains(name), "\(name) in \(names)")
        }

        // The container's snapshot becomes the base of another's. Without its container nothing but the label holds it.
        try ctr("snapshot", "--snapshotter", snapshotter, "label", "one", "containerd.io/gc.root=now")
        try ctr("container", "rm", "--keep-snapshot", "one")
        try ctr("snapshot", "--snapshotter", snapshotter, "commit", "committed", "one")
        try ctr("snapshot", "--snapshotter", snapshotter, "prepare", "two", "committed")
        let mounted = try ctr("snapshot", "--snapshotter", snapshotter, "mounts", machine.place.path + "/m", "two")
        mkdir(machine.place.path + "/m", 0o755)
        var command = String(decoding: mounted.output, as: UTF8.self).trimmed
        if driver == "fuse-overlayfs" {
            // mount(8) does not take the type apart as containerd does.
            command = command.replacing("mount -t fuse3.fuse-overlayfs", with: "mount.fuse3") + " -t fuse-overlayfs"
        }
        let mounting = try runProgram(["/bin/sh", "-ec", command])
        #expect(mounting.status == 0, "\(mounting.errors)")
        #expect(try readText(machine.place.path + "/m/hello") == "hello")
        #expect(access(machine.place.path + "/m/large", F_OK) != 0)
        umount2(machine.place.path + "/m", 0)
        let usage = try ctr("snapshot", "--snapshotter", snapshotter, "usage").lines
        #expect(usage.count >= 5, "\(usage)")

        // What was imported goes out unchanged.
        try ctr("image", "export", machine.place.path + "/out.tar", Machine.name)
        let exported = try runProgram(["tar", "-tf", machine.place.path + "/out.tar"]).lines
        for diffID in try Self.image(Machine.name).diffIDs {
            #expect(exported.contains("blobs/sha256/" + diffID.dropFirst("sha256:".count)), "\(exported)")
        }

        for name in ["two", "committed"] { try ctr("snapshot", "--snapshotter", snapshotter, "rm", name) }
        try ctr("image", "rm", "--sync", Machine.name)
        for _ in 0..<1500 where !machine.stored(driver).isEmpty { usleep(20_000) }
        let listed = try ctr("snapshot", "--snapshotter", snapshotter, "ls").lines
        #expect(machine.stored(driver) == [], "\(listed)")
        try machine.stop()
    }

    @Test func `containers go on while the daemon restarts, and containerd goes on with it`() throws {
        let machine = try Machine()
        let ctr = machine.containerd
        try ctr("image", "import", "--snapshotter", "ldiff", machine.archive)
        try ctr("run", "--detach", "--snapshotter", "ldiff", Machine.name, "long", "/bin/sleep", "1000")
        try ctr("task", "exec", "--exec-id", "a", "long", "/bin/sh", "-c", "echo 1 >/one")
        for end in [machine.plugin.kill, { try? machine.plugin.stop() }] {
            end()
            #expect(try ctr("task", "exec", "--exec-id", "b", "long", "/bin/cat", "/one").lines == ["1"])
            #expect(try ctr.run(["snapshot", "--snapshotter", "ldiff", "ls"]).status != 0)
            try machine.plugin.start()
            var isBack = false
            for _ in 0..<100 where !isBack {
                isBack = try ctr.run(["snapshot", "--snapshotter", "ldiff", "ls"]).status == 0
                if !isBack { usleep(100_000) }
            }
            #expect(isBack)
        }
        #expect(
            try ctr("run", "--rm", "--snapshotter", "ldiff", Machine.name, "other", "/bin/cat", "/opaque/new").lines
                == ["new"])
        try ctr("task", "kill", "--signal", "SIGKILL", "long")
        for _ in 0..<100 where try ctr.run(["task", "rm", "long"]).status != 0 { usleep(50_000) }
        try ctr("container", "rm", "long")
        try ctr("image", "rm", "--sync", Machine.name)
        try machine.stop()
    }

    /// Images of their own, so that nobody waits for another's layer; a third of the callers give up.
    @Test func `killed ten times under imports, containerd goes on and nothing is left`() throws {
        let machine = try Machine()
        let ctr = machine.containerd
        let archives = try (0..<8).map { number in
            let name = "docker.io/library/image-\(number):1"
            let layers = (0..<3).map { layer in
                Tar.archive((0..<300).map { F("d\($0 % 7)/f\($0)", "image \(number), layer \(layer), file \($0)") })
            }
            let path = machine.place.path + "/image-\(number).tar"
            try writeFile(path, DockerArchive(name, layers: layers).bytes)
            return (name: name, path: path)
        }
        func words(_ path: String) -> [String] {
            [ctr.client, "--address", ctr.socket, "--namespace", ctr.namespace]
                + ["image", "import", "--snapshotter", "ldiff", path]
        }
        for _ in 0..<10 {
            let callers = try archives.map { try Daemon(words($0.path), log: "/dev/null") }
            usleep(.random(in: 50_000..<600_000))
            for number in stride(from: 0, to: callers.count, by: 3) { callers[number].kill() }
            machine.plugin.kill()
            try machine.plugin.start()
            // The others end with an error or without, as their calls met the restart.
            for caller in callers { for _ in 0..<50 where caller.isRunning { usleep(20_000) } }
        }
        for archive in archives {
            try ctr("image", "import", "--snapshotter", "ldiff", archive.path)
            try ctr("snapshot", "--snapshotter", "ldiff", "ls")
        }
        try ctr("image", "import", "--snapshotter", "ldiff", machine.archive)
        #expect(
            try ctr("run", "--rm", "--snapshotter", "ldiff", Machine.name, "c", "/bin/cat", "/opaque/new").lines == [
                "new"
            ])
        try ctr("image", "rm", "--sync", Machine.name)
        for archive in archives { try ctr("image", "rm", "--sync", archive.name) }
        // Unpackings that were given up are held by leases, which ctr gives a day.
        for lease in try ctr("leases", "ls", "--quiet").lines { try ctr("leases", "rm", "--sync", lease) }
        for _ in 0..<1500 where !machine.stored("overlay2").isEmpty { usleep(20_000) }
        let listed = try ctr("snapshot", "--snapshotter", "ldiff", "ls").lines
        #expect(machine.stored("overlay2") == [], "\(listed)")
        try machine.stop()
    }

    @Test func `another namespace takes over the layers, and the stock snapshotter works beside it`() throws {
        let machine = try Machine(settings: "[snapshot]\nshare_layers = true\n")
        let ctr = machine.containerd
        try ctr("image", "import", "--snapshotter", "ldiff", machine.archive)
        try ctr("image", "import", "--snapshotter", "overlayfs", machine.archive)
        try ctr("image", "import", "--snapshotter", "ldiff", machine.archive, namespace: ctr.namespace + "-b")
        for (namespace, snapshotter) in [
            (ctr.namespace, "ldiff"), (ctr.namespace, "overlayfs"), (ctr.namespace + "-b", "ldiff"),
        ] {
            #expect(
                try ctr(
                    "run", "--rm", "--snapshotter", snapshotter, Machine.name, "c", "/bin/cat", "/opaque/new",
                    namespace: namespace
                ).lines == ["new"])
        }
        try ctr("image", "rm", "--sync", Machine.name)
        #expect(
            try ctr(
                "run", "--rm", "--snapshotter", "ldiff", Machine.name, "c", "/bin/cat", "/opaque/new",
                namespace: ctr.namespace + "-b"
            ).lines == ["new"])
        try ctr("image", "rm", "--sync", Machine.name, namespace: ctr.namespace + "-b")
        Leftovers.removeControlGroups(ctr.namespace + "-b")
        try machine.stop()
    }
}
