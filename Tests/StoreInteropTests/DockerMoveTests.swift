import LayerDrivers
import LayerModel
import LayerPipeline
import TestSupport
import Testing

extension StoreInterop {
    /// A Docker directory that changes its driver.
    @Suite struct DockerMoveTests {
        private static func migrate(_ fixture: DockerFixture, _ from: SharedDriver, _ to: SharedDriver) throws {
            let home = fixture.dataRoot + "/" + to.rawValue
            let plan = try DockerMovePlan(of: PathBytes(fixture.dataRoot), from: from.name, to: to.name)
            let move = try DockerMove(plan)
            let source = try openStore(from.name, fixture.dataRoot + "/" + from.rawValue)
            let target = try openStore(to.name, home)
            let migration = StoreMigration(
                from: source, to: target, parents: try DockerRecords(of: source).parents)
            let report = try migration.run(migration.plan(), in: target)
            #expect(report.skipped.isEmpty && report.copied.count >= 8, "\(report.copied)")
            #expect(try move.run() == fixture.containers.count)
            // Once more, as after an interruption.
            #expect(try move.run() == 0)
            try target.cleanup()
            #expect(try Leftovers.mounts(below: home) == [])
        }

        @Test(arguments: [(SharedDriver.overlay2, SharedDriver.fuse), (.overlay, .overlay2), (.fuse, .overlay2)])
        func `dockerd finds its images and containers in the store that they were moved to`(
            from: SharedDriver, to: SharedDriver
        ) throws {
            let fixture = try DockerFixture(driver: from.rawValue)
            try Self.migrate(fixture, from, to)
            let docker = try DockerDaemon(in: fixture.directory, driver: to.rawValue)
            let seen = try docker("ps", "--all", "--format", "{{.Names}}").lines.sorted()
            #expect(seen == fixture.containers.keys.sorted())
            for (name, container) in fixture.containers {
                #expect(try docker("diff", name).lines.sorted() == container.changes, "\(name)")
            }
            let output = try docker(
                "run", "--rm", "--network", "none", DockerFixture.builtImage, "/bin/cat", "/etc/hard", "/opt/a/b/c")
            #expect(output.lines == ["new hardx"])
            // What it did at first it finds done.
            #expect(try docker.run(["start", "--attach", "small"]).errors.contains("'/large': No such file"))
            try docker("commit", "changed", "again:1")
            try docker("rm", "changed", "idle", "small")
            #expect(try docker("ps", "--all", "--quiet").lines == [])
            try docker.stop()
        }

        @Test func `nothing is written while a daemon runs`() throws {
            let fixture = try DockerStores.store(.overlay2)
            let docker = try DockerDaemon(in: fixture.directory, driver: "overlay2")
            let plan = try DockerMovePlan(of: PathBytes(fixture.dataRoot), from: .overlay2, to: .fuseOverlayFS)
            #expect(try plan.containerCount == fixture.containers.count)
            let error = #expect(throws: LayerError.self) { try DockerMove(plan) }
            #expect(error?.code == .inUse && error?.hint?.contains("systemctl stop") == true)
            // To look is allowed, and changes nothing.
            let home = fixture.dataRoot + "/fuse-overlayfs"
            let said = try runProgram([
                programBesideTests("ldiff"), "layer", "migrate", "--from-home", fixture.home, "--to", "fuse-overlayfs",
                "--home", home, "--docker", "--dry-run", "--json",
            ])
            let report = String(decoding: said.output, as: UTF8.self)
            #expect(said.status == 0 && report.contains("\"containers\":\(fixture.containers.count)"), "\(said)")
            #expect(try ReportSchema().faults(of: said.output, "layerMigrateDryRun") == [])
            #expect(!directoryNames(fixture.dataRoot).contains("fuse-overlayfs"))
            try docker.stop()
            #expect(!directoryNames(fixture.dataRoot + "/image").contains("fuse-overlayfs"))
        }
    }
}
