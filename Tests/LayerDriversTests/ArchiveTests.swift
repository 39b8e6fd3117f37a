import Glibc
import LayerDrivers
import TestSupport
import Testing

/// The archive cases of graphtest, through layers of a driver.
enum ArchiveTests {
    static func noChanges(_ store: DriverStore) throws {
        try store.layer("empty")
        try store.layer("still-empty", on: "empty")
        #expect(try store.changes("still-empty", since: "empty") == [])
        #expect(try store.changes("empty", since: nil) == [])
        try store.createBase("Base")
        // Reading everything, and touching a directory's time alone, is no change.
        try store.layer("Same", on: "Base") { tree in
            _ = try TreeSnapshot(tree.root)
            try tree.times("a subdir", TreeBuilder.time + 5)
        }
        #expect(try store.changes("Same", since: "Base") == [])
        #expect(try store.changes("Base", since: nil) == ["A /a file", "A /a subdir"])
    }

    static func changesWithChanges(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            try tree.directory("dir1")
            try tree.directory("dir1/subfolder")
            try tree.file("dir1/file1-1", "#!/bin/sh\necho hello\n", 0o755)
            try tree.file("dir1/file1-2", "bye", 0o777)
            try tree.file("other", "untouched")
        }
        let layer = Tar.archive([
            D("dir1/"), F("dir1/file1-1", "changed", 0o755), W("dir1/.wh.file1-2"), D("dir1/subfolder/", 0o700),
            F("dir1/subfolder/newFile", "new"),
        ])
        try store.create("Upper", on: "Base")
        try store.apply(layer, to: "Upper", onto: "Base")
        #expect(
            try store.changes("Upper", since: "Base") == [
                "C /dir1", "C /dir1/file1-1", "D /dir1/file1-2", "C /dir1/subfolder", "A /dir1/subfolder/newFile",
            ])
    }

    static func changesOfOneRewrittenFile(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            for name in ["dir1", "dir1/dir2", "dir1/dir2/dir3"] { try tree.directory(name) }
            try tree.file("dir1/dir2/dir3/file.txt", "one")
        }
        let expected = ["C /dir1", "C /dir1/dir2", "C /dir1/dir2/dir3", "C /dir1/dir2/dir3/file.txt"]
        try store.layer("Written", on: "Base") { try $0.write("dir1/dir2/dir3/file.txt", Array("two".utf8)) }
        #expect(try store.changes("Written", since: "Base") == expected)
        try store.create("Applied", on: "Base")
        try store.apply(Tar.archive([F("dir1/dir2/dir3/file.txt", "two")]), to: "Applied", onto: "Base")
        #expect(try store.changes("Applied", since: "Base") == expected)
    }

    static func changesDirsMutated(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            for index in 1...5 {
                try tree.directory("dir\(index)")
                try tree.file("dir\(index)/inside")
                try tree.file("file\(index)", "content \(index)")
            }
            for index in 1...2 { try tree.link(symbolic: "symlink\(index)", to: "target\(index)") }
        }
        try store.layer("Upper", on: "Base") { tree in
            try tree.remove("dir1/inside"); try tree.remove("dir1")
            try tree.remove("file1")
            try tree.remove("symlink1")
            try tree.file("file2", "another, longer content", time: TreeBuilder.time + 1)
            try tree.remove("file3"); try tree.file("file3", "replaced", 0o755)
            try tree.times("file4", TreeBuilder.time + 9)
            try tree.remove("file5"); try tree.directory("file5")
            try tree.file("file5/now-inside")
            try tree.remove("dir2/inside"); try tree.remove("dir2"); try tree.file("dir2", "now a file")
            try tree.times("dir3", TreeBuilder.time + 9)
            try tree.mode("dir4", 0o700)
            try tree.owner("dir5/inside", 3, 4)
            try tree.remove("symlink2"); try tree.link(symbolic: "symlink2", to: "target1")
            try tree.directory("dirnew")
            try tree.link(symbolic: "symlinknew", to: "symlink1")
        }
        let expected = [
            "D /dir1", "C /dir2", "C /dir4", "C /dir5", "C /dir5/inside", "A /dirnew", "D /file1", "C /file2",
            "C /file3",
            "C /file4", "C /file5", "A /file5/now-inside", "D /symlink1", "C /symlink2", "A /symlinknew",
        ]
        #expect(try store.changes("Upper", since: "Base") == expected)
        #expect(try store.comparedChanges("Upper", since: "Base") == expected)
    }

    static func applyLayer(_ store: DriverStore) throws {
        for seed in UInt64(1)...4 {
            try randomPair(store, seed)
            let layer = try store.diff("upper-\(seed)", since: "base-\(seed)")
            try store.create("copy-\(seed)", on: "base-\(seed)", readWrite: false)
            try store.apply(layer, to: "copy-\(seed)", onto: "base-\(seed)")
            try store.expectSame("copy-\(seed)", "upper-\(seed)")
            // A copy lists the same changes. Access times and the like cannot differ, whole seconds can.
            let lines = try store.changes("copy-\(seed)", since: "base-\(seed)")
            #expect(try lines == store.changes("upper-\(seed)", since: "base-\(seed)"), "seed \(seed)")
        }
    }

    static func nativeEqualsCompared(_ store: DriverStore) throws {
        for seed in UInt64(11)...14 {
            try randomPair(store, seed)
            let native = try store.changes("upper-\(seed)", since: "base-\(seed)")
            #expect(try native == store.comparedChanges("upper-\(seed)", since: "base-\(seed)"), "seed \(seed)")
            #expect(!native.isEmpty)
        }
    }

    /// `base-<seed>` with a random tree, `upper-<seed>` on it with random changes.
    private static func randomPair(_ store: DriverStore, _ seed: UInt64) throws {
        func change(_ id: String, _ seed: UInt64, _ count: Int) throws {
            try store.inside(id) { path in
                var tree = RandomTree(path, seed: seed, startTime: TreeBuilder.time + Int64(seed % 1000) * 1000)
                tree.privileged = !store.facts.isShownByFuse
                tree.change(count)
            }
        }
        try store.create("base-\(seed)")
        try change("base-\(seed)", seed * 10, 40)
        try store.create("upper-\(seed)", on: "base-\(seed)")
        try change("upper-\(seed)", seed * 10 + 1, 25)
    }

    static func sizeWithHardLinks(_ store: DriverStore) throws {
        try store.layer("Base")
        try store.layer("Upper", on: "Base") { tree in
            try tree.file("file1", "abc")
            try tree.link("file2", to: "file1")
        }
        #expect(try store.size("Upper", since: "Base") == 3)
        #expect(try store.size("Upper", since: nil) == 3)
    }

    static func sizeWithNoChanges(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Upper", on: "Base")
        #expect(try store.size("Upper", since: "Base") == 0)
        #expect(try store.size("Upper", since: nil) == 9)
    }

    static func sizeWithOnlyDeletions(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.layer("Upper", on: "Base") { try $0.remove("a file") }
        #expect(try store.size("Upper", since: "Base") == 0)
        #expect(try store.changes("Upper", since: "Base") == ["D /a file"])
    }

    static func sizeOfTwoFiles(_ store: DriverStore) throws {
        try store.layer("Base") { try $0.file("file2", "old") }
        try store.layer("Upper", on: "Base") { tree in
            try tree.file("file1", "abc")
            try tree.file("file2", "def", time: TreeBuilder.time + 1)
            try tree.directory("directory")
        }
        #expect(try store.size("Upper", since: "Base") == 6)
    }

    static func hardLinkOrder(_ store: DriverStore) throws {
        try store.layer("Base")
        let names = ["file1.txt", "file2.txt", "file3.txt", "sub/file0.txt"]
        // Whatever order they were made in, the first by name carries the contents.
        for (id, order) in [("Forward", names), ("Backward", Array(names.reversed()))] {
            try store.layer(id, on: "Base") { tree in
                try tree.directory("sub")
                try tree.file(order[0], "Test")
                for name in order.dropFirst() { try tree.link(name, to: order[0]) }
                try tree.finish()
            }
        }
        let forward = try store.diff("Forward", since: "Base")
        let backward = try store.diff("Backward", since: "Base")
        #expect(withoutTimesOfMarks(forward) == withoutTimesOfMarks(backward))
        let lines = try tarListing(forward)
        #expect(lines.filter { $0.hasPrefix("h") }.count == 3)
        #expect(lines.first { $0.contains("file1.txt") }?.hasPrefix("-") == true)
        try store.create("Copy", on: "Base")
        try store.apply(forward, to: "Copy", onto: "Base")
        #expect(try store.snapshot("Copy")["sub/file0.txt"]?.firstPath == "file1.txt")
    }

    static func applyLayerWhiteouts(_ store: DriverStore) throws {
        let steps: [(layer: [TarPiece], expected: [String])] = [
            (
                [
                    F(".hidden"), D("deep/"), F("deep/x"), D("deep/y/"), F("gone"), D("home/"), F("home/.a"),
                    D("home/.b/"),
                    F("home/.b/c"), D("home/d/"), F("home/d/e"), F("home/d/f"), F("home/g"), F("rest"),
                ],
                [
                    ".hidden", "deep/", "deep/x", "deep/y/", "gone", "home/", "home/.a", "home/.b/", "home/.b/c",
                    "home/d/",
                    "home/d/e", "home/d/f", "home/g", "rest",
                ]
            ),
            (
                // A nested opaque marker that comes after what its own layer puts there.
                [
                    F(".new"), W(".wh.gone"), D("home/"), F("home/.n"), W("home/.wh..wh..opq"), D("home/d/"),
                    F("home/d/f"),
                ],
                [".hidden", ".new", "deep/", "deep/x", "deep/y/", "home/", "home/.n", "home/d/", "home/d/f", "rest"]
            ),
            (
                // Two dots: the deleted name begins with one.
                [W(".wh..hidden"), W(".wh.rest"), D("home/"), F("home/.a"), W("home/.wh.d"), D("deep/")],
                [".new", "deep/", "deep/x", "deep/y/", "home/", "home/.a", "home/.n"]
            ),
            ([F(".last"), W(".wh..wh..opq"), F("rest")], [".last", "rest"]),
        ]
        var parent: String?
        for (index, step) in steps.enumerated() {
            let id = "layer-\(index)"
            try store.create(id, on: parent, readWrite: false)
            try store.apply(Tar.archive(step.layer), to: id, onto: parent)
            #expect(try store.snapshot(id).paths == step.expected, "layer \(index)")
            parent = id
        }
        // Each layer again from its own diff.
        parent = nil
        for index in steps.indices {
            let layer = try store.diff("layer-\(index)", since: index > 0 ? "layer-\(index - 1)" : nil)
            try store.create("again-\(index)", on: parent, readWrite: false)
            try store.apply(layer, to: "again-\(index)", onto: parent)
            try store.expectSame("again-\(index)", "layer-\(index)")
            parent = "again-\(index)"
        }
    }

    static func overlayTarUntar(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            for name in ["d1", "d2", "d3"] {
                try tree.directory(name)
                try tree.file(name + "/f1")
                try tree.file(name + "/f2")
            }
        }
        try store.layer("Upper", on: "Base") { tree in
            for (name, mode) in [("d1", mode_t(0o700)), ("d2", 0o750)] {
                for file in ["f1", "f2"] { try tree.remove("\(name)/\(file)") }
                try tree.remove(name)
                try tree.directory(name, mode)
            }
            try tree.file("d2/f1", "again")
            try tree.remove("d3/f1")
        }
        let layer = try store.diff("Upper", since: "Base")
        let lines = try tarListing(layer)
        if store.facts.writesOpaqueMarkers {
            #expect(lines.contains("-rwx------ 0/0 d1/.wh..wh..opq"), "\(lines)")
            let mode = store.facts.isShownByFuse ? "-rwx------" : "-rwxr-x---"
            #expect(lines.contains("\(mode) 0/0 d2/.wh..wh..opq"), "\(lines)")
        }
        #expect(lines.contains { $0.hasSuffix(" d3/.wh.f1") }, "\(lines)")
        try store.create("Copy", on: "Base")
        try store.apply(layer, to: "Copy", onto: "Base")
        try store.expectSame("Copy", "Upper")
        #expect(try store.changes("Copy", since: "Base") == store.changes("Upper", since: "Base"))
    }
}
