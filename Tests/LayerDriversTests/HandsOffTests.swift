import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Single things that stores did to others, or to themselves.
@Suite(.serialized) struct HandsOffTests {
    /// Without zfs, which has no directories to sweep: a layer of it is a dataset.
    static let drivers = DriverFacts.chosen.filter { $0.name != .zfs }

    private func run(_ words: [String]) throws {
        let result = try runProgram(words)
        guard result.status == 0 else { throw TestFailure("\(words.joined(separator: " ")): \(result.errors)") }
    }

    private static let archive = Tar.archive([D("d/"), F("d/one", "first"), F("new", "text")])

    // MARK: what cannot be swept

    @Test(arguments: drivers) func `an immutable file in a removed layer stops nothing but its own removal`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        try store.create("new", on: "Base", readWrite: false)
        try store.apply(Self.archive, to: "new", onto: "Base")
        // A packed layer's files lie in its tar.
        let names = ["(", "-name", "one", "-o", "-name", "layer.tar", ")"]
        let inside = try runProgram(["find", store.home, "-path", "*new*"] + names).lines
        try run(["chattr", "+i", try #require(inside.first)])
        try store.remove("new")
        #expect(try !store.exists("new"))
        #expect(store.log.all.contains { $0.contains("cannot be removed") }, "\(store.log.all)")
        // Every later command works, and tries again.
        for _ in 0..<2 {
            try store.restart()
            try store.create("other", on: "Base")
            try store.remove("other")
        }
        let found = try store.driver.check()
        #expect(found.map(\.kind) == [.unfinished], "\(found)")
        #expect(try store.driver.repair().map(\.state) == [.left])
        let left = try runProgram(["find", store.home + "/tempdirs"] + names).lines
        try run(["chattr", "-i", try #require(left.first)])
        try store.restart()
        #expect(try store.driver.check().isEmpty)
        try store.finish()
    }

    // MARK: files of several layers

    /// The driver overlay keeps a layer's tree by hard links to its parent's.
    @Test(arguments: drivers) func `what a link's header says changes nothing of the parent or its other children`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("sh", "#!") }
        try store.create("other", on: "Base", readWrite: false)
        try store.apply(Self.archive, to: "other", onto: "Base")
        func seen(_ id: String) throws -> TreeSnapshot {
            let path = try store.get(id)
            defer { try? store.put(id) }
            return try TreeSnapshot(path)
        }
        let before = try (seen("Base"), seen("other"))
        let link = H("x", "sh").with {
            $0.mode = 0o4755
            ($0.uid, $0.gid) = (5, 6)
        }
        try store.create("new", on: "Base", readWrite: false)
        try store.apply(Tar.archive([link]), to: "new", onto: "Base")
        let new = try seen("new")
        for name in ["x", "sh"] { #expect((new[name]?.mode ?? 0) & 0o7777 == 0o4755 && new[name]?.uid == 5, "\(name)") }
        try #expect(seen("Base") == before.0 && seen("other") == before.1)
        try store.finish()
    }

    // MARK: half-made layers

    @Test(arguments: drivers) func `a layer whose contents are still to come is there for nobody else`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        let (configuration, new, base) = (
            DriverConfiguration(home: PathBytes(store.home)), try LayerID("new"), try LayerID("Base")
        )
        var later = configuration
        later.laterFilling = .goesOn
        var plugin: (any LayerDriver)? = try facts.open(facts.name, later)
        var options = CreateOptions()
        options.isUnfinished = true
        try plugin?.create(new, parent: base, options: options)
        #expect(try plugin?.state(of: new) == .unfinished)
        #expect(try !DriverRegistry.read(facts.name, configuration).exists(new))
        #expect(try DriverRegistry.read(facts.name, configuration).layers() == [base])
        expectFailure(.notFound) { try store.get("new") }
        expectFailure(.notFound) { try store.changes("new", since: "Base") }
        expectFailure(.inUse, "is making a layer of this id") { try store.create("new", on: "Base") }
        expectFailure(.inUse, "is making a layer of this id") { try store.remove("new") }
        #expect(try store.driver.repair().isEmpty, "its maker is alive")
        // A second start of the same daemon, and the contents.
        plugin = nil
        plugin = try facts.open(facts.name, later)
        var stream = MemorySource(Self.archive)
        _ = try plugin?.applyDiff(new, onto: base, from: &stream)
        #expect(try store.exists("new"))
        #expect(try store.changes("new", since: "Base") == ["A /d", "A /d/one", "A /new"])
        // Used as it is, as BuildKit does.
        for id in ["used", "below"] { try plugin?.create(LayerID(id), parent: base, options: options) }
        _ = try plugin?.get(LayerID("used"), options: MountOptions())
        try plugin?.put(LayerID("used"))
        try plugin?.create(LayerID("on-it"), parent: LayerID("below"), options: options)
        for (id, exists) in [("used", true), ("below", true), ("on-it", false)] {
            #expect(try store.exists(id) == exists, "\(id)")
        }
        try plugin?.remove(LayerID("on-it"))
        plugin = nil
        try store.finish()
    }

    @Test(arguments: drivers) func `a layer that was being filled goes when its maker begins anew`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base")
        var later = DriverConfiguration(home: PathBytes(store.home))
        later.laterFilling = .goesOn
        do {
            let plugin = try facts.open(facts.name, later)
            var options = CreateOptions()
            options.isUnfinished = true
            for id in ["made", "filled"] { try plugin.create(LayerID(id), parent: LayerID("Base"), options: options) }
            var cut = MemorySource(Array(Self.archive.prefix(1500)))
            #expect(throws: LayerError.self) {
                try plugin.applyDiff(LayerID("filled"), onto: LayerID("Base"), from: &cut)
            }
        }
        let found = try store.driver.check()
        #expect(found.count == 2 && found.allSatisfy { $0.kind == .unfinished }, "\(found)")
        later.laterFilling = .begins
        let again = try facts.open(facts.name, later)
        #expect(try again.state(of: LayerID("filled")) == .absent)
        #expect(try again.state(of: LayerID("made")) == .unfinished, "it may be used as it is")
        try again.remove(LayerID("made"))
        try store.finish()
    }

    @Test(arguments: DriverFacts.chosen) func `undoing removes only what the same call made`(_ facts: DriverFacts)
        throws
    {
        let store = try DriverStore(facts)
        try store.layer("Base")
        let (driver, new, base) = (store.driver, try LayerID("new"), try LayerID("Base"))
        // Somebody makes the layer while this one's archive is read, and then it cannot be kept.
        var stream = MemorySource(Self.archive)
        expectFailure(.alreadyExists) {
            try driver.createLayer(new, on: base, from: &stream) { () throws(LayerError) in
                var other = MemorySource(Self.archive)
                _ = try driver.createLayer(new, on: base, from: &other)
            }
        }
        #expect(try store.changes("new", since: "Base") == ["A /d", "A /d/one", "A /new"])
        try store.remove("new")
        // Found wrong after it was made: gone again.
        stream = MemorySource(Self.archive)
        expectFailure(.corruptLayer) {
            try driver.createLayer(
                new, on: base, from: &stream,
                afterKeeping: { () throws(LayerError) in
                    guard try driver.exists(new) else { return }
                    throw LayerError(.corruptLayer, "compare")
                })
        }
        #expect(try !store.exists("new"))
        try store.finish()
    }

    // MARK: what the directory above hands on

    @Test(arguments: drivers) func `a default access list above the store does not get into layers`(
        _ facts: DriverFacts
    )
        throws
    {
        let ground = try facts.ground()
        try run(["setfacl", "-d", "-m", "u:1234:rwx,g::rwx,o::rwx,m::rwx", ground.root])
        let store = try DriverStore(facts, on: ground)
        try store.create("Base", readWrite: false)
        try store.apply(Self.archive, to: "Base", onto: nil)
        try store.create("Box", on: "Base")
        var stream = MemorySource(Self.archive)
        _ = try store.driver.createLayer(LayerID("new"), on: LayerID("Base"), from: &stream)
        for id in ["Base", "Box", "new"] {
            try store.inside(id) { path in
                let lists = try runProgram(["getfacl", "-p", "--omit-header", path, path + "/d"]).lines
                #expect(!lists.contains { $0.contains("1234") || $0.hasPrefix("default") }, "\(id): \(lists)")
            }
        }
        try store.inside("Box") { path in
            let mask = umask(0o022)
            defer { umask(mask) }
            mkdir(path + "/made", 0o777)
            #expect(status(path + "/made").mode & 0o7777 == 0o755)
        }
        try store.finish()
    }

    // MARK: projects

    @Test(arguments: [DriverFacts.overlay2, .overlay, .fuseOverlayFS])
    func `a home with a project id of its own takes layers and lets them go`(_ facts: DriverFacts) throws {
        let ground = try DriverGround.loop(["mkfs.xfs", "-q", "-f"], megabytes: 320)
        let store = try DriverStore(facts, on: DriverGround(root: ground.root, takeDown: {}))
        try store.layer("Base") { try $0.file("kept", "kept") }
        try store.create("first", on: "Base")
        try store.remove("first")
        // From now on the directory hands a project on, which tempdirs and the layers have not.
        try run(["xfs_io", "-c", "chproj 77", "-c", "chattr +P", store.home])
        try store.create("second", on: "Base")
        try store.inside("second") { path in try writeFile(path + "/file", [1]) }
        try store.remove("second")
        var stream = MemorySource(Self.archive)
        _ = try store.driver.createLayer(LayerID("third"), on: LayerID("Base"), from: &stream)
        for id in ["third", "Base"] { try store.remove(id) }
        #expect(try store.driver.layers().isEmpty)
        #expect(try names(in: store.home + "/tempdirs").isEmpty)
        store.close()
        try ground.takeDown()
    }

    // MARK: removal under a reader

    @Test(arguments: drivers) func `a layer that is removed while it is read is an error, not a smaller layer`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base")
        try store.layer("Upper", on: "Base") { tree in
            for index in 0..<40 { try tree.file("file-\(index)", bytes: randomContent(100_000, seed: index)) }
        }
        let driver = store.driver
        let reader = try DriverRegistry.read(facts.name, DriverConfiguration(home: PathBytes(store.home)))
        var sink = HookSink {
            do { try driver.remove(LayerID("Upper")) } catch { Issue.record(error) }
            return 0
        }
        #expect(throws: LayerError.self) {
            try reader.diff(LayerID("Upper"), since: LayerID("Base"), into: &sink)
        }
        #expect(try !store.exists("Upper"))
        try store.finish()
    }

    @Test func `names of layers that somebody is making are not mended`() throws {
        let store = try DriverStore(.overlay2)
        try store.layer("Base")
        let names = store.home + "/l"
        let name = names + "/ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        guard symlink("../Unborn/diff", name) == 0 else { throw TestFailure("symlink: errno \(errno)") }
        // As another process that has made a name, and whose layer comes next.
        let file = open(names, O_RDONLY | O_CLOEXEC)
        #expect(flock(file, LOCK_SH | LOCK_NB) == 0)
        #expect(try store.driver.check().isEmpty)
        #expect(try store.driver.repair().isEmpty)
        #expect(try linkText(name) == "../Unborn/diff")
        // It died.
        close(file)
        #expect(try store.driver.repair().map(\.state) == [.repaired])
        #expect(status(name).mode == 0)
        try store.finish()
    }

    // MARK: mounts

    @Test func `cleanup of stacked mounts ends them all, without complaint`() throws {
        let store = try DriverStore(.overlay2)
        try store.layer("Base") { try $0.file("kept", "kept") }
        try store.create("Box", on: "Base")
        let path = try store.get("Box")
        // Another process that did not see the first.
        let home = store.home
        let data = "lowerdir=\(home)/Base/diff,upperdir=\(home)/Box/diff,workdir=\(home)/Box/work"
        let second = try Mount("overlay", at: path, options: data)
        #expect(try mountPoints(below: path).count == 2)
        try store.driver.cleanup()
        #expect(try mountPoints(below: path).isEmpty)
        #expect(status(path).mode == 0)
        withExtendedLifetime(second) {}
        try store.finish()
    }
}
