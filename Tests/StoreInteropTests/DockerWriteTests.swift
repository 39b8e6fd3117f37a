import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// A data root with the images and containers of a fixture, but none of its layers: those are for ldiff to make.
private struct EmptiedRoot {
    let directory: TemporaryDirectory
    var path: String { directory.path }
    var dataRoot: String { path + "/data" }

    init(_ fixture: DockerFixture) throws {
        directory = try TemporaryDirectory()
        try Self.run(["/bin/mkdir", path + "/data"])
        for name in directoryNames(fixture.dataRoot) where name != fixture.driver {
            try Self.run(["/bin/cp", "-a", "\(fixture.dataRoot)/\(name)", "\(dataRoot)/\(name)"])
        }
        // Docker notes where a container's own files lie.
        let change = "s|\(fixture.directory)/|\(path)/|g"
        try Self.run([
            "/usr/bin/find", dataRoot + "/containers", "-name", "*.json", "-exec", "/bin/sed", "-i", change, "{}", "+",
        ])
    }

    private static func run(_ words: [String]) throws {
        let result = try runProgram(words)
        guard result.status == 0 else { throw TestFailure("\(words): \(result.errors)") }
    }
}

extension StoreInterop {
    /// A store that ldiff filled, used by dockerd.
    @Suite struct DockerWriteTests {
        /// Makes every layer again, under the ids that Docker knows, from the archives that Docker saved.
        private func fill(_ driver: SharedDriver, _ fixture: DockerFixture, _ root: EmptiedRoot) throws {
            let store = try openStore(driver.name, "\(root.dataRoot)/\(driver.rawValue)")
            for layer in try fixture.store.inOrder() {
                let tar = try #require(fixture.layers[layer.diffID])
                let size = try store.fill(layer.cacheID, on: fixture.store.parent(of: layer), from: tar)
                #expect(size == layer.size, "what Docker's own driver said of \(layer.cacheID)")
            }
            for container in fixture.containers.values {
                let layers = try fixture.layers(of: container)
                let parent = try fixture.store.cacheID(layers.parentChainID)
                let upper = "\(fixture.home)/\(layers.initID)/\(driver.upperName)"
                let initial = try Peer.docker("diff", upper).output
                for (id, below, tar) in [
                    (layers.initID, parent, initial), (layers.mountID, layers.initID, container.committed),
                ] {
                    if driver.keepsChanges {
                        try store.fill(id, on: below, from: tar, readWrite: true)
                    } else {
                        // To unpack a layer into it would make an image of it.
                        try store.createReadWrite(LayerID(id), parent: LayerID(below), options: CreateOptions())
                        try store.mounted(id, readOnly: false) { _ = try Peer.docker("apply", $0, input: tar) }
                    }
                }
            }
            try store.cleanup()
        }

        @Test(arguments: SharedDriver.allCases)
        func `dockerd runs, changes, commits and saves on a store that ldiff filled`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let root = try EmptiedRoot(fixture)
            try fill(driver, fixture, root)
            let docker = try DockerDaemon(in: root.path, driver: driver.rawValue)
            try expectImages(docker, fixture, root)
            try expectContainers(docker, fixture, driver, root)
            try expectWork(docker)
            try expectSizes(docker, fixture, driver, root)
            try expectRemoval(docker, driver, root)
            try docker.stop()
        }

        /// A saved layer is put together again from the files of the store and the names that Docker kept, and checked against
        /// its digest: one wrong byte and `docker save` fails.
        private func expectImages(_ docker: DockerDaemon, _ fixture: DockerFixture, _ root: EmptiedRoot) throws {
            let saved = root.path + "/again"
            try docker("save", "--output", saved + ".tar", InteropImage.name, DockerFixture.builtImage)
            let archive = try SavedImages(saved + ".tar", into: saved)
            #expect(try archive.diffIDs(of: DockerFixture.builtImage) == fixture.builtDiffIDs)
            for diffID in fixture.builtDiffIDs { #expect(archive.layers[diffID] == fixture.layers[diffID]) }
        }

        private func expectContainers(
            _ docker: DockerDaemon, _ fixture: DockerFixture, _ driver: SharedDriver, _ root: EmptiedRoot
        ) throws {
            for (name, container) in fixture.containers {
                #expect(try docker("diff", name).lines.sorted() == container.changes, "\(name)")
                let export = try docker("export", name).output
                let differences = try TarListing.contentDifference(export, container.export)
                // In a whole tree Docker 20.10 makes an implied parent with mode 0600, and ldiff with 0755 as everywhere.
                expectNone(differences.filter { driver.keepsChanges || !$0.contains(": implied") }, "\(name)")
                // Docker's native Diff of what ldiff unpacked is the archive that ldiff unpacked.
                guard driver == .overlay2 else { continue }
                let layers = try fixture.layers(of: container)
                let again = try Peer.docker("diff", "\(root.dataRoot)/overlay2/\(layers.mountID)/diff").output
                let (ours, theirs) = (
                    TarListing.withoutWhiteoutTimes(again), TarListing.withoutWhiteoutTimes(container.committed)
                )
                expectNone(try TarListing.difference(ours, theirs), "\(name)")
            }
        }

        /// A new container, its commit, a build and a stopped container on what ldiff made.
        private func expectWork(_ docker: DockerDaemon) throws {
            let script = """
                cat /copied/one /etc/hard /opt/a/b/c; test ! -e /data/keep -a ! -e /copied/none -a -p /becomes-file
                stat -c '%a %u:%g %s' /setuid /great-owner; ls /data /opt /step; echo changed > /etc/conf; rm /large; mkdir /fresh
                """
            let ran = try docker(
                "run", "--network", "none", "--name", "worker", DockerFixture.builtImage, "/bin/sh", "-e", "-c", script)
            let expected = [
                "1new hardx", "4755 12:34 1", "644 3000000:2999999 1", "/data:", "gone", "new", "/opt:",
                "a", "z", "/step:", "n",
            ]
            #expect(ran.lines == expected)
            #expect(try docker("diff", "worker").lines.sorted() == ["A /fresh", "C /etc", "C /etc/conf", "D /large"])
            try docker("commit", "worker", "worker:commit")
            let again = try docker(
                "run", "--rm", "--network", "none", "worker:commit", "/bin/sh", "-c",
                "cat /etc/conf; test -e /large || echo no")
            #expect(again.lines == ["changed", "no"])
            // The container had removed its file, as the layer that ldiff made says.
            let small = try docker.run(["start", "--attach", "small"])
            #expect(small.status == 1 && small.errors.contains("/large"), "\(small)")
        }

        /// ldiff keeps the size of what it unpacked; a change that Docker makes far below the top voids it.
        private func expectSizes(
            _ docker: DockerDaemon, _ fixture: DockerFixture, _ driver: SharedDriver, _ root: EmptiedRoot
        ) throws {
            let container = try #require(fixture.containers["changed"])
            let layers = try fixture.layers(of: container)
            let store = try openStore(driver.name, "\(root.dataRoot)/\(driver.rawValue)")
            #expect(try store.size(layers.mountID, since: layers.initID) == container.sizeRw)
            let added = root.path + "/added"
            try writeFile(added, [UInt8](repeating: 7, count: 1234))
            try docker("cp", added, "changed:/copied/in/added")
            let size = try docker("inspect", "--size", "--format", "{{.SizeRw}}", "changed").lines
            #expect(size == ["\(container.sizeRw + 1234)"])
            #expect(try store.size(layers.mountID, since: layers.initID) == container.sizeRw + 1234)
        }

        /// Docker removes every layer, and nothing of ldiff's stays in its store.
        private func expectRemoval(_ docker: DockerDaemon, _ driver: SharedDriver, _ root: EmptiedRoot) throws {
            try docker("container", "prune", "--force")
            try docker("image", "prune", "--all", "--force")
            let home = "\(root.dataRoot)/\(driver.rawValue)"
            let left = directoryNames(home).filter { !["l", "tempdirs", "backingFsBlockDev"].contains($0) }
            #expect(left == [])
            #expect(directoryNames(home + "/l") == [] && directoryNames(home + "/tempdirs") == [])
        }
    }
}
