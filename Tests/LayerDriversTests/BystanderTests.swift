import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Every operation of every driver in a store that is full of what others keep there: nothing but what was asked for may
/// differ afterwards, and looking changes nothing at all.
@Suite(.serialized) struct BystanderTests {
    /// Those of zfs are datasets, see `ZFSBystanderTests`.
    static let drivers = DriverFacts.chosen.filter { $0.name != .zfs }

    @Test(arguments: drivers) func `nothing of others is touched by any operation`(_ facts: DriverFacts) throws {
        let scene = try Scene(facts)
        try scene.look()
        try scene.touchStrangers()
        try scene.change()
        try scene.mend()
        try scene.end()
    }
}

/// A store with its bystanders and the last recording of both.
private final class Scene {
    private let store: DriverStore
    private let strangers: Bystanders
    private let home: String
    private var last: Neighbourhood
    private let archive = Tar.archive([D("d/"), F("d/one", "first"), H("d/two", "d/one"), F("new", "text")])

    private typealias Allowed = Neighbourhood.Allowed

    init(_ facts: DriverFacts) throws {
        store = try DriverStore(facts)
        home = facts.name.rawValue
        try store.layer("Base") { tree in
            try tree.file("kept", "kept")
            try tree.directory("d")
        }
        try store.create("Image", on: "Base", readWrite: false)
        try store.apply(archive, to: "Image", onto: "Base")
        try store.layer("Box", on: "Image") { try $0.file("own", "own") }
        strangers = try Bystanders(store)
        try strangers.copyLayer("Image")
        try strangers.unpackAsDocker("Image")
        last = try Neighbourhood(store.ground.root, hasLinks: store.facts.sharesFiles)
    }

    private func step(_ what: String, _ allowed: Allowed = Allowed(), _ body: () throws -> Void) throws {
        do { try body() } catch { Issue.record("\(what): \(error)") }
        let now = try Neighbourhood(store.ground.root, hasLinks: store.facts.sharesFiles)
        let wrong = now.unexpected(since: last, allowed)
        #expect(wrong.isEmpty, "\(store.facts.name.rawValue), \(what)")
        last = now
    }

    private func configuration() -> DriverConfiguration { DriverConfiguration(home: PathBytes(store.home)) }

    // MARK: looking

    func look() throws {
        let (facts, configuration) = (store.facts, configuration())
        var opened: (any StoreReader)?
        try step("open to look") { opened = try DriverRegistry.read(facts.name, configuration) }
        guard let reader = opened else { return }
        let expected = facts.name == .overlay ? ["Base", "Box", "Image", "copy-of-Image"] : ["Base", "Box", "Image"]
        try step("list") { () throws in #expect(try reader.layers().map(\.description) == expected) }
        try step("exists") { () throws in
            #expect(try reader.exists(LayerID("Image")))
            for name in strangers.names { #expect(try !reader.exists(LayerID(name)), "\(name)") }
        }
        try step("status, metadata, size") { () throws in
            _ = reader.status()
            for id in ["Base", "Box", "Image"] {
                _ = try reader.metadata(of: LayerID(id))
                _ = try reader.readWriteDiskUsage(of: LayerID(id))
                _ = try reader.parent(of: LayerID(id))
                _ = try reader.diffSize(LayerID(id), since: reader.parent(of: LayerID(id)))
                _ = try reader.diffSize(LayerID(id), since: nil)
            }
            _ = try reader.files(of: LayerID("Box")).open(PathBytes("kept"))
        }
        try step("diff and changes, also of other parents") { () throws in
            for (id, parent) in [("Box", "Image"), ("Box", "Base"), ("Box", nil), ("Image", "Base"), ("Image", nil)] {
                let parent = try parent.map { try LayerID($0) }
                var sink = CollectingSink()
                _ = try reader.diff(LayerID(id), since: parent, into: &sink)
                #expect(sink.bytes.count > 1024)
                try reader.changes(LayerID(id), since: parent) { (_, _) throws(LayerError) in }
            }
        }
        try step("check") { () throws in
            let found = try reader.check()
            #expect(found.isEmpty, "\(found)")
        }
    }

    // MARK: strangers under the names of layers

    func touchStrangers() throws {
        for name in strangers.names {
            let id = try LayerID(name)
            try step("remove \(name)") { expectFailure(.invalidArgument) { try store.driver.remove(id) } }
            try step("create \(name)") { expectFailure(.alreadyExists) { try store.create(name, on: "Base") } }
            try step("import \(name)") {
                expectFailure(.alreadyExists) {
                    var stream = MemorySource(archive)
                    _ = try store.driver.createLayer(id, on: LayerID("Base"), from: &stream)
                }
            }
            try step("use \(name)") {
                expectFailure(.notFound) { try store.get(name) }
                try store.put(name)
                expectFailure(.notFound) { try store.apply(archive, to: name, onto: nil) }
                expectFailure(.notFound) { try store.create("on-it", on: name) }
            }
        }
    }

    // MARK: changing

    /// What making or removing the layer `id` may change.
    private func own(_ id: String, parent: String? = nil, mounts: Bool = false) -> Allowed {
        if store.facts.name == .aufs {
            let parts = ["diff", "layers", "mnt"].map { "\(home)/\($0)" }
            return Allowed(
                all: parts.map { "\($0)/\(id)" }, times: [home, "\(home)/tempdirs"] + parts,
                mounts: mounts ? ["\(home)/mnt/\(id)"] : [])
        }
        // Of the parent its mark, and the directory in which the mark is.
        let above = parent.map { ["\(home)/\($0)/committed", "\(home)/\($0)/ldiff-size"] } ?? []
        return Allowed(
            all: ["\(home)/\(id)"] + above,
            times: [home, "\(home)/tempdirs", "\(home)/l"] + (parent.map { ["\(home)/\($0)"] } ?? []),
            links: "\(home)/l", mounts: mounts ? ["\(home)/\(id)/merged"] : [])
    }

    func change() throws {
        try step("open for writing") { try store.restart() }
        try step("create", own("one", parent: "Base")) { try store.create("one", on: "Base") }
        try step("create a base", own("two")) { try store.create("two", readWrite: false) }
        try step("import", own("three", parent: "Base")) {
            var stream = MemorySource(archive)
            _ = try store.driver.createLayer(LayerID("three"), on: LayerID("Base"), from: &stream)
        }
        try step("an import that fails", Allowed(times: [home, "\(home)/tempdirs"])) { () throws in
            var stream = MemorySource(Array(archive.prefix(1500)))
            #expect(throws: LayerError.self) {
                try store.driver.createLayer(LayerID("four"), on: LayerID("Base"), from: &stream)
            }
        }
        try step("apply", own("two")) { try store.apply(archive, to: "two", onto: nil) }
        try step("mount", own("one", mounts: true)) { _ = try store.get("one") }
        try step("write", own("one")) {
            let path = store.facts.name == .aufs ? "\(store.home)/mnt/one" : "\(store.home)/one/merged"
            try writeFile(path + "/mine", Array("written".utf8))
        }
        try step("look while mounted") { () throws in #expect(try store.changes("one", since: "Base") == ["A /mine"]) }
        try step("unmount", own("one", mounts: true)) { try store.put("one") }
        try step("mount again", own("one", mounts: true)) { _ = try store.get("one") }
        try step("cleanup", own("one", mounts: true)) { try store.driver.cleanup() }
        try step("remove", own("one")) { try store.remove("one") }
        try step("remove a base", own("two")) { try store.remove("two") }
        try step("remove what was imported", own("three")) { try store.remove("three") }
        try step("remove what is not there") { try store.remove("nobody") }
        let branch = store.facts.name == .aufs ? "diff/Box" : store.facts.name == .overlay ? "Box/upper" : "Box/diff"
        try step("remove a layer in which something is mounted", Allowed(times: ["\(home)/\(branch)"])) {
            let inside = "\(store.home)/\(branch)"
            let mount = try Mount("tmpfs", at: inside + "/stick")
            expectFailure(.inUse, "mounted in it") { try store.remove("Box") }
            #expect(try store.exists("Box"))
            try mount.unmount()
            rmdir(inside + "/stick")
        }
    }

    func mend() throws {
        try step("check --repair") { () throws in
            let found = try store.driver.repair()
            #expect(found.isEmpty, "\(found)")
        }
    }

    func end() throws {
        strangers.leave()
        store.close()
        DriverStore.unmountAll(below: store.home)
        let result = try runProgram(["rm", "-rf", store.home])
        #expect(result.status == 0, "\(result.errors)")
        try store.ground.takeDown()
    }
}
