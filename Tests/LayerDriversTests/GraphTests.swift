import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// The cases of graphtest.
enum GraphTests {
    static func setup(_ store: DriverStore) throws {
        #expect(store.driver.name == store.facts.name)
        #expect(try store.driver.layers().isEmpty)
        if !store.facts.statusRows.isEmpty { #expect(store.driver.status().map(\.name) == store.facts.statusRows) }
        // A second start finds what the first made.
        try store.restart()
        #expect(try store.driver.layers().isEmpty)
    }

    static func teardown(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Snap", on: "Base")
        _ = try store.get("Snap")
        #expect(try mountPoints(below: store.home).count == 1 || store.facts.name == .zfs)
        // Whoever forgot to put: Cleanup unmounts at the end, and layers stay.
        try store.driver.cleanup()
        #expect(try mountPoints(below: store.home).isEmpty)
        try store.restart()
        try store.verifyBase("Snap")
    }

    static func createEmpty(_ store: DriverStore) throws {
        try store.create("empty", readWrite: false)
        #expect(try store.exists("empty"))
        try store.inside("empty") { path throws in
            #expect(status(path) == (S_IFDIR | 0o755, 0, 0))
            #expect(try names(in: path) == [])
        }
        try store.remove("empty")
        #expect(try !store.exists("empty"))
    }

    static func createBase(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.verifyBase("Base")
        try store.remove("Base")
    }

    static func createSnap(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Snap", on: "Base")
        try store.verifyBase("Snap")
        // containers/storage: the mode of a layer's root is its child's too, where the layout keeps modes of roots.
        try store.inside("Snap") { path in #expect(chmod(path, 0o711) == 0) }
        try store.create("SecondSnap", on: "Snap")
        let expected: mode_t = store.facts.inheritsRootMode ? 0o711 : 0o755
        try store.inside("SecondSnap") { path in #expect(status(path).mode == S_IFDIR | expected) }
        try store.verifyBase("SecondSnap")
        try store.inside("Snap") { path in #expect(status(path).mode == S_IFDIR | 0o711) }
    }

    static func deepLayerRead(_ store: DriverStore) throws {
        try store.layer("Base") { try $0.file("testfile.txt", "test content", 0o777) }
        let top = try store.addManyLayers(on: "Base", store.facts.depth)
        try store.checkManyLayers(top, store.facts.depth)
        try store.inside(top) { path throws in #expect(try fileText(path + "/testfile.txt") == "test content") }
        guard store.facts.depthLimit == store.facts.depth else { return }
        expectFailure(.limitExceeded, "max depth exceeded") { try store.create("one-more", on: top) }
        #expect(try !store.exists("one-more"))
    }

    static func diffApply(_ store: DriverStore) throws {
        let count = 10
        try store.create("Base")
        try store.addManyFiles("Base", count, seed: 3)
        try store.build("Base") { tree in
            try tree.file("file-remove.txt", "content")
            try tree.directory("var")
            try tree.directory("var/lib")
        }
        try store.create("Upper", on: "Base")
        try store.addManyFiles("Upper", count, seed: 6)
        try store.build("Upper") { tree in
            try tree.remove("file-remove.txt")
            try tree.remove("var/lib")
        }
        let size = try store.size("Upper", since: nil)
        try store.create("Diff", on: "Base")
        try store.checkManyFiles("Diff", count, seed: 3)
        let layer = try store.diff("Upper", since: "Base")
        #expect(try store.apply(layer, to: "Diff", onto: "Base").size == size)
        try store.checkManyFiles("Diff", count, seed: 6)
        try store.inside("Diff") { path throws in
            #expect(try names(in: path) == ["directory-0", "var"])
            #expect(try names(in: path + "/var") == [])
        }
        try store.expectSame("Diff", "Upper")
    }

    static func changes(_ store: DriverStore) throws {
        try store.create("Base")
        try store.addManyFiles("Base", 20, seed: 3)
        try store.create("Upper", on: "Base")
        let expected = try store.changeManyFiles("Upper", 20, seed: 6)
        #expect(try store.changes("Upper", since: "Base") == expected)
    }

    /// What Docker misses and therefore skips: contents rewritten with the same size and time.
    static func changesOfTheSameTick(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            for index in 0..<20 { try tree.file("file-\(index)", bytes: randomContent(64, seed: index)) }
        }
        try store.layer("Upper", on: "Base") { tree in
            for index in 0..<20 { try tree.file("file-\(index)", bytes: randomContent(64, seed: 100 + index)) }
        }
        let expected = sortedByPath((0..<20).map { "C /file-\($0)" })
        #expect(try store.changes("Upper", since: "Base") == expected)
        #expect(try store.size("Upper", since: "Base") == 20 * 64)
        let layer = try store.diff("Upper", since: "Base")
        try store.create("Copy", on: "Base")
        try store.apply(layer, to: "Copy", onto: "Base")
        try store.expectSame("Copy", "Upper")
    }

    static func createFromTemplate(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.layer("Snap", on: "Base") { try $0.file("testfile.txt", bytes: randomContent(4096, seed: 3)) }
        for (id, readWrite) in [("FromTemplate", true), ("ROFromTemplate", false)] {
            try store.driver.createFromTemplate(
                LayerID(id), template: LayerID("Snap"), parent: LayerID("Base"), options: CreateOptions(),
                readWrite: readWrite)
            #expect(try store.changes(id, since: "Snap") == [])
            #expect(try store.changes(id, since: "Base") == ["A /testfile.txt"])
            try store.inside(id) { path throws in
                #expect(try readFile(path + "/testfile.txt") == randomContent(4096, seed: 3))
            }
        }
        #expect(try store.changes("Snap", since: "Base") == ["A /testfile.txt"])
        try store.inside("Base") { path throws in #expect(try names(in: path) == ["a file", "a subdir"]) }
    }

    static func echo(_ store: DriverStore) throws {
        let directories = (1...9).map { level in "/" + (1...level).map { "subdir\($0)" }.joined(separator: "/") }
        let paths = directories + [directories[8] + "/file"]
        for depth in 0...9 {
            let (base, second, third) = ("base-\(depth)", "second-\(depth)", "third-\(depth)")
            func make(_ tree: TreeBuilder, from: Int) throws {
                for path in paths[from...] {
                    let name = String(path.dropFirst())
                    if path == paths[9] { try tree.file(name, "") } else { try tree.directory(name, 0o700) }
                }
            }
            try store.layer(base) { try make($0, from: 0) }
            try store.layer(second, on: base) { tree in
                for path in paths[depth...].reversed() { try tree.remove(String(path.dropFirst())) }
            }
            try store.layer(third, on: second) { try make($0, from: depth) }
            let above = paths[..<depth].map { "C \($0)" }
            #expect(try store.changes(base, since: nil) == paths.map { "A \($0)" }, "depth \(depth)")
            #expect(try store.changes(second, since: base) == above + ["D \(paths[depth])"], "depth \(depth)")
            #expect(
                try store.changes(third, since: second) == above + paths[depth...].map { "A \($0)" }, "depth \(depth)")
        }
    }

    static func listLayers(_ store: DriverStore) throws {
        let ids = ["Base", "Snap", "second-init", String(repeating: "a1", count: 32)]
        try store.create(ids[0], readWrite: false)
        try store.create(ids[1], on: ids[0], readWrite: false)
        try store.create(ids[2], on: ids[1])
        try store.create(ids[3])
        #expect(try store.driver.layers() == ids.map { try LayerID($0) }.sorted())
        #expect(try store.driver.parent(of: LayerID(ids[2])) == LayerID(ids[1]))
        #expect(try store.driver.parent(of: LayerID(ids[3])) == nil)
        try store.restart()
        #expect(try store.driver.layers() == ids.map { try LayerID($0) }.sorted())
        try store.remove(ids[2])
        #expect(try store.driver.layers() == [ids[0], ids[1], ids[3]].map { try LayerID($0) }.sorted())
    }
}
