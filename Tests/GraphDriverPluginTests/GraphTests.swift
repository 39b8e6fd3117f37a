import Foundation
import TestSupport
import Testing

/// The cases of Docker's graphtest, as a client of the plugin's socket. Nothing is skipped: a driver that
/// is not supported fails.
enum GraphTests {
    static func createEmpty(_ plugin: Plugin) throws {
        try plugin.create("empty", readWrite: false)
        #expect(try plugin.exists("empty"))
        try plugin.inside("empty") { path throws in
            #expect(status(path) == (S_IFDIR | 0o755, 0, 0))
            #expect(directoryNames(path).filter { $0 != "lost+found" } == [])
        }
        try plugin.remove("empty")
        #expect(try !plugin.exists("empty"))
    }

    static func createBase(_ plugin: Plugin) throws {
        try base(plugin, "Base")
        try verifyBase(plugin, "Base")
        try plugin.remove("Base")
    }

    static func createSnap(_ plugin: Plugin) throws {
        try base(plugin, "Base")
        try plugin.create("Snap", on: "Base", readWrite: false)
        try verifyBase(plugin, "Snap")
        try plugin.remove("Snap")
        try plugin.remove("Base")
    }

    /// The base and that many layers upon it, each of which says what lies below it.
    static func deepLayerRead(_ plugin: Plugin, _ depth: Int) throws {
        try plugin.layer("Base") { try $0.file("testfile.txt", "test content", 0o777) }
        var below = "Base"
        for level in 1...depth {
            let id = "layer-\(level)"
            try plugin.layer(id, on: below) { tree in
                try tree.file("top-id", id)
                try tree.directory("level-\(level)")
                try tree.file("level-\(level)/layer-id", id)
                try tree.file("level-\(level)/parent-id", below)
            }
            below = id
        }
        try plugin.inside(below) { path throws in
            #expect(try readText(path + "/testfile.txt") == "test content")
            var expected = try readText(path + "/top-id")
            #expect(expected == below)
            for level in (1...depth).reversed() {
                #expect(try readText("\(path)/level-\(level)/layer-id") == expected)
                expected = try readText("\(path)/level-\(level)/parent-id")
            }
            #expect(expected == "Base")
        }
        for level in (1...depth).reversed() { try plugin.remove("layer-\(level)") }
        try plugin.remove("Base")
    }

    static func diffApply(_ plugin: Plugin) throws {
        let count = 10
        try plugin.layer("Base") { tree in
            try addFiles(tree, count, seed: 3)
            try tree.file("file-remove.txt", "content")
            try tree.directory("var")
            try tree.directory("var/lib")
        }
        try plugin.layer("Upper", on: "Base") { tree in
            for index in 0..<count {
                try tree.write("directory-0/file-\(index)", content(index, seed: 6))
            }
            try tree.remove("file-remove.txt")
            try tree.remove("var/lib")
        }
        let size = try plugin.size("Upper", since: nil)
        // Drivers that see the whole tree count what the base holds as well; those of Docker that keep changes do not.
        if plugin.keepsChanges { #expect(size == 640) }
        #expect(try plugin.size("Upper", since: "Base") == 640)
        try plugin.create("Diff", on: "Base", readWrite: false)
        let layer = try plugin.diff("Upper", since: "Base")
        #expect(try plugin.apply(layer, to: "Diff", onto: "Base") == 640)
        try plugin.inside("Diff") { path throws in
            #expect(directoryNames(path).filter { $0 != "lost+found" } == ["directory-0", "var"])
            #expect(directoryNames(path + "/var") == [])
            for index in 0..<count {
                #expect(try readFile("\(path)/directory-0/file-\(index)") == content(index, seed: 6))
            }
        }
        for id in ["Diff", "Upper", "Base"] { try plugin.remove(id) }
    }

    static func changes(_ plugin: Plugin) throws {
        let count = 20
        try plugin.layer("Base") { try addFiles($0, count, seed: 3) }
        var expected = ["C /directory-0"]
        try plugin.layer("Upper", on: "Base") { tree in
            for index in 0..<count {
                let name = "directory-0/file-\(index)"
                switch index % 3 {
                case 0:
                    try tree.write(name, content(index, seed: 6))
                    expected.append("C /\(name)")
                case 1:
                    try tree.write("directory-0/file-6-\(index)", content(index, seed: 6))
                    expected.append("A /directory-0/file-6-\(index)")
                default:
                    try tree.remove(name)
                    expected.append("D /\(name)")
                }
            }
        }
        #expect(try plugin.changes("Upper", since: "Base") == sortedByPath(expected))
        #expect(try plugin.changes("Base", since: nil).count == count + 1)
        for id in ["Upper", "Base"] { try plugin.remove(id) }
    }

    // MARK: Parts

    private static func base(_ plugin: Plugin, _ id: String) throws {
        try plugin.layer(id) { tree in
            try tree.directory("a subdir", 0o1705, uid: 1, gid: 2)
            try tree.file("a file", "Some data", 0o4222)
        }
    }

    private static func verifyBase(_ plugin: Plugin, _ id: String) throws {
        try plugin.inside(id) { path throws in
            #expect(status(path + "/a subdir") == (S_IFDIR | 0o1705, 1, 2))
            #expect(status(path + "/a file") == (S_IFREG | 0o4222, 0, 0))
            #expect(directoryNames(path).filter { $0 != "lost+found" } == ["a file", "a subdir"])
            #expect(try readFile(path + "/a file") == Array("Some data".utf8))
        }
    }

    private static func addFiles(_ tree: TreeBuilder, _ count: Int, seed: Int) throws {
        try tree.directory("directory-0")
        for index in 0..<count {
            try tree.write("directory-0/file-\(index)", content(index, seed: seed))
            try tree.mode("directory-0/file-\(index)", 0o755)
        }
    }

    /// 64 bytes that depend on both numbers.
    private static func content(_ index: Int, seed: Int) -> [UInt8] {
        (0..<64).map { UInt8(truncatingIfNeeded: ($0 &* 131 &+ index &* 17 &+ seed &* 71) >> 1) }
    }

    private static func status(_ path: String) -> (mode: mode_t, uid: uid_t, gid: gid_t) {
        var facts = stat()
        guard lstat(path, &facts) == 0 else { return (0, 0, 0) }
        return (facts.st_mode, facts.st_uid, facts.st_gid)
    }
}

extension Plugin {
    /// Whether a layer's directory holds its changes alone.
    var keepsChanges: Bool { driver == "overlay2" || driver == "fuse-overlayfs" }
}

/// The drivers that can mount on this machine.
@Suite(.serialized) struct GraphDriverTests {
    static let drivers = ["overlay2", "overlay", "fuse-overlayfs"]

    @Test(arguments: drivers) func graphtest(driver: String) throws {
        let plugin = try Plugin(driver)
        try GraphTests.createEmpty(plugin)
        try GraphTests.createBase(plugin)
        try GraphTests.createSnap(plugin)
        try GraphTests.diffApply(plugin)
        try GraphTests.changes(plugin)
        try plugin.finish()
    }

    /// Docker's own depths: the most layers that a driver can mount.
    @Test(arguments: [("overlay2", 128), ("overlay", 50), ("fuse-overlayfs", 128)])
    func `DeepLayerRead`(driver: String, depth: Int) throws {
        let plugin = try Plugin(driver)
        try GraphTests.deepLayerRead(plugin, depth)
        try plugin.finish()
    }

    /// This kernel has no aufs: Docker hears the words that its own driver would say.
    @Test func `aufs says why it cannot work here`() throws {
        let plugin = try Plugin("aufs", opens: false)
        let response = try plugin.client.call(
            "GraphDriver.Init", #"{"Home":"\#(plugin.home)","Opts":null,"UIDMaps":null,"GIDMaps":null}"#)
        #expect(response.status == 200)
        #expect(response.failure.contains("driver not supported"))
        #expect(response.failure.contains("AUFS was not found in /proc/filesystems"))
        #expect(access(plugin.home, F_OK) != 0, "nothing was made")
        try plugin.finish()
    }
}

/// With zfs-fuse; on the pool that all tests of a process share.
@Suite(.serialized) struct ZFSPluginTests {
    @Test func graphtest() throws {
        let plugin = try Plugin("zfs")
        try GraphTests.createEmpty(plugin)
        try GraphTests.createBase(plugin)
        try GraphTests.createSnap(plugin)
        try GraphTests.diffApply(plugin)
        try GraphTests.changes(plugin)
        try GraphTests.deepLayerRead(plugin, 8)
        try plugin.finish()
    }
}
