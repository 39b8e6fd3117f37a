import Glibc
import LayerDrivers
import LayerModel
import Synchronization
import TestSupport
import Testing

/// What looking at a store, and using it, may not do to anything else.
@Suite(.serialized) struct LookingTests {
    private static let drivers = DriverFacts.chosen.filter { $0.name != .zfs }

    /// What an administrator does with a backup, or with the store of a machine that is down.
    @Test(arguments: drivers) func `a store is read through a read-only mount, and stays as it is`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        try store.layer("Box", on: "Base") { try $0.file("own", "own") }
        store.close()
        let root = store.ground.root
        mkdir(root + "/look", 0o755)
        for words in [["--bind", store.home, root + "/look"], ["-o", "remount,bind,ro", root + "/look"]] {
            #expect(try runProgram(["mount"] + words).status == 0)
        }
        #expect(mkdir(root + "/look/new", 0o755) != 0 && errno == EROFS)
        let before = try Neighbourhood(root, hasLinks: false)
        let reader = try DriverRegistry.read(facts.name, DriverConfiguration(home: PathBytes(root + "/look")))
        #expect(try reader.layers().map(\.description).sorted() == ["Base", "Box"])
        #expect(try reader.exists(LayerID("Box")))
        #expect(try reader.check().isEmpty)
        var sink = CollectingSink()
        _ = try reader.diff(LayerID("Box"), since: LayerID("Base"), into: &sink)
        #expect(try runProgram(["tar", "-tf", "-"], input: sink.bytes).lines == ["own"])
        var changes: [String] = []
        try reader.changes(LayerID("Box"), since: LayerID("Base")) { (_, path) throws(LayerError) in
            changes.append(String(decoding: path.copied(), as: UTF8.self))
        }
        #expect(changes == ["/own"])
        #expect(try reader.diffSize(LayerID("Box"), since: LayerID("Base")) == 3)
        let wrong = try Neighbourhood(root, hasLinks: false).unexpected(since: before, .init())
        #expect(wrong.isEmpty)
        umount2(root + "/look", Int32(MNT_DETACH))
        rmdir(root + "/look")
        try store.restart()
        try store.finish()
    }

    /// Layers come and go while an administrator looks: what is half there at that moment is no remains of a crash.
    @Test(arguments: drivers) func `check beside work tells nothing of it`(_ facts: DriverFacts) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        let layer = try store.diff("Base", since: nil)
        let driver = store.driver
        let reader = try DriverRegistry.read(facts.name, DriverConfiguration(home: PathBytes(store.home)))
        let end = ContinuousClock.now + .seconds(2)
        let rounds = Atomic<Int>(0)
        let looks = Atomic<Int>(0)
        let seen = Mutex<Set<String>>([])
        try onThreads(4) { thread in
            while ContinuousClock.now < end {
                guard thread < 2 else {
                    for finding in try reader.check() { _ = seen.withLock { $0.insert("\(finding)") } }
                    looks.add(1, ordering: .relaxed)
                    continue
                }
                let (box, top) = (try LayerID("box\(thread)"), try LayerID("top\(thread)"))
                try driver.createReadWrite(box, parent: LayerID("Base"), options: CreateOptions())
                _ = try driver.get(box, options: MountOptions())
                try driver.put(box)
                var stream = MemorySource(layer)
                _ = try driver.createLayer(top, on: LayerID("Base"), from: &stream)
                try driver.remove(top)
                try driver.remove(box)
                rounds.add(1, ordering: .relaxed)
            }
        }
        #expect(seen.withLock { $0 } == [])
        #expect(rounds.load(ordering: .relaxed) > 1 && looks.load(ordering: .relaxed) > 1)
        try store.finish()
    }

    /// Administrators look there first, and 504 lines of one process hide what they look for.
    @Test func `opening, mounting and removing leave no line in the kernel's log`() throws {
        let log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        defer { close(log) }
        #expect(!Self.lines(log).isEmpty, "what the kernel said since it started cannot be read")
        for facts in [DriverFacts.overlay2, .overlay] {
            let store = try DriverStore(facts)
            try store.layer("Base") { try $0.file("kept", "kept") }
            for round in 0..<10 {
                try store.restart()
                try store.create("Box-\(round)", on: "Base")
                try store.inside("Box-\(round)") { path in try writeFile(path + "/file", [1]) }
                try store.remove("Box-\(round)")
            }
            try store.finish()
        }
        // Others mount, too; what a probe with a path that leads nowhere leaves names the path.
        let ours = Self.lines(log).filter {
            $0.contains("overlayfs") && ($0.contains("/proc/self") || $0.contains("resolve"))
        }
        #expect(ours == [])
    }

    /// What the kernel said since this was asked last.
    private static func lines(_ log: Int32) -> [String] {
        var lines: [String] = []
        var buffer = [UInt8](repeating: 0, count: 8192)
        while true {
            let count = read(log, &buffer, buffer.count)
            // EPIPE: lines were overwritten before they were read.
            guard count > 0 || (count < 0 && errno == EPIPE) else { return lines }
            if count > 0 { lines.append(String(decoding: buffer.prefix(count), as: UTF8.self)) }
        }
    }
}
