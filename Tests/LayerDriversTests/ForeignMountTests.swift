import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// What others mounted in layers or in their place, and directories that only look like half a layer: nothing of it is used,
/// unmounted or removed.
@Suite(.serialized) struct ForeignMountTests {
    static let merged = DriverFacts.chosen.filter { [.overlay2, .overlay, .fuseOverlayFS].contains($0.name) }
    private func code(_ body: () throws -> Void) -> LayerError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? LayerError)?.code
        }
    }

    private func mountStranger(_ source: String, at path: String, _ type: String = "tmpfs", _ data: String = "") throws
    {
        guard mount(source, path, type, 0, data) == 0 else { throw TestFailure.call("mount", path) }
    }

    @Test(arguments: DriverFacts.chosen) func `what somebody mounted inside a mounted layer keeps the layer mounted`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        try store.create("Box", on: "Base")
        let path = try store.get("Box")
        try TreeBuilder.make(path) { try $0.directory("inside") }
        try mountStranger("mine", at: path + "/inside")
        try writeFile(path + "/inside/letter", Array("mine".utf8))
        #expect(code { try store.remove("Box") } == .inUse)
        #expect(code { try store.driver.cleanup() } == .inUse)
        for _ in 0..<2 { #expect(code { try store.put("Box") } == .inUse) }
        // Another process, which has counted nobody.
        try store.restart()
        #expect(code { try store.driver.cleanup() } == .inUse)
        #expect(try readText(path + "/inside/letter") == "mine")
        guard umount2(path + "/inside", 0) == 0 else { throw TestFailure.call("umount2", path) }
        try store.driver.cleanup()
        #expect(try mountPoints(below: store.home).isEmpty)
        try store.finish()
    }

    @Test(arguments: merged) func `a mount in the place of a layer's that shows no layer is nobody's business`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        try store.create("Box", on: "Base")
        let path = try store.get("Box")
        try store.put("Box")
        try TreeBuilder.make(store.ground.root + "/theirs") { tree in
            for name in ["lower", "upper", "work"] { try tree.directory(name) }
            try tree.file("upper/theirs", "mine")
        }
        let theirs = store.ground.root + "/theirs"
        let strangers = [
            ("overlay", "lowerdir=\(theirs)/lower,upperdir=\(theirs)/upper,workdir=\(theirs)/work"), ("tmpfs", ""),
        ]
        for (type, data) in strangers {
            if access(path, F_OK) != 0 { guard mkdir(path, 0o700) == 0 else { throw TestFailure.call("mkdir", path) } }
            try mountStranger("mine", at: path, type, data)
            #expect(code { _ = try store.get("Box") } == .inUse, "\(type)")
            #expect(code { try store.remove("Box") } == .inUse, "\(type)")
            _ = code { try store.put("Box") }
            _ = code { try store.driver.cleanup() }
            #expect(try store.driver.check().isEmpty)
            #expect(try mountPoints(below: store.home) == [path], "\(type)")
            guard umount2(path, 0) == 0 else { throw TestFailure.call("umount2", path) }
        }
        // Nor is one that lies on the layer's own.
        let own = try store.get("Box")
        try mountStranger("mine", at: own)
        #expect(code { try store.put("Box") } == .inUse)
        #expect(code { try store.driver.cleanup() } == .inUse)
        #expect(try mountPoints(below: store.home) == [path, path])
        guard umount2(own, 0) == 0 else { throw TestFailure.call("umount2", own) }
        try store.put("Box")
        try store.finish()
    }

    /// What a user keeps under a name of his own and with a layer's words.
    private static let homes: [DriverName: [String]] = [
        .overlay2: ["diff"], .fuseOverlayFS: ["diff"], .overlay: ["upper"],
    ]

    @Test(arguments: merged) func `half of a layer's form under a name of one's own is no layer`(_ facts: DriverFacts)
        throws
    {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        for name in try #require(Self.homes[facts.name]) {
            try TreeBuilder.make(store.home + "/photos") { tree in
                try tree.directory(name)
                try tree.file("\(name)/letter", "mine")
            }
            #expect(code { try store.remove("photos") } == .invalidArgument)
            #expect(code { try store.create("photos", on: "Base") } == .alreadyExists)
            #expect(try !store.exists("photos"))
            _ = try store.driver.repair()
            try store.restart()
            #expect(try readText("\(store.home)/photos/\(name)/letter") == "mine")
            try removeTree(store.home + "/photos")
        }
        // Under a name such as Docker gives it may be what Docker left when it was killed.
        let docker = String(repeating: "0123456789abcdef", count: 4)
        try TreeBuilder.make(store.home + "/" + docker) { tree in
            for name in try #require(Self.homes[facts.name]) { try tree.directory(name) }
        }
        try store.remove(docker)
        #expect(access(store.home + "/" + docker, F_OK) != 0)
        try store.finish()
    }

    private func removeTree(_ path: String) throws { _ = try runProgram(["/bin/rm", "-r", path]) }
}
