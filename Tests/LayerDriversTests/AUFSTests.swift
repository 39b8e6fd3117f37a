import Glibc
import LayerModel
import LayerMounts
import TestSupport
import Testing

@testable import LayerDrivers

private func listing(_ path: String) -> [String] { directoryNames(path).sorted() }

private func make(_ path: String, _ text: String = "") throws { try writeFile(path, Array(text.utf8)) }

/// The tests that Docker's aufs driver has for itself, by their names.
@Suite struct AUFSTests {
    @Test func `NewDriver and AufsString`() throws {
        #expect(try AUFSScratch().driver.name.rawValue == "aufs")
    }

    @Test func `CreateDirStructure and NewDriverFromExistingDir`() throws {
        let store = try AUFSScratch()
        #expect(listing(store.path("")) == ["diff", "layers", "mnt"])
        let again = try AUFSDriver(DriverConfiguration(home: store.home), system: PretendedAUFS())
        #expect(try again.layers().isEmpty)
        #expect(listing(store.path("")) == ["diff", "layers", "mnt"])
    }

    @Test func `CreateNewDir and CreateNewDirStructure`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        for part in ["mnt", "diff", "layers"] { #expect(listing(store.path(part)) == ["1"]) }
        #expect(try readFile(store.path("layers/1")).isEmpty)
        try store.create("2", on: "1")
        try store.create("3", on: "2")
        #expect(try readFile(store.path("layers/3")) == Array("2\n1\n".utf8))
        #expect(try store.driver.parent(of: LayerID("3")) == LayerID("2"))
    }

    @Test func `RemoveImage`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try store.driver.remove(LayerID("1"))
        for part in ["mnt", "diff", "layers"] { #expect(listing(store.path(part)).isEmpty) }
        try store.driver.remove(LayerID("1"))
    }

    @Test func `GetWithoutParent, MountedFalseResponse`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        let path = try store.driver.get(LayerID("1"), options: MountOptions())
        #expect(path.description == store.path("diff/1"))
        try store.driver.put(LayerID("1"))
        #expect(store.system.calls.isEmpty)
    }

    @Test func `a union that lacks branches is found by check, and mounted anew`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try make(store.path("diff/1/file"), "lowest")
        try store.create("2", on: "1")
        try store.create("3", on: "2")
        let path = try store.driver.get(LayerID("3"), options: MountOptions())
        // As a kill between the first mount and the second leaves it.
        store.system.change { _ = $0.branches[path]?.popLast() }
        #expect(try store.driver.get(LayerID("3"), options: MountOptions()) == path)
        #expect(store.system.calls.count == 2)
        #expect(try readFile("\(path)/file") == Array("lowest".utf8))
        store.system.change { _ = $0.branches[path]?.popLast() }
        let found = try store.driver.repair()
        #expect(found.map(\.kind) == [.staleMount] && found.map(\.state) == [.repaired], "\(found)")
        #expect(try !MountTable.isMountPoint(path))
        #expect(try store.driver.repair() == [])
    }

    @Test func `CleanupWithNoDirs, CleanupWithDir`() throws {
        let store = try AUFSScratch()
        try store.driver.cleanup()
        try store.create("1")
        try store.driver.cleanup()
        #expect(store.exists("mnt/1"))
    }

    @Test func `MountWithParent, MountedTrueResponse`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try make(store.path("diff/1/file"), "below")
        try store.create("2", on: "1")
        let path = try store.driver.get(LayerID("2"), options: MountOptions(label: "l"))
        #expect(path.description == store.path("mnt/2"))
        #expect(try readFile("\(path)/file") == Array("below".utf8))
        let data =
            "br:\(store.path("diff/2"))=rw:\(store.path("diff/1"))=ro+wh,dio,xino=/dev/shm/aufs.xino,dirperm1,context=\"l\""
        #expect(store.system.calls == [AUFSMountCall(target: path, isRemount: false, data: Array(data.utf8))])
        #expect(try store.driver.get(LayerID("2"), options: MountOptions()) == path, "counted, not mounted again")
        #expect(store.system.calls.count == 1)
        try store.driver.put(LayerID("2"))
        #expect(try MountTable.isMountPoint(path))
        try store.driver.put(LayerID("2"))
        #expect(try !MountTable.isMountPoint(path))
        try store.driver.put(LayerID("2"))
        #expect(store.exists("mnt/2"), "the mount point stays, as Docker's does")
    }

    @Test func `RemoveMountedDir`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try store.create("2", on: "1")
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        try store.driver.remove(LayerID("2"))
        #expect(listing(store.path("mnt")) == ["1"] && listing(store.path("diff")) == ["1"])
        #expect(store.driver.references.inUse.isEmpty)
    }

    @Test func `CreateWithInvalidParent`() throws {
        let store = try AUFSScratch()
        let error = #expect(throws: LayerError.self) { try store.create("1", on: "docker") }
        #expect(error?.code == .notFound)
        for part in ["mnt", "diff", "layers"] { #expect(listing(store.path(part)).isEmpty) }
    }

    @Test func `GetDiff, Changes`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try store.create("2", on: "1")
        try store.mounted("2") { try make("\($0)/test.txt") }
        #expect(try store.diff("2", since: "1").count > 1024)
        #expect(try store.changes("2", since: nil) == ["A /test.txt"], "by comparing")
        #expect(try store.changes("2", since: "1") == ["A /test.txt"])
        try store.create("3", on: "2")
        try store.mounted("3") { try make("\($0)/test2.txt") }
        #expect(try store.changes("3", since: "2") == ["A /test2.txt"])
        #expect(try store.changes("3", since: "1") == ["A /test.txt", "A /test2.txt"], "an ancestor further below")
    }

    @Test func `DiffSize, ChildDiffSize`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try store.mounted("1") { path in
            try make("\(path)/file")
            truncate("\(path)/file", 1024)
        }
        #expect(try store.driver.diffSize(LayerID("1"), since: nil) == 1024)
        try store.create("2", on: "1")
        #expect(try store.driver.diffSize(LayerID("2"), since: LayerID("1")) == 0)
    }

    @Test func `Exists, Status`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        #expect(try store.driver.exists(LayerID("1")))
        #expect(try !store.driver.exists(LayerID("none")))
        let rows = store.driver.status()
        #expect(rows.map(\.name) == ["Root Dir", "Backing Filesystem", "Dirs", "Dirperm1 Supported"])
        #expect(rows[0].value == store.home.description)
        #expect(rows[2].value == "1")
    }

    @Test func `ApplyDiff`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try store.mounted("1") { try make("\($0)/test.txt", "text") }
        let layer = try store.diff("1", since: nil)
        try store.create("2")
        try store.create("3", on: "2")
        var source = MemorySource(layer)
        let applied = try store.driver.applyDiff(LayerID("3"), onto: LayerID("2"), from: &source)
        #expect(applied.size == 4)
        let seen = try store.mounted("3") { try readFile("\($0)/test.txt") }
        #expect(seen == Array("text".utf8))
    }

    @Test func `MountMoreThan42Layers`() throws {
        let store = try AUFSScratch()
        var expected: Set<String> = []
        for number in 1...126 {
            let parent = number == 1 ? nil : "\(number - 1)"
            try store.create("\(number)", on: parent)
            // What a container would have left: its own file, and every tenth time a deletion.
            try make(store.path("diff/\(number)/\(number)"))
            expected.insert("\(number)")
            if number % 10 == 0, let parent {
                try make(store.path("diff/\(number)/.wh.\(parent)"))
                expected.remove(parent)
            }
        }
        let seen = try store.mounted("126") { Set(directoryNames($0)) }
        #expect(seen == expected)
        let calls = store.system.calls
        #expect(calls.count > 1 && calls.dropFirst().allSatisfy(\.isRemount))
        let order = (1...126).reversed().map { PathBytes(store.path("diff/\($0)")) }
        #expect(calls.flatMap { PretendedAUFS.paths($0.data) } == order)
    }

    @Test func `MountMoreThan42LayersMatchingPathLength`() throws {
        // A length of path for which the page ends exactly with a branch, and others for which it ends in its suffix.
        for excess in [0, 3, 6] {
            let top = PathBytes("/var/tmp/" + String(repeating: "d", count: 40 + excess))
            let lowers = (0..<126).map { PathBytes("\(top)/diff/\(1_000_000 + $0)") }
            let branches = AUFSBranches(
                own: PathBytes("\(top)/diff/own"), lowers: lowers, label: "", hasDirperm1: true, extra: [])
            let room = branches.budget(pageSize: 4096)
            let calls = try branches.calls(target: top, pageSize: 4096)
            #expect(calls.flatMap { PretendedAUFS.paths($0.data) }.count == 127)
            #expect(calls.dropFirst().allSatisfy { $0.data.count <= room })
        }
    }

    @Test func `InitStaleCleanup`() throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let fresh = PathBytes(scratch.path + "/aufs")
        let id = String(repeating: "0a", count: 32)
        for part in [
            "", "/mnt", "/diff", "/layers", "/mnt/\(id)-removing", "/diff/\(id)-removing", "/diff/\(id)",
            "/diff/123-removing", "/diff/orphan",
        ] {
            mkdir(fresh.description + part, 0o755)
        }
        try make(fresh.description + "/diff/\(id)-removing/file")
        let driver = try AUFSDriver(DriverConfiguration(home: fresh), system: PretendedAUFS())
        #expect(try driver.layers().isEmpty)
        #expect(listing(fresh.description + "/diff").count == 4, "opening a store sweeps nothing of others")
        // Those of Docker's form are told; a name alone tells nobody what may go.
        #expect(try driver.repair().map(\.state) == [.left, .left, .left])
        #expect(listing(fresh.description + "/diff").count == 4)
    }

    @Test func `ConcurrentAccess`() throws {
        let store = try AUFSScratch(PretendedAUFS(shows: false))
        try store.create("base")
        let driver = store.driver
        let failures = FailureList()
        try onThreads(8) { worker in
            for number in 0..<32 {
                do {
                    let id = try LayerID("\(worker)-\(number)")
                    try driver.create(id, parent: LayerID("base"), options: CreateOptions())
                    _ = try driver.get(id, options: MountOptions())
                    try driver.put(id)
                    try driver.remove(id)
                } catch {
                    failures.add("\(error)")
                }
            }
        }
        #expect(failures.all.isEmpty)
        #expect(try store.driver.layers() == [LayerID("base")])
        #expect(store.system.calls.count == 256)
        #expect(listing(store.path("diff")) == ["base"])
    }
}
