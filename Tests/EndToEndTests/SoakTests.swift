import Foundation
import LinuxIO
import TestSupport
import Testing

/// Daemons under all that clients do at once, killed every 45 seconds: `make soak MINUTES=30`.
@Suite(.serialized) struct SoakTests {
    // MARK: dockerd

    @Test(.timeLimit(.minutes(120))) func `dockerd keeps what it was told while the plugin is killed again and again`()
        throws
    {
        let rig = try DockerRig("overlay2")
        try rig.docker("load", input: DockerImage.archive().bytes)
        let soak = Soak(minutes: Soak.minutes)
        soak.run(workers: 4, kill: { try rig.crash() }) { worker, round in
            Self.use(rig.docker, soak, "w\(worker)-\(round)", worker * 7 + round)
        }
        print("docker soak: \(soak.summary)")
        #expect(soak.complaints == [])
        try expectPromises(rig.docker, soak)
        try expectRecords(rig, isEmpty: false)
        for container in try rig.docker("ps", "--all", "--quiet").lines {
            try rig.docker("rm", "--force", container)
        }
        // An image goes only after those that were made from it.
        for _ in 0..<5 {
            for image in Set(try rig.docker("images", "--all", "--quiet").lines) {
                _ = try rig.docker.run(["rmi", "--force", image])
            }
        }
        #expect(try rig.docker("images", "--all", "--quiet").lines == [])
        try expectRecords(rig, isEmpty: true, excused: soak.excused)
        rig.footprint.expectModest(descriptors: 64, threads: 64)
        try rig.stop()
    }

    /// One thing that somebody does with Docker, and what its answers promise of the image `name`.
    private static func use(_ docker: DockerDaemon, _ soak: Soak, _ name: String, _ choice: Int) {
        let image = "soak:\(name)"
        let run = ["run", "--rm", "--network", "none"]
        switch choice % 4 {
        case 0:
            let seen = soak.attempt("run") {
                try docker.run(run + [DockerImage.name, "/bin/sh", "-c", DockerImage.check + "; echo x > /x; cat /x"])
            }
            if let seen, seen.lines != ["x"] { soak.complain("a container saw \(seen.lines)") }
            return
        case 1:
            let script = "echo \(name) > /own; rm -r /data; mkdir /data; echo \(name) > /data/own"
            let words = ["run", "--network", "none", "--name", name, DockerImage.name, "/bin/sh", "-c", script]
            guard soak.attempt("run named", { try docker.run(words) }) != nil else { return }
            soak.promise(image, .open)
            let committed = soak.attempt(
                "commit", { try soak.besideNoPrune { try docker.run(["commit", name, image]) } })
            guard committed != nil else { return }
            soak.promise(image, .present)
            _ = soak.attempt("diff", { try docker.run(["diff", name]) })
            _ = soak.attempt("rm", { try docker.run(["rm", name]) })
        case 2:
            guard let pieces = try? busyboxPieces() else { return soak.complain("no busybox") }
            let own = (0..<200).map { F("files/\($0)", "\(name) \($0)") } + [F("own", name)]
            let archive = DockerArchive(image, layers: [Tar.archive(pieces), Tar.archive([D("files/")] + own)])
            soak.promise(image, .open)
            let loaded = soak.attempt(
                "load", { try soak.besideNoPrune { try docker.run(["load"], input: archive.bytes) } })
            guard loaded != nil else { return }
            soak.promise(image, .present)
        default:
            _ = soak.attempt("prune", { try soak.prune { try docker.run(["image", "prune", "--force"]) } })
            _ = soak.attempt("list", { try docker.run(["ps", "--all", "--size"]) })
            return
        }
        if choice % 8 < 4 {
            soak.promise(image, .open)
            let removed = soak.attempt("rmi", { try soak.besideNoPrune { try docker.run(["rmi", "--force", image]) } })
            if removed != nil {
                soak.promise(image, .absent)
            }
        }
    }

    private func expectPromises(_ docker: DockerDaemon, _ soak: Soak) throws {
        for (image, promise) in soak.promises.sorted(by: { $0.key < $1.key }) {
            switch promise {
            case .open: continue
            case .absent:
                #expect(try docker.run(["image", "inspect", image]).status != 0, "\(image) was removed")
            case .present:
                let seen = try docker.run(["run", "--rm", "--network", "none", image, "/bin/cat", "/own"])
                let own = String(image.dropFirst("soak:".count))
                #expect(seen.status == 0 && seen.lines == [own], "\(image): \(seen.errors) \(seen.lines)")
            }
        }
    }

    /// Whether Docker was removing a container when the plugin was killed: it marks it as dead, has its layers removed one after the
    /// other, and keeps the record where an answer is lost, until somebody asks again.
    private func isBeingRemoved(_ docker: DockerDaemon, container: String) throws -> Bool {
        try docker.run(["inspect", "--type", "container", "--format", "{{.State.Dead}}", container]).lines == ["true"]
    }

    /// Every layer that Docker has a record of is in the store, but for those of containers that it was removing. With `isEmpty`,
    /// nothing else is.
    private func expectRecords(_ rig: DockerRig, isEmpty: Bool, excused: Int = 0) throws {
        let records = rig.docker.dataRoot + "/image/\(rig.name)/layerdb"
        var known: Set<String> = []
        for (folder, files) in [("sha256", ["cache-id"]), ("mounts", ["mount-id", "init-id"])] {
            for layer in directoryNames("\(records)/\(folder)") {
                for file in files {
                    // Docker writes one after the other.
                    guard let id = try? readText("\(records)/\(folder)/\(layer)/\(file)"), !id.isEmpty else { continue }
                    known.insert(id)
                    let isThere = access("\(rig.home)/\(id)/diff", F_OK) == 0
                    // An image's record has another name while its layer is being removed, and Docker asks again when it starts.
                    let isBeingRemoved =
                        try folder == "mounts"
                        ? isBeingRemoved(rig.docker, container: layer) : layer.hasSuffix("-removing")
                    #expect(isThere || isBeingRemoved, "Docker's \(folder) \(layer) has no layer \(id)")
                }
            }
        }
        let stored = Set(directoryNames(rig.home)).subtracting(["l", "tempdirs"])
        print("docker soak: \(known.count) layers known to Docker, \(stored.count) in the store")
        guard isEmpty else { return }
        // Docker makes a container's first layer, mounts it, and forgets it where that fails: with its own driver as well. It was
        // told of it, so nobody else may remove it.
        let forgotten = stored.subtracting(known).filter {
            $0.hasSuffix("-init") && !stored.contains("\($0.dropLast(5))")
        }
        #expect(stored.subtracting(known).subtracting(forgotten).sorted() == [], "in the store only")
        #expect(forgotten.count <= excused, "more than calls failed under a kill: \(forgotten)")
        // Where the answer to the mount was lost it is one of those.
        let mounts = try Leftovers.mounts(below: rig.home).filter { mount in
            !forgotten.contains { mount.contains("/\($0)/") }
        }
        #expect(mounts == [])
    }

    // MARK: containerd

    @Test(.timeLimit(.minutes(120)))
    func `containerd keeps what it was told while the snapshotter is killed again and again`()
        throws
    {
        let place = try TemporaryDirectory()
        let daemon = try SnapshotDaemon(in: place.directory("l"), containerd: place.path + "/c/containerd.sock")
        let snippet = try runProgram([
            LDiffDaemon.program("ldiff"), "config", "containerd", "--version", "1.6", "--format", "2", "--address",
            daemon.socket,
            "--root", daemon.root,
        ])
        try writeFile(place.path + "/ldiff.toml", snippet.output)
        let containerd = try ContainerdDaemon(in: place.directory("c"), imports: [place.path + "/ldiff.toml"])
        let stored = { directoryNames(daemon.root + "/overlay2/snapshots") }
        var late: [Footprint] = []
        let soak = Soak(minutes: Soak.minutes)
        soak.run(
            workers: 4,
            kill: {
                late.append(Footprint(of: daemon.process))
                daemon.kill()
                try daemon.start()
            }
        ) { worker, round in
            Self.use(containerd, soak, place.path, "w\(worker)-\(round)", worker * 5 + round)
        }
        print("containerd soak: \(soak.summary); before each kill: \(late.map(\.kibibytes)) KiB")
        #expect(soak.complaints == [])
        for (name, promise) in soak.promises.sorted(by: { $0.key < $1.key }) where promise != .open {
            let listed = try containerd("image", "ls", "name==\(name)", "--quiet").lines
            #expect(listed == (promise == .present ? [name] : []), "\(name): \(promise)")
            if promise == .present { try expectWhole(containerd, name, place.path) }
        }
        // A few at a time: containerd collects after each, and half an hour leaves hundreds.
        var images = try containerd("image", "ls", "--quiet").lines[...]
        while !images.isEmpty {
            let removed = try containerd.run(["image", "rm", "--sync"] + images.prefix(20))
            #expect(removed.status == 0, "\(removed.errors)")
            images = images.dropFirst(20)
        }
        for _ in 0..<1500 where !stored().isEmpty { usleep(20_000) }
        let list = try containerd("snapshot", "--snapshotter", "ldiff", "ls").lines
        #expect(stored() == [], "\(list)")
        // While four clients were at work, and at rest.
        for footprint in late { footprint.expectModest(descriptors: 256, threads: 128) }
        Footprint(of: daemon.process).expectModest(descriptors: 64, threads: 64)
        // containerd's end looks for processes that name its directory, as ldiff's does.
        try daemon.stop()
        try containerd.stop()
        #expect(try Leftovers.mounts(below: place.path) == [])
    }

    private static func use(
        _ containerd: ContainerdDaemon, _ soak: Soak, _ place: String, _ name: String, _ choice: Int
    ) {
        let image = "docker.io/soak/\(name):1"
        let files = (0..<200).map { F("files/\($0)", "\(name) \($0)") }
        guard
            let layers = try? [
                OCIArchive.Layer(Tar.archive([D("files/")] + files), "gzip"),
                OCIArchive.Layer(Tar.archive([W("files/.wh.0"), F("own", name)]), "zstd"),
            ]
        else { return soak.complain("no image") }
        let file = "\(place)/\(name).tar"
        defer { unlink(file) }
        guard (try? writeFile(file, OCIArchive(name: image, layers: layers).bytes)) != nil else {
            return soak.complain("\(file) cannot be written")
        }
        soak.promise(image, .open)
        let words = ["image", "import", "--snapshotter", "ldiff", file]
        guard soak.attempt("import", { try containerd.run(words) }) != nil else { return }
        soak.promise(image, .present)
        _ = soak.attempt("list") { try containerd.run(["snapshot", "--snapshotter", "ldiff", "ls"]) }
        guard choice % 3 > 0 else { return }
        soak.promise(image, .open)
        if soak.attempt("rm", { try containerd.run(["image", "rm", "--sync", image]) }) != nil {
            soak.promise(image, .absent)
        }
    }

    /// The image's tree is what its layers make.
    private func expectWhole(_ containerd: ContainerdDaemon, _ name: String, _ place: String) throws {
        let own = String(name.dropFirst("docker.io/soak/".count).dropLast(":1".count))
        // The view's key is the mount point, so that each has one of its own.
        let point = "\(place)/point-\(own)"
        mkdir(point, 0o755)
        let mounted = try containerd.run(["image", "mount", "--snapshotter", "ldiff", name, point])
        #expect(mounted.status == 0, "\(name): \(mounted.errors)")
        let seen = (try? readText(point + "/own")) ?? "nothing"
        #expect(seen == own, "\(name)")
        #expect(directoryNames(point + "/files").count == 199, "\(name)")
        let unmounted = try containerd.run(["image", "unmount", "--rm", "--snapshotter", "ldiff", point])
        #expect(unmounted.status == 0, "\(name): \(unmounted.errors)")
    }
}
