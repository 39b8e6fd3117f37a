import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Every operation on a store of zfs whose pool is full of what others keep there: nothing but what was asked for may differ
/// afterwards, and looking asks zfs and changes nothing.
@Suite(.serialized) struct ZFSBystanderTests {
    private static let archive = Tar.archive([D("d/"), F("d/one", "first"), F("new", "text")])

    /// A store with layers, and strangers in and around it.
    private struct Scene {
        let store: DriverStore
        let root: String
        let pool: String
        /// Names in the root that are no layers.
        private(set) var strangers: [String] = []
        private var last: [String] = []

        init() throws {
            store = try DriverStore(.zfs)
            root = try ZFSPool.dataset(of: store.ground)
            pool = String(root.prefix { $0 != "/" })
            try store.layer("base") { try $0.file("kept", "kept") }
            try store.layer("child", on: "base") { try $0.file("own", "own") }
            try store.create("image", on: "base", readWrite: false)
            try store.apply(ZFSBystanderTests.archive, to: "image", onto: "base")
            try addDatasets()
            try addSnapshots()
            try TreeBuilder.make(store.home) { tree in
                for name in ["graph/photos", "graph/tmpfs", "photos"] { try tree.directory(name) }
                try tree.file("photos/letter", "mine")
                if access(store.home + "/sizes", F_OK) != 0 { try tree.directory("sizes") }
                try tree.file("sizes/photos", "mine")
            }
            guard mount("tmpfs", store.home + "/graph/tmpfs", "tmpfs", 0, nil) == 0 else { throw TestFailure("mount") }
            try store.restart()
            last = try recording()
        }

        private mutating func addDatasets() throws {
            let hex = String(repeating: "0123456789abcdef", count: 4)
            let none = [
                "photos", "removing-old-photos", "removing-0123456789abcdef", "ldiff-making-0123456789abcdef", "7", hex,
            ]
            for name in none { try ZFSPool.zfs("create", "-o", "mountpoint=none", "\(root)/\(name)") }
            // Inherits its mount point; of BuildKit's form; and one that says it is another layer.
            try ZFSPool.zfs("create", "-o", "canmount=noauto", "\(root)/f\(hex.dropFirst())")
            try ZFSPool.zfs("create", "-o", "mountpoint=legacy", "\(root)/backup2026beforetheupdate")
            try ZFSPool.zfs("create", "-o", "mountpoint=legacy", "-o", "ldiff:layer=base", "\(root)/copy-of-base")
            try ZFSPool.zfs("create", "-o", "mountpoint=none", "\(root)/photos/deep")
            try ZFSPool.zfs("snapshot", "\(root)/photos/deep@1")
            let clone = "e\(hex.dropFirst())-init"
            try ZFSPool.zfs("clone", "-o", "mountpoint=legacy", "\(root)/photos/deep@1", "\(root)/\(clone)")
            strangers = none + ["f\(hex.dropFirst())", "backup2026beforetheupdate", "copy-of-base", clone]
        }

        private func addSnapshots() throws {
            for name in ["sw-upgrade-2026", "ldiff-apply", "ldiff-size", "committed"] {
                try ZFSPool.zfs("snapshot", "\(root)/photos@\(name)")
            }
            try ZFSPool.zfs("hold", "keep", "\(root)/photos@sw-upgrade-2026")
            try ZFSPool.zfs("clone", "-o", "mountpoint=none", "\(root)/photos@ldiff-apply", "\(root)/photos-clone")
            // Of a layer: a user's snapshot, a clone of it elsewhere, and a dataset in it.
            for name in ["sw-mine", "before-update"] { try ZFSPool.zfs("snapshot", "\(root)/child@\(name)") }
            try ZFSPool.zfs("clone", "-o", "mountpoint=none", "\(root)/child@sw-mine", "\(pool)/clone-\(getpid())")
            try ZFSPool.zfs("create", "-o", "mountpoint=none", "\(root)/image/inside")
        }

        /// Everything in the pool, the mounts and the files beside the layers.
        private func recording() throws -> [String] {
            let facts = "type,guid,origin,mountpoint,canmount,quota,userrefs,defer_destroy,readonly,snapdir"
            var lines = try ZFSPool.zfs("get", "-rHp", "-o", "name,property,value,source", facts, pool)
                .split(separator: "\n").map(String.init)
            lines += try ZFSPool.zfs("get", "-rHp", "-s", "local", "-o", "name,property,value", "all", pool)
                .split(separator: "\n").map { "local " + $0 }
            lines += try runProgram(["zfs", "holds", "-r", "\(root)/photos@sw-upgrade-2026"]).lines
            lines += try mountPoints(below: store.ground.root).map { "mounted \($0)" }
            let found = try runProgram(["find", store.ground.root, "-xdev", "-printf", "file %P %y %i %m %U %G\\n"])
            return lines + found.lines
        }

        /// Does one thing, after which only lines that name one of `own` may differ. Our own snapshots of parents come and go with
        /// their clones.
        mutating func step(_ what: String, own: [String] = [], _ body: () throws -> Void) throws {
            do { try body() } catch { Issue.record("\(what): \(error)") }
            let now = try recording()
            let changed = Set(now).symmetricDifference(last).filter { line in
                !own.contains { line.contains("/\($0)") || line.contains("@\($0)") || line.contains(" \($0)") }
            }
            #expect(changed.isEmpty, "\(what): \(changed.sorted())")
            last = now
        }

        func end() throws {
            umount2(store.home + "/graph/tmpfs", 0)
            try ZFSPool.zfs("destroy", "\(pool)/clone-\(getpid())")
            try ZFSPool.zfs("release", "keep", "\(root)/photos@sw-upgrade-2026")
            store.close()
            DriverStore.unmountAll(below: store.home)
            try store.ground.takeDown()
        }
    }

    /// What each operation may change: its layer, the file of locks, the directory of mount points.
    private func own(_ ids: String...) -> [String] { ids + ["sw-", ".zfs.lock"] }

    @Test func `nothing of others is touched by any operation`() throws {
        var scene = try Scene()
        let (store, strangers, base) = (scene.store, scene.strangers, try LayerID("base"))
        try scene.step("open for writing") { try store.restart() }
        try scene.step("list and exists") { () throws in
            #expect(try store.driver.layers().map(\.description) == ["base", "child", "image"])
            for name in strangers {
                let exists = try (try? LayerID(name)).map { try store.driver.exists($0) }
                #expect(exists == false, "\(name)")
            }
        }
        for name in strangers where !name.hasPrefix("removing-") && !name.hasPrefix("ldiff-making-") {
            try scene.step("strangers: \(name)", own: own()) { () throws in
                expectFailure(.invalidArgument, "is no layer") { try store.remove(name) }
                expectFailure(.alreadyExists) { try store.create(name, on: "base") }
                expectFailure(.alreadyExists) {
                    var stream = MemorySource(Self.archive)
                    _ = try store.driver.createLayer(LayerID(name), on: base, from: &stream)
                }
                expectFailure(.notFound) { try store.get(name) }
                try store.put(name)
                expectFailure(.notFound) { try store.apply(Self.archive, to: name, onto: nil) }
                expectFailure(.notFound) { try store.create("on-it", on: name) }
            }
        }
        try change(&scene)
        try scene.step("check and repair") { () throws in
            #expect(try store.driver.check().isEmpty)
            #expect(try store.driver.repair().isEmpty)
        }
        try scene.step("what has something of others is not removed, and the error says what and how", own: own()) {
            () throws in
            expectFailure(.inUse, "clone-\(getpid())") { try store.remove("child") }
            expectFailure(.inUse, "image/inside") { try store.remove("image") }
            expectFailure(.inUse, "the layers that were made on it") { try store.remove("base") }
            #expect(try store.driver.layers().count == 3)
        }
        try scene.end()
    }

    private func change(_ scene: inout Scene) throws {
        let (store, root, base) = (scene.store, scene.root, try LayerID("base"))
        try scene.step("create", own: own("one")) { try store.create("one", on: "base") }
        try scene.step("import", own: own("two")) {
            var stream = MemorySource(Self.archive)
            _ = try store.driver.createLayer(LayerID("two"), on: base, from: &stream)
            #expect(try store.changes("two", since: "base") == ["A /d", "A /d/one", "A /new"])
        }
        try scene.step("an import that fails", own: own()) { () throws in
            var cut = MemorySource(Array(Self.archive.prefix(1500)))
            #expect(throws: LayerError.self) {
                try store.driver.createLayer(LayerID("three"), on: base, from: &cut)
            }
        }
        try scene.step("apply, and one that fails", own: own("one")) { () throws in
            try store.apply(Self.archive, to: "one", onto: "base")
            #expect(throws: LayerError.self) {
                try store.apply(Array(Self.archive.prefix(1500)), to: "one", onto: "base")
            }
        }
        try scene.step("mount", own: own("one")) { _ = try store.get("one") }
        try scene.step("unmount", own: own("one")) { try store.put("one") }
        try scene.step("cleanup", own: own("one")) {
            _ = try store.get("one")
            try store.driver.cleanup()
        }
        try scene.step("status, sizes, diff", own: own("one", "child")) {
            _ = store.driver.status()
            _ = try store.size("one", since: "base")
            _ = try store.diff("child", since: "base")
        }
        try scene.step("a layer that somebody mounted elsewhere, too", own: own("two", "elsewhere")) {
            let place = store.ground.root + "/elsewhere"
            try ZFSPool.zfs("set", "mountpoint=\(place)", "\(root)/two")
            try ZFSPool.zfs("mount", "\(root)/two")
            expectFailure(.inUse, "somebody mounted it at \(place)") { try store.remove("two") }
            // On zfs-fuse it can be mounted in one place only, which is theirs.
            expectFailure(.inUse, "the mount point \(place)") { try store.get("two") }
            expectFailure(.inUse, "the mount point \(place)") { _ = try store.diff("two", since: "base") }
            #expect(access(place + "/new", F_OK) == 0)
            try ZFSPool.zfs("umount", "\(root)/two")
        }
        try scene.step("remove", own: own("one", "two")) {
            for id in ["one", "two", "nobody"] { try store.remove(id) }
        }
        try scene.step("a mount of somebody else's under a layer's name", own: own()) {
            try store.create("tmpfs", on: "base")
            expectFailure(.inUse, "tmpfs is mounted there") { try store.get("tmpfs") }
            try store.put("tmpfs")
            try store.driver.cleanup()
            expectFailure(.inUse, "something else is mounted in it") { try store.remove("tmpfs") }
            #expect(try store.exists("tmpfs"))
            try ZFSPool.zfs("destroy", "\(root)/tmpfs")
        }
    }

    /// Runs the command in a store of strangers, with each `zfs` and `zpool` on record.
    @Test func `looking asks zfs, and runs nothing that changes anything`() throws {
        var scene = try Scene()
        let store = scene.store
        store.close()
        let bin = try TemporaryDirectory()
        let record = bin.path + "/record"
        for name in ["zfs", "zpool"] {
            let real = try #require(runProgram(["sh", "-c", "command -v \(name)"]).lines.first)
            try writeFile(
                bin.path + "/" + name, Array("#!/bin/sh\necho \"\(name) $*\" >>\(record)\nexec \(real) \"$@\"\n".utf8))
            chmod(bin.path + "/" + name, 0o755)
        }
        let program = try programBesideTests("ldiff")
        func look(_ words: [String]) throws -> (Int32, [String]) {
            unlink(record)
            let path =
                "PATH=\(bin.path):" + (getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin:/sbin:/bin")
            let result = try runProgram(["env", path, program, "layer"] + words + ["--home", store.home])
            let said = try readText(record).split(separator: "\n").map(String.init)
            return (result.status, said)
        }
        let words: [([String], Int32)] = [
            (["list"], 0), (["exists", "child"], 0), (["exists", "photos"], 66), (["status"], 0), (["check"], 0),
            (["metadata", "child"], 0),
        ]
        for (words, status) in words {
            try scene.step("\(words)") { () throws in
                let (found, programs) = try look(words)
                #expect(found == status, "\(words)")
                #expect(!programs.isEmpty)
                #expect(programs.allSatisfy { $0.hasPrefix("zfs get ") || $0.hasPrefix("zpool list ") }, "\(programs)")
            }
        }
        // zfs-fuse shows nothing that is not mounted as usual.
        for words in [["diff", "child", "-o", "/dev/null"], ["changes", "child"], ["size", "child"]] {
            try scene.step("\(words)", own: ZFSPool.isKernel ? [] : [".zfs.lock"]) { () throws in
                let (found, programs) = try look(words)
                #expect(found == 0, "\(words)")
                let allowed = ["zfs get ", "zpool list "] + (ZFSPool.isKernel ? [] : ["zfs mount "])
                #expect(programs.allSatisfy { line in allowed.contains { line.hasPrefix($0) } }, "\(programs)")
            }
        }
        try scene.end()
    }
}
