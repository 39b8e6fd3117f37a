import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// What a container may have put into its layer, so that whoever reads the store does something else than read files.
@Suite(.serialized) struct HostileLayerTests {
    static let drivers = DriverFacts.chosen.filter { $0.name != .zfs }

    @Test(arguments: drivers) func `a FIFO, device or socket in a layer is not opened as a file`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { tree in
            for name in ["pipe", "null", "link", "plain"] { try tree.file(name, "below") }
        }
        try store.create("Box", on: "Base")
        try store.inside("Box") { path in
            for name in ["pipe", "null"] { unlink(path + "/" + name) }
            mkfifo(path + "/pipe", 0o644)
            mknod(path + "/null", S_IFCHR | 0o666, 1 << 8 | 3)
            mkdir(path + "/d", 0o755)
            symlink("../null", path + "/d/link")
            try writeFile(path + "/new", [1])
        }
        do {
            let files = try store.driver.files(of: LayerID("Box"))
            for name in ["pipe", "null", "d/link", "none"] {
                expectFailure(.notFound) { _ = try files.open(PathBytes(name)) }
            }
            #expect(throws: LayerError.self) { _ = try files.open(PathBytes("d")) }
            for name in ["new", "plain", "/d/../new", "./link"] { _ = try files.open(PathBytes(name)) }
        }
        try store.finish()
    }

    @Test func `marks of rootless mounts in a layer of overlay2 are plain attributes`() throws {
        let store = try DriverStore(.overlay2)
        try store.layer("Base") { tree in
            try tree.directory("d")
            try tree.file("d/below", "below")
            try tree.directory("etc")
            try tree.file("etc/secret", "secret")
            try tree.file("gone", "not gone")
        }
        try store.create("Box", on: "Base")
        let marks = [
            ("gone", "whiteout", "y"), ("d", "opaque", "y"), ("moved", "redirect", "/etc"), ("file", "metacopy", ""),
            ("file", "redirect", "/etc/secret"), ("file", "origin", "x"), ("d", "impure", "y"),
        ]
        try store.inside("Box") { path in
            mkdir(path + "/moved", 0o755)
            try writeFile(path + "/file", Array("own".utf8))
            try writeFile(path + "/gone", [])
            for (name, mark, value) in marks {
                let words = ["setfattr", "-n", "user.overlay.\(mark)", "-v", value, "\(path)/\(name)"]
                let result = try runProgram(words)
                try #require(result.status == 0, "\(words) \(result.errors)")
            }
        }
        let expected = ["A /file", "C /gone", "A /moved"]
        #expect(try store.changes("Box", since: "Base") == expected)
        #expect(try store.comparedChanges("Box", since: "Base") == expected)
        let archive = try store.diff("Box", since: "Base")
        let listed = try runProgram(["tar", "-tf", "-"], input: archive).lines
        #expect(listed == ["d/", "file", "gone", "moved/"])
        try store.create("Copy", on: "Base", readWrite: false)
        try store.apply(archive, to: "Copy", onto: "Base")
        #expect(try store.changes("Copy", since: "Base") == expected)
        try store.inside("Copy") { (path) throws in
            #expect(try fileText(path + "/d/below") == "below")
            #expect(try fileText(path + "/file") == "own")
            #expect(try names(in: path + "/moved").isEmpty)
        }
        try store.finish()
    }
}
