import Glibc
import TestSupport
import Testing

/// Containers whose root is not the machine's.
@Suite(.serialized, .timeLimit(.minutes(5))) struct UserNamespaceTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        var release: ContainerdRelease
        var version: String
        var remapsIDs: Bool
        var testDescription: String { "\(version), \(remapsIDs ? "ids are mapped" : "a copy with other ids")" }
    }

    private static let settings = [
        Setting(release: .trixie, version: "1.7.24", remapsIDs: false),
        Setting(release: .sid, version: "2.1.9", remapsIDs: false),
        Setting(release: .sid, version: "2.1.9", remapsIDs: true),
    ]

    /// Files were at 65534, mapped by containerd's copy and by our mounts; 1.7 could not mount them at all.
    @Test(arguments: settings)
    func `files have the ids of the image, in the container and in what it writes`(setting: Setting) throws {
        let directory = try TemporaryDirectory()
        // The container's root comes through it.
        chmod(directory.path, 0o755)
        let image = try DifferImage.archive("docker.io/library/users:1")
        let pair = try ContainerdPair(
            setting.release, version: setting.version, in: directory, remapsIDs: setting.remapsIDs)
        let (containerd, snapshotter) = (pair.containerd, pair.snapshotter)
        try writeFile(directory.path + "/image.tar", image.bytes)
        try containerd("image", "import", "--snapshotter", snapshotter, directory.path + "/image.tar")
        let users = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--remap-labels"]
        let script =
            "stat -c %u:%g /bin/busybox /; echo x >/made; chown 7:8 /made; stat -c %u:%g /made; cat /proc/self/uid_map"
        let result = try containerd.run(
            ["run", "--rm", "--snapshotter", snapshotter] + users + [image.name, "mapped", "/bin/sh", "-c", script])
        #expect(result.status == 0, "\(result.errors); \(containerd.log); \(pair.ldiff.log)")
        #expect(result.lines.prefix(3) == ["0:0", "0:0", "7:8"], "\(result.lines)")
        #expect(result.lines.last?.split(separator: " ") == ["0", "100000", "65536"])
        try containerd("image", "rm", "--sync", image.name)
        try pair.stop()
    }
}
