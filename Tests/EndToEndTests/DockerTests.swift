import Foundation
import LayerModel
import TestSupport
import Testing

/// Debian's dockerd 20.10, and Debian 13's 26.1, on our plugin, from the first image to the shutdown.
@Suite(.serialized) struct DockerTests {
    static let drivers = ["overlay2", "overlay", "fuse-overlayfs"]

    @Test(.timeLimit(.minutes(10)), arguments: drivers, [DockerRelease.installed, .trixie])
    func `dockerd loads, runs, diffs, commits, builds, saves and removes`(driver: String, release: DockerRelease)
        throws
    {
        let rig = try DockerRig(driver, release: release)
        let docker = rig.docker
        #expect(try docker("info", "--format", "{{.Driver}}").lines == [rig.name])
        #expect(try docker("info", "--format", "{{index .DriverStatus 0}}").lines == ["[Driver \(driver)]"])
        let archive = try DockerImage.archive()
        try docker("load", input: archive.bytes)
        try docker("run", "--rm", "--network", "none", DockerImage.name, "/bin/sh", "-c", DockerImage.check)

        try docker("run", "--network", "none", "--name", "box", DockerImage.name, "/bin/sh", "-c", DockerImage.changes)
        let changes = try docker("diff", "box").lines.sorted()
        #expect(changes == DockerImage.changeLines.sorted())
        let size = try docker("inspect", "--size", "--format", "{{.SizeRw}}", "box").lines
        // hello and in, passwd copied up, link's target; the hard link once.
        let byteCount = Int(size.first ?? "") ?? 0
        #expect(byteCount > 20 && byteCount < 80, "\(size)")
        try docker("commit", "box", "committed:1")
        let seen = try docker(
            "run", "--rm", "--network", "none", "committed:1", "/bin/sh", "-c",
            "cat /hello /data/gone/in; stat -c %a:%u:%g /made; test ! -e /etc/conf && ls /data/gone && readlink /made/link"
        )
        #expect(seen.lines == ["hello", "in", "2775:5:6", "in", "../etc"])

        try build(rig)
        try expectSaved(rig, archive.diffIDs)
        // Docker 26 and 28 never give back what a save takes of layers, with their own drivers neither, and count anew at a start.
        if release != .installed { try rig.restartDocker() }
        try removeAll(rig)
        try rig.stop()
    }

    /// A layer is kept as its own tar where an index can say all of it, and what Docker saves is that.
    @Test(.timeLimit(.minutes(5)), arguments: [DockerRelease.installed, .trixie])
    func `dockerd keeps images packed: loads, runs, commits, builds, saves and removes`(release: DockerRelease) throws {
        let rig = try DockerRig("erofs", release: release, options: ["--storage-opt", "form=packed"])
        let archive = try DockerImage.archive()
        try rig.docker("load", input: archive.bytes)
        // The other two name directories only as parts of paths, of which their parents say what they are like.
        #expect(try packed(rig) == [archive.diffIDs[0]])
        try rig.docker(
            "run", "--network", "none", "--name", "box", DockerImage.name, "/bin/sh", "-c",
            DockerImage.check + "\n" + DockerImage.changes)
        #expect(try rig.docker("diff", "box").lines.sorted() == DockerImage.changeLines.sorted())
        try rig.docker("commit", "box", "committed:1")
        #expect(try packed(rig).count == 2)
        try rig.crash()
        try build(rig)
        #expect(try packed(rig).count > 2)
        try expectSaved(rig, archive.diffIDs)
        if release != .installed { try rig.restartDocker() }
        try removeAll(rig)
        #expect(try Leftovers.layerMounts(of: rig.home) == [])
        try rig.stop()
    }

    /// The digests of the tars that the store keeps.
    private func packed(_ rig: DockerRig) throws -> [String] {
        let tars: [String] = directoryNames(rig.home).map { "\(rig.home)/\($0)/packed/layer.tar" }
        var digests: [String] = []
        for path in tars where access(path, F_OK) == 0 {
            let tar = try readFile(path)
            digests.append(Digest.of(tar.rawBytes).description)
        }
        return digests
    }

    private func build(_ rig: DockerRig) throws {
        let context = rig.path + "/context"
        try TreeBuilder.make(context) { tree in
            try tree.file("Dockerfile", DockerImage.dockerfile)
            try tree.directory("copied")
            try tree.file("copied/one", "1", 0o640)
        }
        try rig.docker("build", "--network", "none", "--tag", "built:1", context)
        let seen = try rig.docker(
            "run", "--rm", "--network", "none", "built:1", "/bin/sh", "-c",
            "cat /copied/one /step/n /step/moved; test ! -e /data/opaque && test ! -e /becomes-file && echo gone")
        #expect(seen.output == Array("1n\na file nowgone\n".utf8))
    }

    /// Docker rebuilds each layer from the files that the driver shows and checks it against its digest.
    private func expectSaved(_ rig: DockerRig, _ diffIDs: [String]) throws {
        let file = rig.path + "/saved.tar"
        try rig.docker("save", "--output", file, DockerImage.name, "committed:1", "built:1")
        let saved = try SavedImages(file, into: rig.path + "/saved")
        #expect(try saved.diffIDs(of: DockerImage.name) == diffIDs)
        let (committed, built) = (try saved.diffIDs(of: "committed:1"), try saved.diffIDs(of: "built:1"))
        #expect(Array(committed.dropLast()) == diffIDs)
        #expect(Array(built.dropLast(2)) == diffIDs)
        for (diffID, bytes) in saved.layers {
            // Outside of the macro: a span in it makes the compiler write what LLVM refuses.
            let digest = Digest.of(bytes.rawBytes).description
            #expect(digest == diffID)
        }
    }

    private func removeAll(_ rig: DockerRig) throws {
        try rig.docker("rm", "box")
        try rig.docker("rmi", "built:1", "committed:1", DockerImage.name)
        #expect(try rig.docker("images", "--quiet").lines == [])
        let left = directoryNames(rig.home).filter { !["l", "tempdirs", "ldiff-packed"].contains($0) }
        #expect(left == [], "layers of removed images")
    }

    @Test(.timeLimit(.minutes(5))) func `an image goes to a registry and comes back`() throws {
        let rig = try DockerRig("overlay2")
        let registry = try RegistryDaemon(in: rig.directory.directory("registry"))
        let name = "\(registry.host)/pushed:1"
        let archive = try DockerImage.archive(name)
        try rig.docker("load", input: archive.bytes)
        try rig.docker("push", name)
        try rig.docker("rmi", name)
        #expect(
            try rig.docker.run(["run", "--rm", "--network", "none", "--pull", "never", name, "/bin/true"]).status != 0)
        try rig.docker("pull", name)
        try rig.docker("run", "--rm", "--network", "none", name, "/bin/sh", "-c", DockerImage.check)
        let layers = try rig.docker("inspect", "--format", "{{json .RootFS.Layers}}", name).output
        #expect(try JSONDecoder().decode([String].self, from: Data(layers)) == archive.diffIDs)
        try registry.stop()
        try rig.stop()
    }

    @Test(
        .timeLimit(.minutes(5)),
        arguments: [("overlay2", DockerRelease.installed), ("fuse-overlayfs", .installed), ("overlay2", .trixie)])
    func `a plugin that is killed comes back under running containers`(driver: String, release: DockerRelease) throws {
        let rig = try DockerRig(driver, release: release)
        let docker = rig.docker
        try docker("load", input: DockerImage.archive().bytes)
        try docker(
            "run", "--detach", "--network", "none", "--name", "live", DockerImage.name, "/bin/sh", "-c",
            "echo 1 > /before; exec sleep 120")
        try rig.crash()
        #expect(
            try docker("exec", "live", "/bin/sh", "-c", "cat /before; echo 2 > /after; cat /after").lines == ["1", "2"])
        #expect(try docker("diff", "live").lines.sorted() == ["A /after", "A /before"])
        // A second container, made and run by calls to the new process, and the first one's mount used twice at once.
        try docker("run", "--rm", "--network", "none", DockerImage.name, "/bin/sh", "-c", DockerImage.check)
        try docker("cp", "live:/after", rig.path + "/copied")
        #expect(try readText(rig.path + "/copied") == "2")
        try killDuringLoad(rig)
        try docker("commit", "live", "committed:1")
        try docker("rm", "--force", "live")
        try docker("run", "--rm", "--network", "none", "committed:1", "/bin/cat", "/before", "/after")
        let mounts = try Leftovers.mounts(below: rig.home)
        #expect(mounts == [])
        try rig.stop()
    }

    /// The plugin dies while it unpacks: Docker hears an error, never a layer that is not whole, and can do it again.
    private func killDuringLoad(_ rig: DockerRig) throws {
        let files = (0..<6000).map { F("many/file-\($0)", String(repeating: "x", count: 900)) }
        let archive = DockerArchive("many:1", layers: [Tar.archive([D("many/")] + files)])
        let file = rig.path + "/many.tar"
        try writeFile(file, archive.bytes)
        let load = try Daemon(
            [rig.docker.client, "--host", "unix://" + rig.docker.socket, "load", "--input", file],
            environment: ["HOME": rig.path], log: rig.path + "/load.log")
        try load.wait(until: "unpacking or done") {
            rig.log.contains("ApplyDiff") || !directoryNames(rig.home + "/tempdirs").isEmpty
        }
        try rig.crash()
        for _ in 0..<2000 where load.isRunning { usleep(20_000) }
        #expect(!load.isRunning, "docker load goes on after the plugin's return")
        load.kill()
        // Whether it came before or after, a load that succeeds afterwards has every file.
        try rig.docker("load", "--input", file)
        let check = try rig.docker.run(["create", "--network", "none", "--name", "count", "many:1", "/bin/sh"])
        #expect(check.status == 0, "\(check.errors)")
        // Not by an export, after which Docker 26 never takes its mount away, with its own driver neither.
        let listing = try rig.docker("cp", "count:/many", "-")
        let names = try runProgram(["tar", "tf", "-"], input: listing.output).lines
        #expect(names.filter { $0.hasPrefix("many/file-") }.count == 6000)
        try rig.docker("rm", "count")
    }

    @Test(.timeLimit(.minutes(5))) func `dockerd that is restarted finds its images and containers`() throws {
        let rig = try DockerRig("overlay2")
        try rig.docker("load", input: DockerImage.archive().bytes)
        try rig.docker(
            "run", "--network", "none", "--name", "box", DockerImage.name, "/bin/sh", "-c", DockerImage.changes)
        try rig.restartDocker()
        #expect(try rig.docker("diff", "box").lines.sorted() == DockerImage.changeLines.sorted())
        try rig.docker("commit", "box", "again:1")
        try rig.docker("run", "--rm", "--network", "none", "again:1", "/bin/cat", "/hello")
        try rig.docker("run", "--rm", "--network", "none", DockerImage.name, "/bin/sh", "-c", DockerImage.check)
        try rig.stop()
    }

    @Test(.timeLimit(.minutes(5))) func `a driver that cannot work here keeps dockerd from starting and says why`()
        throws
    {
        var text = ""
        do {
            _ = try DockerRig("aufs")
        } catch {
            text = "\(error)"
        }
        #expect(text.contains("AUFS was not found in /proc/filesystems"), "\(text)")
    }
}
