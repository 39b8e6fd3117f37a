import Glibc
import LayerDrivers
import LayerModel
import LayerMounts
import LinuxIO
import TestSupport
import Testing

/// How packed layers come to be seen, and what is made of files that are not what they were.
@Suite(.serialized) struct PackedMountTests {
    private static func damage(_ words: String, in store: DriverStore) throws {
        let result = try runProgram(["sh", "-ec", "cd \(store.home)/new/packed; " + words])
        guard result.status == 0 else { throw TestFailure("\(words): \(result.errors)") }
    }

    @Test(arguments: [
        "truncate -s -512 layer.tar", "echo more >> layer.tar", "rm layer.tar", "head -c 50 packed > p; mv p packed",
    ])
    func `E27 E45 a tar that is not the record's is never mounted, and nothing else suffers`(_ words: String) throws {
        let store = try PackedLayerTests.packedStore()
        try store.make("new", PackedLayerTests.layer, on: "Base")
        try store.create("box", on: "new")
        try Self.damage(words, in: store)
        for id in ["new", "box"] {
            #expect(throws: LayerError.self) { try store.get(id) }
            #expect(throws: LayerError.self) { try store.diff(id, since: "Base") }
        }
        #expect(try mountPoints(below: store.home).isEmpty)
        #expect(try store.snapshot("Base").paths.contains("kept"))
        let found = try store.driver.check()
        #expect(found.count == 1 && found[0].kind == .packed, "\(found)")
        #expect(try store.driver.repair().map(\.state) == [.left])
        try store.finish()
    }

    @Test(arguments: [
        "truncate -s -512 layer.erofs", "rm layer.erofs",
        "printf X | dd of=layer.erofs bs=1 seek=1500 conv=notrunc status=none",
        "cp ../../Base/packed/layer.erofs layer.erofs",
    ])
    func `E27 an index is made again from its tar, and from no other`(_ words: String) throws {
        let store = try PackedLayerTests.packedStore()
        try store.make("new", PackedLayerTests.layer, on: "Base")
        let before = try store.snapshot("new")
        try Self.damage("cp layer.erofs ../../../whole; " + words, in: store)
        let found = try store.driver.check()
        #expect(found.count == 1 && found[0].kind == .packed, "\(found)")
        #expect(try store.driver.repair().map(\.state) == [.repaired])
        #expect(try store.driver.check().isEmpty)
        try Self.damage("cmp layer.erofs ../../../whole; rm ../../../whole", in: store)
        #expect(try store.snapshot("new").differences(from: before).isEmpty)
        // As long as it was, and another.
        try Self.damage("\(words); printf X | dd of=layer.tar bs=1 seek=2000 conv=notrunc status=none", in: store)
        #expect(try store.driver.repair().map(\.state) == [.left])
        try store.finish()
    }

    @Test func `E29 on a file system in memory loop devices show packed layers, and none is left`() throws {
        let ground = try DriverGround.memory(megabytes: 64)
        var facts = DriverFacts.erofs
        facts.options = []
        let auto = try DriverStore(facts, on: DriverGround(root: ground.root, takeDown: {}))
        try auto.make("new", PackedLayerTests.layer)
        #expect(try auto.form("new") == "directory")
        try auto.finish()
        let store = try PackedMountTests.store(on: ground)
        try store.make("Base", Tar.archive([F("kept", "kept"), F("gone", "1")]))
        try store.make("new", PackedLayerTests.layer, on: "Base")
        #expect(try store.form("new") == "packed")
        try store.inside("new") { (path) throws in
            #expect(try fileText(path + "/d/two") == "second")
            #expect(try runProgram(["losetup", "-a"]).lines.count { $0.contains(ground.root) } >= 4)
        }
        for _ in 0..<200 where try runProgram(["losetup", "-a"]).lines.contains(where: { $0.contains(ground.root) }) {
            sleepBriefly()
        }
        #expect(try !runProgram(["losetup", "-a"]).lines.contains { $0.contains(ground.root) })
        try store.finish()
    }

    private static func store(on ground: DriverGround) throws -> DriverStore {
        try DriverStore(.erofs, on: ground)
    }

    @Test func `E47 a disk that is full leaves nothing`() throws {
        let ground = try DriverGround.memory(megabytes: 4)
        let store = try Self.store(on: ground)
        let before = try store.listing()
        for pieces in [
            [F("large", bytes: [UInt8](repeating: 1, count: 6 << 20))],
            // The tar finds its place, and the index does not.
            [F("large", bytes: [UInt8](repeating: 1, count: 3 << 20))] + (0..<5000).map { F("f\($0)", "") },
        ] {
            expectFailure(.noSpace) { try store.make("new", Tar.archive(pieces)) }
            #expect(try store.listing() == before)
        }
        try store.make("small", PackedLayerTests.layer)
        try store.finish()
    }

    @Test(arguments: OverlayMount.DetachedWay.allCases)
    func `E32 an overlay of packed layers is one line of the mount table`(_ way: OverlayMount.DetachedWay) throws {
        let store = try PackedLayerTests.packedStore()
        try store.make("new", PackedLayerTests.layer, on: "Base")
        let expected = try store.snapshot("new")
        let (target, upper, work) = (store.ground.root + "/m", store.ground.root + "/u", store.ground.root + "/w")
        for path in [target, upper, work] { mkdir(path, 0o755) }
        let count = try mountPoints(below: store.ground.root).count
        var overlay = OverlayMount(
            lowers: ["new", "Base"].map { PathBytes(store.home + "/\($0)/packed") }, upper: PathBytes(upper),
            work: PathBytes(work), options: OverlayMountOptions(indexOff: true))
        for (place, id) in ["new", "Base"].enumerated() {
            let part = PathBytes(store.home + "/\(id)/packed")
            overlay.detached[place] = try ErofsMount.detached(
                index: part.appending("layer.erofs"), devices: [part.appending("layer.tar")]
            ).mount
        }
        try overlay.mountDetached(
            at: PathBytes(target), relativeTo: PathBytes(store.home), api: .found, way: way)
        overlay.detached = [:]
        #expect(try mountPoints(below: store.ground.root).count == count + 1)
        let seen = try TreeSnapshot(target, ignoring: [.root, .overlayAttributes])
        #expect(seen.differences(from: expected).isEmpty)
        try writeFile(target + "/written", [1])
        #expect(umount2(target, 0) == 0)
        #expect(try names(in: upper) == ["written"])
        #expect(try runProgram(["rm", "-r", target, upper, work]).status == 0)
        try store.finish()
    }

    @Test func `E33 E43 an overlay lies on a container's, and what is removed below it is read still`() throws {
        let store = try PackedLayerTests.packedStore()
        try store.make("new", PackedLayerTests.layer, on: "Base")
        try store.create("box", on: "new")
        let box = try store.get("box")
        for name in ["low", "up", "work", "m"] { mkdir(box + "/" + name, 0o755) }
        let inner = "lowerdir=\(box)/d:\(box)/low"
        #expect(mount("overlay", box + "/m", "overlay", 0, inner) == 0)
        #expect(try fileText(box + "/m/one") == "first")
        #expect(umount2(box + "/m", 0) == 0)
        // Nobody does this to a running container; its files stay nevertheless.
        #expect(try runProgram(["rm", "-r", store.home + "/new/packed"]).status == 0)
        #expect(try fileText(box + "/d/two") == "second")
        try store.put("box")
        try store.finish()
    }

    @Test func `E34 paths of more than 255 bytes`() throws {
        let ground = try DriverGround.directory()
        let deep = ground.root + "/" + String(repeating: "a", count: 120) + "/" + String(repeating: "b", count: 130)
        #expect(try runProgram(["mkdir", "-p", deep]).status == 0)
        let store = try DriverStore(.erofs, on: DriverGround(root: deep, takeDown: ground.takeDown))
        try store.make("Base", Tar.archive([F("gone", "1")]))
        try store.make("new", PackedLayerTests.layer, on: "Base")
        #expect(try store.form("new") == "packed")
        #expect(try store.snapshot("new").paths.contains("d/two"))
        try store.finish()
    }

    @Test func `a layer at every depth`() throws {
        let store = try DriverStore(.erofs)
        for depth in 0..<128 {
            let stream = Tar.archive([F("f\(depth)", "\(depth)"), F("last", "\(depth)")])
            try store.make("l\(depth)", stream, on: depth == 0 ? nil : "l\(depth - 1)")
        }
        let before = try mountPoints(below: store.ground.root).count
        try store.inside("l127") { (path) throws in
            #expect(try mountPoints(below: store.ground.root).count == before + 1)
            #expect(try fileText(path + "/last") == "127" && fileText(path + "/f0") == "0")
            #expect(try names(in: path).count == 129)
        }
        try store.finish()
    }
}

extension DriverGround {
    /// A file system in memory.
    static func memory(megabytes: Int) throws -> DriverGround {
        let directory = try TemporaryDirectory()
        let root = try directory.directory("memory")
        let result = try runProgram(["mount", "-t", "tmpfs", "-o", "size=\(megabytes)m", "ldiff", root])
        guard result.status == 0 else { throw TestFailure("mount: \(result.errors)") }
        return DriverGround(root: root) {
            let result = try runProgram(["umount", root])
            guard result.status == 0 else { throw TestFailure("umount \(root): \(result.errors)") }
            withExtendedLifetime(directory) {}
        }
    }
}
