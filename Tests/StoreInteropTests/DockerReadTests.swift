import LayerDrivers
import LayerModel
import TestSupport
import Testing

extension DockerFixture {
    var home: String { "\(dataRoot)/\(driver)" }

    /// Every layer that Docker made here with the driver's id of its parent: images' and containers'.
    func allLayers() throws -> [(id: String, parent: String)] {
        var found = try store.inOrder().map { ($0.cacheID, try store.parent(of: $0)) }
        for container in store.containers.values {
            found.append((container.initID, try store.cacheID(container.parentChainID)))
            found.append((container.mountID, container.initID))
        }
        return found
    }

    func layers(of container: DockerContainer) throws -> DockerStore.ContainerLayer {
        guard let layers = store.containers[container.id] else { throw TestFailure("layerdb has no \(container.id)") }
        return layers
    }
}

extension StoreInterop {
    /// A store that dockerd filled, opened by ldiff's driver.
    @Suite struct DockerReadTests {
        /// The layers that Docker did not make. They have markers, and parents that are only implied: Docker's code gives
        /// these another mode in an upper directory than in a whole tree.
        private static let byHand = Set((try? InteropImage.archive().diffIDs) ?? [])

        @Test(arguments: SharedDriver.allCases)
        func `ldiff knows every layer of Docker's store and its parent, and nothing else`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            let layers = try fixture.allLayers()
            #expect(try store.layers().map(\.description) == layers.map(\.id).sorted())
            for (id, parent) in layers {
                #expect(try store.exists(LayerID(id)))
                // Images of overlay are trees of their own, and its containers lie straight on them.
                guard driver.keepsChanges else { continue }
                #expect(try store.parent(of: LayerID(id))?.description ?? "" == parent)
            }
            #expect(try !store.exists(LayerID("0000")))
        }

        @Test(arguments: SharedDriver.allCases)
        func `every layer's diff holds what Docker exports for it`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            for layer in try fixture.store.inOrder() where driver.keepsChanges || !Self.byHand.contains(layer.diffID) {
                let ours = try store.layer(layer.cacheID, since: fixture.store.parent(of: layer), .docker20)
                let saved = try #require(fixture.layers[layer.diffID])
                expectNone(try TarListing.contentDifference(ours, saved), "\(layer.cacheID)")
            }
        }

        /// With overlay2 Docker's Diff is native: the same bytes from the same directory.
        @Test func `the diff of an overlay2 layer is the bytes that Docker's own code writes`() throws {
            let fixture = try DockerStores.store(.overlay2)
            let store = try openStore(.overlay2, fixture.home)
            for (id, parent) in try fixture.allLayers() {
                let ours = try store.layer(id, since: parent, .docker20)
                let theirs = try Peer.docker("diff", "\(fixture.home)/\(id)/diff").output
                expectNone(try TarListing.difference(ours, theirs), "\(id)")
            }
        }

        @Test func `the diff of an overlay2 container is the layer that docker commit kept, byte for byte`() throws {
            let fixture = try DockerStores.store(.overlay2)
            let store = try openStore(.overlay2, fixture.home)
            for (name, container) in fixture.containers {
                let layers = try fixture.layers(of: container)
                let ours = try store.layer(layers.mountID, since: layers.initID, .docker20)
                expectNone(try TarListing.difference(ours, container.committed), "\(name)")
            }
        }

        /// Docker compares two mounted trees for fuse-overlayfs and lists each deletion; ldiff reads the upper directory and
        /// writes opaque markers. Both must do the same to the layers below.
        @Test(arguments: SharedDriver.allCases)
        func `a diff does to the layers below what the layer that Docker keeps does`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            let directory = try TemporaryDirectory()
            func expectSame(_ id: String, _ parent: String, _ kept: [UInt8]) throws {
                let base = parent.isEmpty ? Tar.archive([]) : try store.mounted(parent) { try LayerEffect.archive($0) }
                let ours = try LayerEffect.tree(store.layer(id, since: parent, .docker20), on: base, in: directory)
                let theirs = try LayerEffect.tree(kept, on: base, in: directory)
                // No Diff keeps the fraction of a second and the attribute with which these two were loaded.
                let differences = ours.differences(from: theirs).filter {
                    !$0.hasPrefix("fraction: ") && !$0.hasPrefix("noted: ")
                }
                expectNone(differences, "\(id)")
            }
            for layer in try fixture.store.inOrder() where !driver.keepsChanges || !Self.byHand.contains(layer.diffID) {
                let kept = try #require(fixture.layers[layer.diffID])
                try expectSame(layer.cacheID, try fixture.store.parent(of: layer), kept)
            }
            for container in fixture.containers.values {
                let layers = try fixture.layers(of: container)
                try expectSame(layers.mountID, layers.initID, container.committed)
            }
        }

        @Test(arguments: SharedDriver.allCases)
        func `a container's changes are those of docker diff`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            for (name, container) in fixture.containers {
                let layers = try fixture.layers(of: container)
                let ours = try store.changeLines(layers.mountID, since: layers.initID)
                expectNone(TarListing.lineDifference(ours, container.changes), "\(name)")
                #expect(container.changes.isEmpty == (name == "idle"))
            }
        }

        @Test(arguments: SharedDriver.allCases)
        func `an image layer's changes are those that Docker's code finds between the mounted trees`(
            driver: SharedDriver
        ) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            for layer in try fixture.store.inOrder() {
                let (ours, theirs) = try store.bothChanges(layer.cacheID, since: fixture.store.parent(of: layer))
                expectNone(TarListing.lineDifference(ours, theirs), "\(layer.cacheID)")
                #expect(ours.count == theirs.count)
            }
        }

        @Test(arguments: SharedDriver.allCases)
        func `sizes are those that Docker shows and keeps`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            // What Docker keeps for overlay is the sum of the archive's headers, deleted files and all.
            for layer in try fixture.store.inOrder() where driver.keepsChanges {
                let ours = try store.size(layer.cacheID, since: fixture.store.parent(of: layer))
                #expect(ours == layer.size, "\(layer.cacheID)")
                // From the record, if the driver made one.
                #expect(try store.size(layer.cacheID, since: fixture.store.parent(of: layer)) == ours)
            }
            for (name, container) in fixture.containers {
                let layers = try fixture.layers(of: container)
                #expect(try store.size(layers.mountID, since: layers.initID) == container.sizeRw, "\(name)")
            }
        }

        @Test(arguments: SharedDriver.allCases)
        func `metadata is that of docker inspect, status that of docker info`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            let built = try #require(fixture.store.inOrder().first { $0.diffID == fixture.builtDiffIDs.last })
            #expect(try store.metadataTexts(built.cacheID) == fixture.builtGraphData)
            // Later releases of Docker show more rows, and so does ldiff.
            let rows = store.status().map { [$0.name, $0.value] }
            #expect(fixture.status.filter { !rows.contains($0) } == [])
            #expect(fixture.status.isEmpty == (driver == .fuse))
            for (name, container) in fixture.containers {
                let ours = try store.metadataTexts(fixture.layers(of: container).mountID)
                #expect(ours == container.graphData, "\(name)")
            }
        }

        @Test(arguments: SharedDriver.allCases)
        func `a mounted container shows what Docker exported, and unmounting leaves no trace`(driver: SharedDriver)
            throws
        {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            for (name, container) in fixture.containers {
                let id = try fixture.layers(of: container).mountID
                let before = directoryNames("\(fixture.home)/\(id)")
                let ours = try store.mounted(id) { path in
                    #expect(path == container.graphData["MergedDir"])
                    return try LayerEffect.archive(path)
                }
                expectNone(try TarListing.contentDifference(ours, container.export), "\(name)")
                #expect(directoryNames("\(fixture.home)/\(id)") == before)
            }
            try store.cleanup()
            #expect(try Leftovers.mounts(below: fixture.directory) == [])
        }

        @Test(arguments: SharedDriver.allCases)
        func `dockerd goes on with its store after ldiff opened it`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let store = try openStore(driver.name, fixture.home)
            for (id, parent) in try fixture.allLayers() { _ = try store.size(id, since: parent) }
            #expect(try store.check(repair: true).isEmpty)
            try store.cleanup()
            let before = try fixture.allLayers().map(\.id).sorted()
            let docker = try DockerDaemon(in: fixture.directory, driver: driver.rawValue)
            let output = try docker(
                "run", "--rm", "--network", "none", DockerFixture.builtImage, "/bin/cat", "/etc/hard", "/opt/a/b/c")
            #expect(output.lines == ["new hardx"])
            for (name, container) in fixture.containers {
                #expect(try docker("diff", name).lines.sorted() == container.changes)
            }
            try docker.stop()
            #expect(try store.layers().map(\.description) == before)
        }
    }
}
