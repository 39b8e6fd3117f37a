import Glibc
import LayerCompression
import LayerModel
import LayerMounts
import Synchronization
import TestSupport
import Testing

@testable import LayerDrivers

private func listing(_ path: String) -> [String] { directoryNames(path).sorted() }
private func make(_ path: String, _ text: String = "") throws { try writeFile(path, Array(text.utf8)) }

/// Messages from several threads.
final class FailureList: Sendable {
    private let list = Mutex<[String]>([])
    func add(_ text: String) { list.withLock { $0.append(text) } }
    var all: [String] { list.withLock { $0 } }
}

/// What Docker's aufs driver does wrong or not at all, and old stores on new kernels.
@Suite struct AUFSDefectTests {
    @Test func `K9 an unknown layer is not mounted, and leaves nothing`() throws {
        let store = try AUFSScratch()
        let error = #expect(throws: LayerError.self) {
            try store.driver.get(LayerID("none"), options: MountOptions())
        }
        #expect(error?.code == .notFound)
        #expect(listing(store.path("mnt")).isEmpty)
        try store.driver.put(LayerID("none"))
        #expect(throws: LayerError.self) { try store.driver.diffSize(LayerID("none"), since: nil) }
        #expect(throws: LayerError.self) { try store.diff("none", since: nil) }
    }

    @Test func `K9 a failed mount leaves no reference and no mount`() throws {
        let store = try AUFSScratch()
        for number in 1...90 { try store.create("\(number)", on: number == 1 ? nil : "\(number - 1)") }
        store.system.change { $0.failing = 1 }  // the first remount
        let error = #expect(throws: LayerError.self) {
            try store.driver.get(LayerID("90"), options: MountOptions())
        }
        #expect(error?.description.hasPrefix("error creating aufs mount to \(store.path("mnt/90"))") == true)
        #expect(store.driver.references.count(PathBytes(store.path("mnt/90"))) == 0)
        #expect(try !MountTable.isMountPoint(PathBytes(store.path("mnt/90"))))
        store.system.change { $0.failing = nil }
        _ = try store.driver.get(LayerID("90"), options: MountOptions())
        try store.driver.put(LayerID("90"))
        #expect(try !MountTable.isMountPoint(PathBytes(store.path("mnt/90"))), "one put is enough")
    }

    @Test func `K9 removing a base layer after its use removes its mount point`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        _ = try store.driver.get(LayerID("1"), options: MountOptions())
        try store.driver.put(LayerID("1"))
        try store.driver.remove(LayerID("1"))
        #expect(listing(store.path("mnt")).isEmpty)
    }

    @Test(arguments: ["", ".", "..", "a/b", "x-removing", ".tmp-x", ".ldiff-contents-1"])
    func `K9 names that are not layers are refused`(name: String) throws {
        let store = try AUFSScratch()
        #expect(throws: LayerError.self) { try store.create(name) }
        #expect(throws: LayerError.self) { try store.driver.remove(LayerID(name)) }
        #expect(listing(store.path("")) == ["diff", "layers", "mnt"])
    }

    @Test func `K9 a failed creation leaves nothing, and a second one replaces leftovers only`() throws {
        let store = try AUFSScratch()
        for part in ["mnt", "diff"] { mkdir(store.path("\(part)/1"), 0o755) }
        try store.create("1")
        #expect(listing(store.path("diff/1")).isEmpty)
        // What nobody can know to be a layer's stays, whatever it is called.
        mkdir(store.path("diff/foreign"), 0o755)
        try make(store.path("diff/foreign/letter"))
        #expect(throws: LayerError.self) { try store.create("foreign") }
        #expect(throws: LayerError.self) { try store.driver.remove(LayerID("foreign")) }
        #expect(listing(store.path("diff/foreign")) == ["letter"])
        try make(store.path("diff/1/kept"))
        let error = #expect(throws: LayerError.self) { try store.create("1") }
        #expect(error?.code == .alreadyExists)
        #expect(listing(store.path("diff/1")) == ["kept"])
        #expect(throws: LayerError.self) { try store.create("2", on: "2") }
        #expect(try store.driver.layers() == [LayerID("1")])
    }

    @Test func `K9 pseudo-links and opaque marks are not reported as changes, links are not followed on the host`()
        throws
    {
        let store = try AUFSScratch()
        try store.create("1")
        mkdir(store.path("diff/1/d"), 0o755)
        try make(store.path("diff/1/d/old"))
        symlink("/etc", store.path("diff/1/etc"))
        try store.create("2", on: "1")
        let own = store.path("diff/2")
        for name in [".wh..wh.plnk", ".wh..wh.orph"] { mkdir("\(own)/\(name)", 0o700) }
        try make("\(own)/.wh..wh.aufs")
        try make("\(own)/linked", "text")
        link("\(own)/linked", "\(own)/.wh..wh.plnk/123.456")
        mkdir("\(own)/d", 0o755)
        try make("\(own)/d/.wh..wh..opq")
        try make("\(own)/d/new")
        mkdir("\(own)/etc", 0o755)
        try make("\(own)/etc/passwd")
        let changes = try store.changes("2", since: "1")
        #expect(changes == ["C /d", "A /d/new", "D /d/old", "C /etc", "A /etc/passwd", "A /linked"])
        let names = try runProgram(["tar", "-tf", "-"], input: store.diff("2", since: "1")).lines
        #expect(names == ["d/", "d/.wh..wh..opq", "d/new", "etc/", "etc/passwd", "linked"])
    }

    @Test func `K12 one put too many does not unmount`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try store.create("2", on: "1")
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        try store.driver.put(LayerID("2"))
        let before = store.system.state.change { $0.unmounted.count }
        try store.driver.put(LayerID("2"))
        #expect(store.system.state.change { $0.unmounted.count } == before)
    }

    @Test func `hosts without aufs say so, and make nothing`() throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let home = PathBytes(scratch.path + "/aufs")
        // The real system: this kernel has none.
        let error = #expect(throws: LayerError.self) { try AUFSDriver(DriverConfiguration(home: home)) }
        #expect(error?.meansNotSupported == true)
        #expect(error?.description.contains("AUFS was not found in /proc/filesystems") == true)
        let system = PretendedAUFS()
        system.change { $0.isNested = true }
        let nested = #expect(throws: LayerError.self) {
            try AUFSDriver(DriverConfiguration(home: home), system: system)
        }
        #expect(nested?.meansNotSupported == true)
        #expect(nested?.description.contains("AUFS cannot be used in non-init user namespace") == true)
        #expect(listing(scratch.path).isEmpty)
        #expect(throws: LayerError.self) { try DriverRegistry.open(.aufs, DriverConfiguration(home: home)) }
    }

    @Test(arguments: [("aufs.mountopt=udba=none,warn_perm", true), ("aufs.size=1", false), ("overlay2.size=1G", true)])
    func `options are read`(option: String, isKnown: Bool) throws {
        guard isKnown else {
            #expect(throws: LayerError.self) { try AUFSScratch(options: [option]) }
            return
        }
        let store = try AUFSScratch(PretendedAUFS(shows: false), options: [option])
        try store.create("1")
        try store.create("2", on: "1")
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        let data = String(decoding: store.system.calls[0].data, as: UTF8.self)
        #expect(data.contains("udba=none,warn_perm") == option.hasPrefix("aufs"))
        #expect(throws: LayerError.self) {
            try store.driver.create(
                LayerID("3"), parent: nil, options: CreateOptions(storage: [StorageOption("size", "1G")]))
        }
    }

    @Test func `without dirperm1 the options leave it out`() throws {
        let store = try AUFSScratch(PretendedAUFS(shows: false))
        store.system.change { $0.hasDirperm1 = false }
        try store.create("1")
        try store.create("2", on: "1")
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        #expect(!String(decoding: store.system.calls[0].data, as: UTF8.self).contains("dirperm1"))
        #expect(store.driver.status().last == StatusRow("Dirperm1 Supported", "false"))
        let trials = store.system.state.change { $0.calls.count } - store.system.calls.count
        #expect(trials == 1, "tried once")
    }

    /// The trial happens in mounts of its own: what a killed process leaves of it is nothing.
    @Test func `the trial of dirperm1 makes nothing that others see, and says unknown where it tells nothing`() throws {
        let store = try AUFSScratch(PretendedAUFS(shows: false))
        #expect(store.driver.status().last == StatusRow("Dirperm1 Supported", "unknown"))
        try store.create("1")
        try store.create("2", on: "1")
        // No memory, no permission: nothing of the option.
        store.system.change { $0.trialErrno = ENOMEM }
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        #expect(!String(decoding: store.system.calls[0].data, as: UTF8.self).contains("dirperm1"))
        #expect(store.driver.status().last == StatusRow("Dirperm1 Supported", "unknown"))
        try store.driver.put(LayerID("2"))
        let before = try TreeSnapshot(store.path(""))
        let mounts = try readFile("/proc/self/mountinfo")
        store.system.change { $0.trialErrno = nil }
        store.system.change { state in
            state.duringTrial = { union in
                // It is there for whoever is in the middle of it, and for nobody else.
                access(union, F_OK) == 0 && (try? runProgram(["test", "-e", union]).status) == 0
                    && (try? runProgram(["nsenter", "-t", "\(getpid())", "-m", "test", "-e", union]).status) == 1
            }
        }
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        #expect(store.system.state.change { $0.wasPrivate } == true)
        #expect(store.driver.status().last == StatusRow("Dirperm1 Supported", "true"))
        try store.driver.put(LayerID("2"))
        #expect(try TreeSnapshot(store.path("")) == before)
        #expect(try readFile("/proc/self/mountinfo") == mounts)
    }

    @Test func `auplink runs before unmounting, again while the mount table changes, and may be missing`() throws {
        let store = try AUFSScratch(PretendedAUFS(shows: false))
        try store.create("1")
        try store.create("2", on: "1")
        func use() throws {
            _ = try store.driver.get(LayerID("2"), options: MountOptions())
            try store.driver.put(LayerID("2"))
        }
        store.system.change { $0.flushStatuses = [22, 22, 0] }
        try use()
        #expect(store.system.state.change { $0.flushed.count } == 3)
        store.system.change { $0.flushStatuses = [22, 22, 22, 22, 22, 22, 22] }
        try use()
        #expect(store.system.state.change { $0.flushed.count } == 8, "five times at most")
        store.system.change { $0.flushStatuses = [1, 0] }
        try use()
        #expect(store.system.state.change { $0.flushed.count } == 9, "another failure is only a warning")
        store.system.change { $0.hasProgram = false }
        try use()
        #expect(store.system.state.change { $0.unmounted.filter { $0.description.hasSuffix("/2") }.count } == 4)
    }

    @Test func `a busy mount is tried again, then the error is returned`() throws {
        let store = try AUFSScratch(PretendedAUFS(shows: false))
        try store.create("1")
        try store.create("2", on: "1")
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        store.system.change { $0.busy = 2 }
        try store.driver.put(LayerID("2"))
        _ = try store.driver.get(LayerID("2"), options: MountOptions())
        store.system.change { $0.busy = 100 }
        let error = #expect(throws: LayerError.self) { try store.driver.put(LayerID("2")) }
        #expect(error?.code == .inUse)
        store.system.change { $0.busy = 0 }
        try store.driver.remove(LayerID("2"))
    }

    @Test func `an old store is read on a kernel without aufs`() throws {
        let old = try AUFSScratch()
        try old.create("1")
        try make(old.path("diff/1/file"), "one")
        try old.create("2", on: "1")
        try make(old.path("diff/2/.wh.file"))
        try make(old.path("diff/2/new"), "two")
        var configuration = DriverConfiguration(home: old.home)
        let reader = try DriverRegistry.read(.aufs, configuration)
        #expect(try reader.layers() == [LayerID("1"), LayerID("2")])
        #expect(try reader.diffSize(LayerID("2"), since: LayerID("1")) == 3)
        var sink = MemorySink()
        _ = try reader.diff(LayerID("2"), since: LayerID("1"), into: &sink)
        #expect(try runProgram(["tar", "-tf", "-"], input: sink.bytes).lines == [".wh.file", "new"])
        // Also the whole tree, which a mount would show.
        var whole = MemorySink()
        _ = try reader.diff(LayerID("2"), since: nil, into: &whole)
        #expect(try runProgram(["tar", "-tf", "-"], input: whole.bytes).lines == ["new"])
        _ = try reader.files(of: LayerID("2")).open(PathBytes("new"))
        #expect(try reader.metadata(of: LayerID("2")).first == MetadataItem("DiffDir", PathBytes(old.path("diff/2"))))
        #expect(try reader.check().isEmpty)
        // What writes says why it cannot be.
        let refused = #expect(throws: LayerError.self) { try AUFSDriver(configuration) }
        #expect(refused?.meansNotSupported == true)
        configuration.home = PathBytes(old.scratch.path)
        let error = #expect(throws: LayerError.self) { try DriverRegistry.read(.aufs, configuration) }
        #expect(error?.code == .notFound, "no store of aufs")
    }

    @Test func `check finds what crashes left, and mends it`() throws {
        let store = try AUFSScratch()
        try store.create("1")
        try store.create("2", on: "1")
        for part in ["mnt", "diff"] { mkdir(store.path("\(part)/half"), 0o755) }
        // Of no form that a layer of ours or Docker's has.
        mkdir(store.path("diff/9-removing"), 0o755)
        mkdir(store.path("mnt/orphan"), 0o755)
        let found = try store.driver.check(repair: false)
        #expect(found.map(\.state).allSatisfy { $0 == .found } && found.count == 1, "\(found)")
        let mended = try store.driver.check(repair: true)
        #expect(mended.map(\.state).allSatisfy { $0 == .repaired })
        #expect(try store.driver.check(repair: true).isEmpty)
        #expect(listing(store.path("mnt")) == ["1", "2", "orphan"])
        #expect(listing(store.path("diff")) == ["1", "2", "9-removing"])
        try make(store.path("layers/2"), "1\n7\n")
        #expect(try store.driver.check(repair: true).map(\.kind) == [.lower])
        #expect(try readFile(store.path("layers/2")) == Array("1\n".utf8))
        try make(store.path("layers/2"), "../x\n")
        #expect(try store.driver.check(repair: true).map(\.state) == [.left])
        #expect(throws: LayerError.self) { try store.driver.get(LayerID("2"), options: MountOptions()) }
        try store.driver.remove(LayerID("2"))
    }
}
