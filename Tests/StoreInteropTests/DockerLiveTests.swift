import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

extension StoreInterop {
    /// ldiff in a store that dockerd has open.
    @Suite struct DockerLiveTests {
        private static let script = """
            echo new > /new; rm /etc/hard; rm -rf /opt; mkdir /opt; echo o > /opt/o; mkfifo /pipe; touch /ready; exec sleep 120
            """

        @Test(arguments: SharedDriver.allCases)
        func `ldiff reads a running container and leaves its mount alone`(driver: SharedDriver) throws {
            let fixture = try DockerStores.store(driver)
            let docker = try DockerDaemon(in: fixture.directory, driver: driver.rawValue)
            try docker(
                "run", "--detach", "--network", "none", "--name", "live", DockerFixture.builtImage, "/bin/sh", "-c",
                Self.script)
            try wait("the container's script is done") {
                try docker.run(["exec", "live", "/bin/test", "-e", "/ready"]).status == 0
            }
            let known = try DockerStore(dataRoot: fixture.dataRoot, driver: driver.rawValue)
            let id = try #require(docker("inspect", "--format", "{{.Id}}", "live").lines.first)
            let layers = try #require(known.containers[id])
            let merged = "\(fixture.home)/\(layers.mountID)/merged"
            #expect(try Leftovers.mounts(below: fixture.home).contains(merged))

            let store = try openStore(driver.name, fixture.home)
            let changes = try store.changeLines(layers.mountID, since: layers.initID)
            expectNone(TarListing.lineDifference(changes, try docker("diff", "live").lines), "changes")
            let size = try docker("inspect", "--size", "--format", "{{.SizeRw}}", "live").lines
            let ours = try store.size(layers.mountID, since: layers.initID)
            #expect(size == ["\(ours)"])
            let tar = try store.layer(layers.mountID, since: layers.initID, .docker20)
            #expect(try TarListing.lines(tar).contains { $0.hasPrefix("new 0 0o644 0:0 4 ") })
            let seen = try store.mounted(layers.mountID) { path in
                #expect(path == merged)
                return try readText(path + "/new")
            }
            #expect(seen == "new")
            #expect(try store.check(repair: true).isEmpty)
            // No cleanup: that ends every mount of the store, as a daemon does that shuts down.
            // Still mounted, and the container goes on in it.
            #expect(try Leftovers.mounts(below: fixture.home).contains(merged))
            #expect(try readText(merged + "/new") == "new")
            #expect(
                try docker("exec", "live", "/bin/sh", "-c", "cat /new; echo 2 > /second; cat /second").lines == [
                    "new", "2",
                ])
            #expect(try store.changeLines(layers.mountID, since: layers.initID).contains("A /second"))
            try docker("rm", "--force", "live")
            #expect(try !store.exists(LayerID(layers.mountID)))
            try docker.stop()
        }

        private func wait(_ what: String, _ condition: () throws -> Bool) throws {
            for _ in 0..<100 {
                if try condition() { return }
                usleep(50_000)
            }
            throw TestFailure("not after five seconds: \(what)")
        }
    }
}
