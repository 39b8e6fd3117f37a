import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Regression tests of the originals' defects, first half: layers and mounts.
enum Defects {
    static func existingID(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        let before = try store.listing()
        for _ in 0..<3 {
            expectFailure(.alreadyExists) { try store.create("Child", on: "Base") }
            expectFailure(.alreadyExists) { try store.create("Base") }
            // Every other mistake in the same call leaves the layer alone, too.
            for parent in ["nobody", "Child"] {
                do {
                    try store.create("Child", on: parent, storage: [StorageOption("colour", "red")])
                    Issue.record("created")
                } catch is LayerError {}
            }
        }
        #expect(try store.listing() == before)
        try store.verifyBase("Child")
        try store.verifyBase("Base")
    }

    /// `FaultCases` fails every call of a create; here are the failures that a user can bring about.
    static func failedCreate(_ store: DriverStore) throws {
        try store.createBase("Base")
        let before = try store.listing()
        for index in 0..<10 {
            expectFailure(.notFound) { try store.create("x-\(index)", on: "nobody") }
            expectFailure(.invalidArgument) { try store.create("y-\(index)", on: "y-\(index)") }
            expectFailure(.invalidArgument) {
                try store.create("z-\(index)", on: "Base", storage: [StorageOption("colour", "red")])
            }
        }
        #expect(try store.listing() == before)
        #expect(try store.driver.layers() == [LayerID("Base")])
    }

    static func noSleep(_ store: DriverStore) throws {
        try store.layer("Base") { try $0.file("f", "old") }
        try store.layer("Middle", on: "Base") { try $0.file("g", "new") }
        try store.create("Top", on: "Middle")
        var fastest = Duration.seconds(60)
        for index in 0..<3 {
            try store.build("Top") { try $0.write("f", Array("ne\(index)".utf8)) }
            // Not the direct parent: the way in which Docker waits for the next second.
            var layer: [UInt8] = []
            waitForNextSecond()
            let time = try ContinuousClock().measure { layer = try store.diff("Top", since: "Base") }
            fastest = min(fastest, time)
            try store.create("copy-\(index)", on: "Base")
            try store.apply(layer, to: "copy-\(index)", onto: "Base")
            try store.inside("copy-\(index)") { path throws in #expect(try fileText(path + "/f") == "ne\(index)") }
        }
        // From the beginning of a second on, Docker waits for nearly all of it each time; a busy machine is not slow each time.
        #expect(fastest < .milliseconds(800), "\(fastest)")
    }

    private static func waitForNextSecond() {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        usleep(useconds_t((1_000_000_000 - now.tv_nsec) / 1000 + 1))
    }

    static func mountedHome(_ facts: DriverFacts) throws {
        let ground = try facts.ground()
        let home = ground.root + "/" + facts.name.rawValue
        guard facts.name != .zfs else { return try ground.takeDown() }
        let files = try DriverGround.loop(["mkfs.ext4", "-q", "-F"], megabytes: 64)
        guard mkdir(home, 0o700) == 0, mount(files.root, home, "", UInt(MS_BIND), nil) == 0 else {
            throw TestFailure("bind mount: \(errno)")
        }
        do {
            let store = try DriverStore(facts, on: DriverGround(root: ground.root, takeDown: {}))
            try store.createBase("Base")
            try store.create("Child", on: "Base")
            _ = try store.get("Child")
            try store.driver.cleanup()
            #expect(try mountPoints(below: home) == [home])
            try store.verifyBase("Child")
            try store.remove("Child")
            try store.remove("Base")
            store.close()
            #expect(try mountPoints(below: home) == [home])
        }
        // The helper of fuse-overlayfs ends a moment after its mount is gone.
        var tries = 0
        while umount2(home, 0) != 0 {
            guard errno == EBUSY, tries < 500 else { throw TestFailure("umount \(home): \(errno)") }
            tries += 1
            sleepBriefly()
        }
        try files.takeDown()
        try ground.takeDown()
    }

    static func twoHomes(_ facts: DriverFacts) throws {
        guard case .on(let makeOther) = facts.quota, let other = try makeOther() else { return }
        let first = try DriverStore(facts)
        let second = try DriverStore(facts, on: other)
        let third = try DriverStore(facts)
        func backing(_ store: DriverStore) -> String? {
            store.driver.status().first { $0.name == "Backing Filesystem" }?.value
        }
        #expect(backing(first) != backing(second) && backing(first) == backing(third))
        for (store, limits) in [(first, false), (second, true), (third, false)] {
            let result = Result { try store.create("limited", storage: [StorageOption("size", "10M")]) }
            let isLimited = (try? result.get()) != nil
            #expect(isLimited == limits)
            try store.finish()
        }
    }

    static func foreignMount(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        let path = try store.get("Child")
        try store.put("Child")
        guard try mountPoints(below: path).isEmpty else { throw TestFailure("mounted after put") }
        // Somebody else's, after ours has gone.
        try TreeBuilder.make(path) { _ in }
        let foreign = try Mount("tmpfs", at: path)
        try store.put("Child")
        try store.put("Child")
        #expect(try mountPoints(below: path) == [path])
        try foreign.unmount()
        rmdir(path)
        try store.verifyBase("Child")
    }

    static func oddHome(_ facts: DriverFacts) throws {
        guard facts.name != .zfs else { return }
        let ground = try facts.ground()
        // Long enough that a few absolute paths pass a page of options.
        // Where a driver cannot take a byte, its own tests see to it that it says so.
        let odd =
            switch facts.name {
            case .fuseOverlayFS: "with,comma \\back"
            case .aufs: "with \\back"
            default: "with:colon,comma \\back"
            }
        let root = ground.root + "/" + odd + String(repeating: "x", count: 180)
        guard mkdir(root, 0o755) == 0 else { throw TestFailure("mkdir \(root)") }
        let store = try DriverStore(facts, on: DriverGround(root: root, takeDown: {}))
        try store.createBase("Base")
        let top = try store.addManyLayers(on: "Base", 40)
        try store.checkManyLayers(top, 40)
        try store.layer("Top", on: top) { try $0.remove("a file") }
        #expect(try store.changes("Top", since: top) == ["D /a file"])
        let layer = try store.diff("Top", since: top)
        try store.create("Copy", on: top, readWrite: false)
        try store.apply(layer, to: "Copy", onto: top)
        try store.expectSame("Copy", "Top")
        try store.removeAll()
        store.close()
        try ground.takeDown()
    }

    static func projectIDs(_ facts: DriverFacts) throws {
        guard case .on(let ground) = facts.quota, let place = try ground() else { return }
        let roots = [place.root + "/one", place.root + "/two"]
        for root in roots { guard mkdir(root, 0o755) == 0 else { throw TestFailure("mkdir \(root)") } }
        let stores = try roots.map { try DriverStore(facts, on: DriverGround(root: $0, takeDown: {})) }
        func project(_ store: DriverStore, _ id: String) throws -> Int {
            let result = try runProgram(["lsattr", "-pd", store.home + "/" + id])
            guard let text = result.lines.first?.split(separator: " ").first, let number = Int(text) else {
                throw TestFailure("lsattr: \(result.errors)")
            }
            return number
        }
        var used: [Set<Int>] = [[], []]
        for round in 0..<8 {
            for (index, store) in stores.enumerated() {
                for name in ["a", "b"] { try store.create(name, storage: [StorageOption("size", "4M")]) }
                let found = try Set(["a", "b"].map { try project(store, $0) })
                #expect(found.count == 2 && !found.contains(0), "\(found)")
                used[index].formUnion(found)
                // A start in between must not forget which ids are taken.
                if round == 3 { try store.restart() }
                try store.remove(round % 2 == 0 ? "a" : "b")
                try store.create("c", storage: [StorageOption("size", "4M")])
                let (third, kept) = (try project(store, "c"), try project(store, round % 2 == 0 ? "b" : "a"))
                #expect(third != kept)
                used[index].insert(third)
                try store.removeAll()
            }
        }
        #expect(used[0].isDisjoint(with: used[1]), "\(used)")
        // 24 layers were made in each; ids of removed ones came again.
        #expect(used[0].count <= 6 && used[1].count <= 6, "\(used)")
        // A home that gets an id itself hands it to what lies in it: a layer that is renamed into it keeps its own, and its limit.
        let home = stores[0].home
        let marked = try runProgram(["xfs_io", "-c", "chproj 77", "-c", "chattr +P", home])
        guard marked.status == 0 else { throw TestFailure("xfs_io: \(marked.errors)") }
        for _ in 0..<2 {
            try stores[0].create("d", storage: [StorageOption("size", "4M")])
            #expect(try ![0, 77].contains(project(stores[0], "d")))
            try stores[0].inside("d") { path in
                let error = QuotaTests.fill(path + "/file", 8 << 20)
                #expect(error == EDQUOT || error == ENOSPC, "errno \(error)")
            }
            try stores[0].remove("d")
            try stores[0].restart()
        }
        for store in stores { store.close() }
        try place.takeDown()
    }

    static func unknownLayers(_ store: DriverStore) throws {
        for test in [EdgeOfStreams.diffUnknown, EdgeOfStreams.applyToUnknown] {
            try test(store)
            try store.remove("Base")
        }
        try EdgeOfMounts.removeWhileMounted(store)
    }
}
