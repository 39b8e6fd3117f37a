import Foundation
import Glibc
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Real containerds with the snapshotter ldiff-erofs: layers stay the tars that they came as.
@Suite(.serialized, .timeLimit(.minutes(5))) struct ContainerdPackedTests {
    private static let snapshotter = "ldiff-erofs"

    @Test(arguments: [(ContainerdRelease.trixie, "1.7.24"), (.sid, "2.1.9")])
    func `an image is pulled, run, committed, pushed and removed, and nothing stays mounted`(
        release: ContainerdRelease, version: String
    ) throws {
        let directory = try TemporaryDirectory()
        let registry = try RegistryDaemon(in: directory.directory("registry"))
        let image = try DifferImage.archive("\(registry.host)/packed:1")
        let pair = try ContainerdPair(
            release, version: version, in: directory, driver: "erofs",
            settings: "[erofs]\nform = \"packed\"\npack_on_commit = true\n")
        let (ctr, root) = (pair.containerd, pair.ldiff.root)
        defer { try? Leftovers.unmountLayers(of: root) }
        let snapshots = root + "/erofs/snapshots"
        func tars() throws -> [[UInt8]] {
            try directoryNames(snapshots).filter { access("\(snapshots)/\($0)/packed/layer.tar", F_OK) == 0 }
                .map { try readFile("\(snapshots)/\($0)/packed/layer.tar") }
        }
        try writeFile(directory.path + "/image.tar", image.bytes)
        try ctr("image", "import", "--snapshotter", Self.snapshotter, directory.path + "/image.tar")
        try ctr("image", "push", "--plain-http", image.name)
        try ctr("image", "rm", "--sync", image.name)
        for _ in 0..<500 where !directoryNames(snapshots).isEmpty { usleep(20_000) }
        #expect(try directoryNames(snapshots) == [] && Leftovers.layerMounts(of: root) == [])

        try ctr("image", "pull", "--plain-http", "--snapshotter", Self.snapshotter, image.name)
        // Names of parents alone, and what hides all below, only a directory can say.
        let kept = Set(try tars().map(sha256))
        let diffIDs = image.layers.map(\.diffID)
        #expect(kept.count >= 3 && kept.isSubset(of: diffIDs), "\(kept)")
        // A difference is the tar that came, whoever asks, in whatever compression.
        for (id, diffID) in zip(ContainerdDaemon.chain(diffIDs), diffIDs) where kept.contains(diffID) {
            let zipped = try ctr("snapshot", "--snapshotter", Self.snapshotter, "diff", id).output
            let tar = try runProgram(["gzip", "-dc"], input: zipped)
            #expect(tar.status == 0 && sha256(tar.output) == diffID)
        }
        let run = ["run", "--snapshotter", Self.snapshotter]
        _ = try ctr.run(run + [image.name, "changed", "/bin/sh", "-c", DifferImage.script])
        func changes(_ snapshot: String) throws -> [String] {
            try entryLines(ctr("snapshot", "--snapshotter", Self.snapshotter, "diff", snapshot).output)
        }
        let before = try changes("changed")
        let names = before.compactMap { $0.split(separator: " ").first }
        #expect(names.contains("hello") && names.contains("etc/.wh.conf"), "\(names)")
        try ctr("snapshot", "--snapshotter", Self.snapshotter, "label", "changed", "containerd.io/gc.root=now")
        try ctr("container", "rm", "--keep-snapshot", "changed")
        let count = try tars().count
        try ctr("snapshot", "--snapshotter", Self.snapshotter, "commit", "committed", "changed")
        #expect(try tars().count == count + 1)
        // The same, though it lies there as a tar now: that one has more in it than others may see of this host.
        #expect(try changes("committed") == before)
        #expect(
            try ctr("run", "--rm", "--snapshotter", Self.snapshotter, image.name, "look", "/bin/cat", "/etc/conf").lines
                == ["333"])

        // What was pulled goes out unchanged.
        try ctr("image", "export", directory.path + "/out.tar", image.name)
        let exported = try runProgram(["tar", "-tf", directory.path + "/out.tar"]).lines
        for layer in image.layers {
            #expect(exported.contains("blobs/sha256/" + sha256(layer.blob).dropFirst("sha256:".count)))
        }
        try ctr("image", "push", "--plain-http", image.name)
        try ctr("snapshot", "--snapshotter", Self.snapshotter, "rm", "committed")
        try ctr("image", "rm", "--sync", image.name)
        for _ in 0..<1500 where !directoryNames(snapshots).isEmpty { usleep(20_000) }
        let listed = try ctr("snapshot", "--snapshotter", Self.snapshotter, "ls").lines
        #expect(directoryNames(snapshots) == [], "\(listed)")
        #expect(try Leftovers.layerMounts(of: root) == [])
        try pair.stop()
        try registry.stop()
        #expect(try Leftovers.mounts(below: directory.path) == [])
    }

    private func sha256(_ bytes: [UInt8]) -> String { Digest.of(bytes.rawBytes).description }
}
