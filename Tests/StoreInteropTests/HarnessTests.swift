import TestSupport
import Testing

extension StoreInterop {
    /// The oracle itself: what the harness says Docker did is what lies on the disk.
    @Suite struct HarnessTests {
        @Test(arguments: SharedDriver.allCases)
        func `the store that dockerd left names every layer that it saved`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let layers = try fixture.store.inOrder()
            // Four layers were loaded, five built, three committed; the idle container's and the empty one are alike.
            #expect(layers.count >= 11)
            #expect(fixture.builtDiffIDs.count == 9)
            #expect(fixture.store.containers.count == 3)
            for layer in layers {
                #expect(fixture.layers[layer.diffID] != nil, "docker save has no \(layer.diffID)")
                let entries = directoryNames("\(fixture.dataRoot)/\(driver.rawValue)/\(layer.cacheID)")
                #expect(entries.contains(driver.keepsChanges ? "diff" : "root"))
                #expect(entries.contains("lower") == (driver.keepsChanges && layer.parentChainID != nil))
            }
        }

        @Test(arguments: SharedDriver.allCases)
        func `dockerd leaves nothing running or mounted`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            #expect(Leftovers.processes(naming: fixture.directory).isEmpty)
            #expect(try Leftovers.mounts(below: fixture.directory) == [])
        }

        @Test func `a dockerd that does not start says why`() throws {
            let directory = try TemporaryDirectory()
            let error = #expect(throws: TestFailure.self) {
                try DockerDaemon(in: directory.path, driver: "no-such-driver")
            }
            #expect(error?.description.contains("ended before ready") == true)
            #expect(error?.description.contains("no-such-driver") == true)
            #expect(Leftovers.processes(naming: directory.path).isEmpty)
            #expect(try Leftovers.mounts(below: directory.path) == [])
        }

        /// Docker keeps what a commit's Diff wrote; its own code gives the same again from the directory.
        @Test func `a committed layer is what Docker's code makes of the container's directory`() throws {
            let fixture = try DockerStores.store(.overlay2)
            for (name, container) in fixture.containers {
                let layer = try #require(fixture.store.containers[container.id])
                let again = try Peer.docker("diff", "\(fixture.dataRoot)/overlay2/\(layer.mountID)/diff").output
                expectNone(try TarListing.difference(again, container.committed), "\(name)")
            }
        }

        /// What a comparison of contents leaves out is what a store really loses, and no more.
        @Test func `Docker's code finds in each directory what the layer's archive held`() throws {
            let fixture = try DockerStores.store(.overlay2)
            for layer in try fixture.store.inOrder() {
                let path = "\(fixture.dataRoot)/overlay2/\(layer.cacheID)/diff"
                let saved = try #require(fixture.layers[layer.diffID])
                let found = try Peer.docker("diff", path).output
                expectNone(try TarListing.contentDifference(found, saved), "\(layer.cacheID)")
            }
        }
    }
}
