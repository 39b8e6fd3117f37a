import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// The defects of Docker's zfs driver, and what a store of zfs is made of.
@Suite(.serialized) struct ZFSDriverTests {
    private func withStore(_ body: (DriverStore, String) throws -> Void) throws {
        let store = try DriverStore(.zfs)
        try body(store, ZFSPool.dataset(of: store.ground))
        try store.finish()
    }

    @Test func `a store has Docker's layout`() throws {
        try withStore { store, root in
            try store.createBase("base")
            try store.create("child", on: "base", storage: [StorageOption("size", "50M")])
            let names = try ZFSPool.listing(root)
            let origin = try #require(names.first { $0.contains("@") }).dropFirst(root.count + 1)
            #expect(origin.hasPrefix("base@sw-") && origin.count == 24)
            #expect(names == [root, "\(root)/base", "\(root)/\(origin)", "\(root)/child"])
            func value(_ property: String, _ name: String) throws -> String {
                try ZFSPool.zfs("get", "-Hp", "-o", "value", property, "\(root)/\(name)")
            }
            // zfs-fuse mounts where this says; the path comes with the first mount.
            #expect(try value("mountpoint", "child") == "legacy")
            #expect(try value("quota", "child") == "52428800")
            #expect(try value("origin", "child") == "\(root)/\(origin)")
            #expect(try value("defer_destroy", String(origin)) == "on")
            #expect(try value("ldiff:for", String(origin)) == "clone")
            for (property, expected) in [
                ("snapdir", "hidden"), ("com.sun:auto-snapshot", "false"), ("ldiff:layer", "child"),
            ] {
                #expect(try value(property, "child") == expected)
            }
            let path = try store.get("child")
            #expect(path == store.home + "/graph/child")
            let type = ZFSPool.isKernel ? "zfs" : "fuse.zfs"
            let table = String(decoding: try readFile("/proc/thread-self/mountinfo"), as: UTF8.self)
            #expect(table.contains(" \(path) ") && table.contains(" - \(type) \(root)/child "))
            try store.put("child")
            #expect(access(path, F_OK) != 0)
            // The snapshot goes with its clone.
            try store.remove("child")
            #expect(try ZFSPool.listing(root) == [root, "\(root)/base"])
        }
    }

    @Test func `K10 a hundred children at once get a hundred snapshots`() throws {
        try withStore { store, root in
            try store.createBase("base")
            let driver = store.driver
            try onThreads(4) { thread in
                for index in 0..<25 {
                    try driver.create(
                        LayerID("child-\(thread)-\(index)"), parent: LayerID("base"), options: CreateOptions())
                }
            }
            #expect(try store.driver.layers().count == 101)
            #expect(try ZFSPool.listing(root).filter { $0.contains("@") }.count == 100)
        }
    }

    @Test func `K10 what exists is never destroyed to make room, whoever made it`() throws {
        try withStore { store, root in
            try store.createBase("base")
            try store.create("child", on: "base")
            // Made by others since the driver learned what there is: one of ours, and one of somebody else's.
            try ZFSPool.zfs("create", "-o", "mountpoint=legacy", "-o", "ldiff:layer=late", "\(root)/late")
            try ZFSPool.zfs("create", "-o", "mountpoint=none", "\(root)/foreign")
            try ZFSPool.zfs("snapshot", "\(root)/late@kept")
            try ZFSPool.zfs("clone", "-o", "mountpoint=legacy", "\(root)/late@kept", "\(root)/dependent")
            for id in ["base", "late", "foreign"] {
                for parent in [nil, "child"] { expectFailure(.alreadyExists) { try store.create(id, on: parent) } }
            }
            let names = try ZFSPool.listing(root)
            for name in ["base", "child", "late", "late@kept", "foreign", "dependent"] {
                #expect(names.contains("\(root)/\(name)"), "\(name) of \(names)")
            }
            #expect(!names.contains { $0.hasPrefix("\(root)/child@") }, "a snapshot stays: \(names)")
            // Known now by asking; the foreign dataset is no layer.
            #expect(try store.exists("late"))
            #expect(try !store.exists("foreign"))
            #expect(try store.driver.layers() == ["base", "child", "late"].map { try LayerID($0) })
            expectFailure(.inUse, "that are no layers: \(root)/dependent") { try store.remove("late") }
            try ZFSPool.zfs("destroy", "\(root)/dependent")
            expectFailure(.inUse, "late@kept") { try store.remove("late") }
            try ZFSPool.zfs("destroy", "\(root)/late@kept")
            try ZFSPool.zfs("destroy", "\(root)/foreign")
        }
    }

    @Test func `K10 Status is asked anew each time`() throws {
        try withStore { store, root in
            func row(_ name: String) -> String { store.driver.status().first { $0.name == name }?.value ?? "" }
            #expect(row("Zpool") == String(root.prefix { $0 != "/" }))
            #expect(row("Zpool Health") == "ONLINE")
            #expect(row("Parent Dataset") == root)
            #expect(row("Parent Quota") == "no")
            #expect(row("Compression") == "off")
            let used = UInt64(row("Space Used By Parent")) ?? 0
            #expect(used > 0 && (UInt64(row("Space Available")) ?? 0) > 1 << 20)
            try ZFSPool.zfs("set", "quota=300M", root)
            try ZFSPool.zfs("set", "compression=on", root)
            #expect(row("Parent Quota") == String(300 << 20) && row("Compression") != "off")
            try store.layer("base") { try $0.file("f", bytes: randomContent(3 << 20, seed: 1)) }
            try ZFSPool.zfs("snapshot", "\(root)@settled")
            try ZFSPool.zfs("destroy", "\(root)@settled")
            #expect((UInt64(row("Space Used By Parent")) ?? 0) >= used + 3 << 20)
        }
    }

    @Test func `K10 a layer that others destroyed is removed without an error, and known to be gone`() throws {
        try withStore { store, root in
            try store.createBase("base")
            try store.create("child", on: "base")
            try ZFSPool.zfs("destroy", "-r", "\(root)/child")
            expectFailure(.notFound, "unknown layer") { try store.get("child") }
            #expect(try !store.exists("child"))
            #expect(try mountPoints(below: store.home).isEmpty)
            try store.remove("child")
            try store.create("child", on: "base")
            try store.verifyBase("child")
        }
    }

    @Test func `K10 a busy layer is gone for callers, and destroyed when it is free`() throws {
        try withStore { store, root in
            try store.createBase("base")
            let path = try store.get("base")
            // A process in another mount namespace keeps the mount, and with it the dataset.
            let holder = try Daemon(
                ["unshare", "-m", "--propagation", "private", "sleep", "60"], log: store.ground.root + "/log")
            try holder.wait(until: "in its namespace") {
                try readText("/proc/\(holder.process)/comm") == "sleep"
            }
            #expect(try readText("/proc/\(holder.process)/mountinfo").contains(path))
            do {
                try store.remove("base")
                #expect(try !store.exists("base"))
                #expect(try store.driver.layers().isEmpty)
                let left = try ZFSPool.listing(root)
                #expect(left.count == 2 && left[1].hasPrefix("\(root)/removing-"), "\(left)")
                try store.createBase("base")
                let findings = try store.driver.check(repair: false)
                #expect(findings.map(\.kind) == [.dataset])
            } catch let error as LayerError {
                // zfs refuses to rename what is busy in this way: then nothing has happened.
                #expect(error.code == .inUse, "\(error)")
                #expect(error.description.contains("process \(holder.process) has it mounted at \(path)"), "\(error)")
                #expect(try store.exists("base"))
            }
            holder.kill()
            usleep(300_000)
            unlink(store.ground.root + "/log")
            _ = try store.driver.check(repair: true)
            #expect(try store.driver.check(repair: false).isEmpty)
            #expect(try !ZFSPool.listing(root).contains { $0.contains("removing-") })
            try store.remove("base")
        }
    }

    @Test func `K10 a failed create leaves no dataset and no snapshot`() throws {
        try withStore { store, root in
            try store.createBase("base")
            let before = try ZFSPool.listing(root)
            // A quota that is smaller than what the parent holds is refused by zfs itself for some versions only; one that
            // is no number by all.
            for size in ["much", "-1", "1x"] {
                for parent in [nil, "base"] {
                    expectFailure(.invalidArgument) {
                        try store.create("limited", on: parent, storage: [StorageOption("size", size)])
                    }
                }
            }
            try ZFSPool.zfs("set", "quota=1M", root)
            #expect(try ZFSPool.listing(root) == before)
            #expect(try !store.exists("limited"))
            try ZFSPool.zfs("set", "quota=none", root)
        }
    }

    @Test func `a parent stays while it has children, and the error says why`() throws {
        try withStore { store, _ in
            try store.createBase("base")
            try store.create("child", on: "base")
            expectFailure(.inUse, "has dependent clones") { try store.remove("base") }
            try store.verifyBase("child")
            try store.remove("child")
            try store.remove("base")
        }
    }

    @Test func `one listing a start, and few programs a layer`() throws {
        try withStore { store, _ in
            try store.createBase("base")
            for index in 0..<5 { try store.create("child-\(index)", on: "base") }
            func programs(_ body: () throws -> Void) rethrows -> [String] {
                let before = store.log.all.count
                try body()
                return store.log.all[before...].filter { $0.contains("[zfs]") && !$0.hasSuffix("finished") }
            }
            let start = try programs { try store.restart() }
            #expect(start.count == 1, "\(start)")
            let create = try programs { try store.create("next", on: "base") }
            // Docker needs five: snapshot, list, clone, list, destroy.
            #expect(create.count == 3, "\(create)")
            let next = try LayerID("next")
            var isThere = false
            let exists = try programs { isThere = try store.driver.exists(next) }
            #expect(isThere)
            #expect(exists.isEmpty, "\(exists)")
        }
    }
}
