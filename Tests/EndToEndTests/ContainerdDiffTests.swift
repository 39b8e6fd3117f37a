import Glibc
import TestSupport
import Testing

/// Real containerds with our differ: what its own does is the measure.
@Suite(.serialized, .timeLimit(.minutes(10))) struct ContainerdDiffTests {
    /// containerd 1.7 and 2.x, with our snapshotter and with its own.
    struct Setting: Sendable, CustomTestStringConvertible {
        var release: ContainerdRelease
        var version: String
        var onlyDiffer = false
        var driver: String?
        var hasDiffer: Bool { release != .installed }
        var testDescription: String { "\(version) \(onlyDiffer ? "only the differ" : driver ?? "overlay2")" }
    }

    private static let settings = [
        // Only the snapshotter: the differ is containerd's own.
        Setting(release: .installed, version: "1.6.20"),
        Setting(release: .trixie, version: "1.7.24"),
        Setting(release: .trixie, version: "1.7.24", driver: "fuse-overlayfs"),
        Setting(release: .trixie, version: "1.7.24", onlyDiffer: true),
        Setting(release: .sid, version: "2.1.9"),
        Setting(release: .sid, version: "2.1.9", onlyDiffer: true),
    ]

    /// What containerd alone made of an image and a container.
    private struct Reference {
        var trees: [TreeSnapshot]
        var difference: [String]
    }

    private static func reference(_ release: ContainerdRelease, _ image: OCIArchive) throws -> Reference {
        let directory = try TemporaryDirectory()
        let containerd = try ContainerdDaemon(in: directory.directory("containerd"), release: release)
        try writeFile(directory.path + "/image.tar", image.bytes)
        try containerd("image", "import", directory.path + "/image.tar")
        let trees = try ContainerdDaemon.chain(image.layers.map(\.diffID)).map {
            try containerd.tree(of: $0, "overlayfs", in: directory.path)
        }
        try containerd("run", image.name, "changed", "/bin/sh", "-c", DifferImage.script)
        let layer = try containerd("snapshot", "diff", "changed").output
        try containerd.stop()
        return Reference(trees: trees, difference: try entryLines(layer))
    }

    @Test(arguments: settings)
    func `an image is unpacked, run, compared, exported, pushed and pulled`(setting: Setting) throws {
        let directory = try TemporaryDirectory()
        let registry = try RegistryDaemon(in: directory.directory("registry"))
        let image = try DifferImage.archive("\(registry.host)/differ:1")
        let theirs = try Self.reference(setting.release, image)
        let pair = try ContainerdPair(
            setting.release, version: setting.version, in: directory, onlyDiffer: setting.onlyDiffer,
            driver: setting.driver)
        let (containerd, snapshotter) = (pair.containerd, pair.snapshotter)
        let loaded = try containerd("plugins", "ls").lines.map(\.trimmed)
            .filter { $0.contains("ldiff") && $0.hasSuffix("ok") }.map { $0.split(separator: " ")[1] }
        let wanted = (setting.onlyDiffer ? [] : [snapshotter[...]]) + (setting.hasDiffer ? ["ldiff-diff"] : [])
        #expect(loaded.sorted() == wanted.sorted())
        try writeFile(directory.path + "/image.tar", image.bytes)
        try containerd("image", "import", "--snapshotter", snapshotter, directory.path + "/image.tar")

        let chain = ContainerdDaemon.chain(image.layers.map(\.diffID))
        for (index, id) in chain.enumerated() {
            let ours = try containerd.tree(of: id, snapshotter, in: directory.path)
            let differences = ours.differences(from: theirs.trees[index])
            #expect(differences == [], "layer \(index)")
        }

        try containerd("run", "--snapshotter", snapshotter, image.name, "changed", "/bin/sh", "-c", DifferImage.script)
        let layer = try containerd("snapshot", "--snapshotter", snapshotter, "diff", "changed").output
        let ours = try entryLines(layer)
        let differing = setting.driver == "fuse-overlayfs" ? Self.differentWithFuse : []
        #expect(Self.comparable(ours, but: differing) == Self.comparable(theirs.difference, but: differing))
        #expect(
            try containerd("run", "--rm", "--snapshotter", snapshotter, image.name, "look", "/bin/cat", "/etc/conf")
                .lines == ["333"])

        try containerd("image", "export", directory.path + "/exported.tar", image.name)
        try containerd("image", "push", "--plain-http", image.name)
        try containerd("container", "rm", "changed")
        try containerd("image", "rm", "--sync", image.name)
        try containerd("image", "pull", "--plain-http", "--snapshotter", snapshotter, image.name)
        #expect(
            try containerd("run", "--rm", "--snapshotter", snapshotter, image.name, "again", "/bin/cat", "/mislabelled")
                .output == Array("m".utf8))
        try containerd("image", "rm", "--sync", image.name)
        try pair.stop()
        try registry.stop()
        #expect(try Leftovers.mounts(below: directory.path) == [])
    }

    /// What fuse-overlayfs 1.10 does another way than the kernel: a directory that is copied up loses its set-group-id bit, and
    /// links and devices do not get the group of theirs.
    private static let differentWithFuse = ["data/keep ", "made/link ", "made/null ", "made/pipe "]

    /// Without times, which two containers do not share, and without some names.
    private static func comparable(_ lines: [String], but names: [String]) -> [String] {
        lines.filter { line in !names.contains { line.hasPrefix($0) } }.map { line in
            var words = line.split(separator: " ", omittingEmptySubsequences: false)
            if words.count > 8 { words[8] = "time" }
            return words.joined(separator: " ")
        }.sorted()
    }
}
