import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Directories that look like layers and that nothing proves to be ones: they may be read, and are never changed.
@Suite(.serialized) struct UnprovenLayerTests {
    private static let merged = DriverFacts.chosen.filter { [.overlay2, .overlay, .fuseOverlayFS].contains($0.name) }
    private static let linked = merged.filter { $0.name != .overlay }
    private static let dockers = String(repeating: "0123456789abcdef", count: 4)

    /// Everything below `path`, with times.
    private func record(_ path: String) throws -> [String] {
        try runProgram(["find", path, "-printf", "%P %y %i %m %s %T@ %C@ %l\\n"]).lines.sorted()
    }

    private static func directories(_ tree: TreeBuilder, _ path: String) throws {
        guard try runProgram(["mkdir", "-p", "\(tree.root)/\(path)"]).status == 0 else {
            throw TestFailure("mkdir \(path)")
        }
    }

    /// What is done to `name` fails, and mending and cleaning the store leave it as it is.
    private func expectUntouched(_ store: DriverStore, _ name: String, isRead: Bool = false) throws {
        let (id, path) = (try LayerID(name), "\(store.home)/\(name)")
        let before = try (record(path), mountPoints(below: path))
        #expect(try store.exists(name) == isRead, "\(name)")
        expectFailure(.invalidArgument) { try store.remove(name) }
        expectFailure(.alreadyExists) { try store.create(name, on: "Base") }
        expectFailure(isRead ? .invalidArgument : .notFound) {
            try store.apply(Tar.archive([F("new", "text")]), to: name, onto: nil)
        }
        for _ in 0..<2 {
            try store.driver.put(id)
            try store.driver.cleanup()
            let found = try store.driver.check() + store.driver.repair()
            #expect(found.isEmpty, "\(name): \(found)")
            try store.restart()
        }
        #expect(try record(path) == before.0, "\(name)")
        #expect(try mountPoints(below: path) == before.1, "\(name)")
    }

    // MARK: whole trees of the first overlay driver

    @Test func `a directory with a tree in it is an image layer only by our mark or Docker's name`() throws {
        let store = try DriverStore(.overlay)
        try store.layer("Base") { try $0.file("kept", "kept") }
        try TreeBuilder.make(store.home) { tree in
            for path in [
                "debug-session/root", "debug-session/upper", "debug-session/work", "photos/root",
                "empty-tree/root", "\(Self.dockers)/root",
            ] { try Self.directories(tree, path) }
            try tree.file("debug-session/upper/notes", "work")
            try tree.file("photos/root/data", "mine")
        }
        for name in ["debug-session", "photos", "empty-tree"] { try expectUntouched(store, name, isRead: true) }
        #expect(try store.changes("photos", since: nil) == ["A /data"])
        // Docker's own has nothing but its name.
        try store.remove(Self.dockers)
        #expect(access("\(store.home)/\(Self.dockers)", F_OK) != 0)
        // Ours is known whatever it is called, also without a parent.
        try store.create("base", readWrite: false)
        try store.remove("base")
        #expect(access("\(store.home)/base", F_OK) != 0)
        #expect(
            try runProgram(["rm", "-r"] + ["debug-session", "photos", "empty-tree"].map { "\(store.home)/\($0)" })
                .status == 0)
        try store.finish()
    }

    @Test func `an upper directory that holds something stays beside a whole tree`() throws {
        let store = try DriverStore(.overlay)
        try store.layer("Base") { try $0.file("kept", "kept") }
        let home = "\(store.home)/\(Self.dockers)"
        try TreeBuilder.make(store.home) { tree in
            for name in ["root", "upper", "work/work"] { try Self.directories(tree, "\(Self.dockers)/\(name)") }
            try tree.file("\(Self.dockers)/lower-id", "Base")
            try tree.file("\(Self.dockers)/upper/notes", "work")
        }
        let before = try record(home)
        #expect(try store.driver.repair().map(\.state) == [.left])
        #expect(try record(home) == before)
        unlink(home + "/upper/notes")
        #expect(try store.driver.repair().map(\.state) == [.repaired])
        #expect(try names(in: home) == ["root"])
        try store.finish()
    }

    // MARK: mounts

    @Test(arguments: merged) func `an overlay that somebody mounted by hand in a directory of his own stays`(
        _ facts: DriverFacts
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        let (lower, upper) = facts.name == .overlay ? ("root", "upper") : ("lower", "diff")
        let place = store.home + "/scratch"
        try TreeBuilder.make(store.home) { tree in
            for name in [lower, upper, "work", "merged"] { try Self.directories(tree, "scratch/\(name)") }
            try tree.file("scratch/\(upper)/notes", "work")
        }
        let mount = try Mount(
            "overlay", at: place + "/merged",
            options: "lowerdir=\(place)/\(lower),upperdir=\(place)/\(upper),workdir=\(place)/work")
        try expectUntouched(store, "scratch", isRead: facts.name == .overlay)
        #expect(try readText(place + "/merged/notes") == "work")
        try mount.unmount()
        #expect(try runProgram(["rm", "-r", place]).status == 0)
        try store.finish()
    }

    // MARK: half of a layer's form

    /// Of the length and the letters of BuildKit's names.
    @Test(arguments: merged) func `a name of twenty-five letters and digits proves nothing`(_ facts: DriverFacts) throws
    {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        let name = "familypictures2019to20261"
        let part = facts.name == .overlay ? "upper" : "diff"
        try TreeBuilder.make(store.home) { tree in
            try Self.directories(tree, "\(name)/\(part)")
            try tree.file("\(name)/\(part)/IMG1", "pic")
        }
        try expectUntouched(store, name)
        unlink("\(store.home)/\(name)/\(part)/IMG1")
        try expectUntouched(store, name)
        #expect(try runProgram(["rm", "-r", "\(store.home)/\(name)"]).status == 0)
        try store.finish()
    }

    @Test(arguments: linked) func `a file called link that names no link makes no layer`(_ facts: DriverFacts) throws {
        let store = try DriverStore(facts)
        try store.layer("Base") { try $0.file("kept", "kept") }
        for text in ["https://example.org/", ""] {
            try TreeBuilder.make(store.home) { tree in
                try Self.directories(tree, "photos/diff")
                try tree.file("photos/diff/IMG1", "pic")
                try tree.file("photos/link", text)
            }
            try expectUntouched(store, "photos")
        }
        #expect(try runProgram(["rm", "-r", "\(store.home)/photos"]).status == 0)
        try store.finish()
    }

    // MARK: copies

    /// After a power failure: the name in `l` says whose it is.
    @Test(arguments: linked, ["aa", "zz"]) func `a copy does not get the name of a layer whose link file is empty`(
        _ facts: DriverFacts, _ copy: String
    ) throws {
        let store = try DriverStore(facts)
        try store.layer("base") { try $0.file("kept", "kept") }
        try store.layer("kid", on: "base") { try $0.file("own", "own") }
        let (home, base) = (store.home, store.home + "/base")
        let link = try readText(base + "/link")
        #expect(try runProgram(["cp", "-a", base, "\(home)/\(copy)"]).status == 0)
        try writeFile("\(home)/\(copy)/diff/kept", Array("changed in the copy".utf8))
        try writeFile(base + "/link", [])
        let before = try record("\(home)/\(copy)")
        #expect(try store.driver.layers().map(\.description) == ["base", "kid"])
        let lower = try store.driver.metadata(of: LayerID("kid")).first { $0.key == "LowerDir" }
        #expect(lower?.value.description.hasSuffix("/base/diff") == true, "\(String(describing: lower))")
        #expect(try store.driver.parent(of: LayerID("kid")) == LayerID("base"))
        expectFailure(.notFound) { try store.create("onCopy", on: copy) }
        try store.create("more", on: "base")
        for id in ["more", "kid"] {
            try store.inside(id) { path in
                let text = try readText(path + "/kept")
                #expect(text == "kept", "\(id)")
            }
        }
        #expect(try linkText("\(home)/l/\(link)") == "../base/diff")
        #expect(try store.driver.repair().map(\.state) == [.repaired])
        #expect(try readText(base + "/link") == link)
        #expect(try linkText("\(home)/l/\(link)") == "../base/diff")
        #expect(try store.driver.check().isEmpty)
        #expect(try record("\(home)/\(copy)") == before)
        expectFailure(.invalidArgument) { try store.remove(copy) }
        #expect(try runProgram(["rm", "-r", "\(home)/\(copy)"]).status == 0)
        try store.finish()
    }

    // MARK: homes

    /// What others keep in a directory, with names that stores have, too.
    private static let foreign: [(DriverName, [String], [String])] = [
        (.overlay2, ["l", "src"], ["l/README", "src/main.c"]), (.fuseOverlayFS, ["l", "src"], ["src/main.c"]),
        (.overlay2, ["l", "photos", "photos/diff"], ["photos/diff/IMG1"]),
        (.overlay, ["staging", "src"], ["src/main.c"]), (.overlay, ["src", "src/root"], ["src/main.c"]),
        (.aufs, ["layers", "src"], ["src/main.c"]), (.aufs, ["layers", "diff", "src"], ["src/main.c"]),
    ]

    @Test(arguments: foreign) func `a directory in which others keep something is no home`(
        _ driver: DriverName, _ directories: [String], _ files: [String]
    ) throws {
        guard let facts = DriverFacts.chosen.first(where: { $0.name == driver }) else { return }
        let ground = try facts.ground()
        let home = "\(ground.root)/\(driver.rawValue)"
        try TreeBuilder.make(home) { tree in
            for path in directories { try tree.directory(path) }
            for path in files { try tree.file(path, "mine") }
        }
        let before = try record(home)
        expectFailure(.invalidArgument, "open the store") {
            try DriverStore(facts, on: DriverGround(root: ground.root, takeDown: {}))
        }
        #expect(try record(home) == before)
        try ground.takeDown()
    }

    @Test func `an empty directory l makes no store of overlay into one of overlay2`() throws {
        guard let facts = DriverFacts.chosen.first(where: { $0.name == .overlay }),
            let other = DriverFacts.chosen.first(where: { $0.name == .overlay2 })
        else { return }
        let store = try DriverStore(facts)
        try store.layer("base")
        mkdir(store.home + "/l", 0o755)
        try store.restart()
        try store.layer("next", on: "base")
        let before = try record(store.home)
        expectFailure(.invalidArgument, "open the store") {
            var configuration = DriverConfiguration(home: PathBytes(store.home))
            configuration.workers = 1
            _ = try DriverRegistry.open(other.name, configuration)
        }
        #expect(try record(store.home) == before)
        rmdir(store.home + "/l")
        try store.removeAll()
        try store.finish()
    }

    @Test func `check tells of parents that are gone, and of those that lead back`() throws {
        guard let facts = DriverFacts.chosen.first(where: { $0.name == .overlay }) else { return }
        let store = try DriverStore(facts)
        for (id, parent) in [("a", nil), ("b", "a"), ("c", "b")] as [(String, String?)] {
            try store.make(id, Tar.archive([F(id, id)]), on: parent)
        }
        #expect(try store.driver.check().isEmpty)
        try writeFile(store.home + "/a/ldiff-parent", Array("c".utf8))
        let circle = try store.driver.check()
        #expect(circle.count == 3 && circle.allSatisfy { "\($0)".contains("lead back") }, "\(circle)")
        try writeFile(store.home + "/a/ldiff-parent", Array("nosuch".utf8))
        let gone = try store.driver.check()
        #expect(gone.count == 1 && "\(gone)".contains("nosuch, which is gone"), "\(gone)")
        try writeFile(store.home + "/a/ldiff-parent", [])
        #expect(try store.driver.check().isEmpty)
        try store.removeAll()
        try store.finish()
    }

    /// What a store is before its first layer, and after its last.
    private static let fresh: [(DriverName, [String])] = [
        (.overlay2, []), (.overlay2, ["lost+found"]), (.overlay2, ["l"]), (.overlay2, ["l", "lost+found", "staging"]),
        (.overlay, ["lost+found"]), (.overlay, ["tempdirs"]), (.aufs, ["lost+found"]), (.aufs, ["mnt"]),
        (.aufs, ["mnt", "diff", "layers"]), (.fuseOverlayFS, ["l", "tempdirs"]),
    ]

    @Test(arguments: fresh) func `an empty store is a home, and stays one when somebody adds a file`(
        _ driver: DriverName, _ directories: [String]
    ) throws {
        guard let facts = DriverFacts.chosen.first(where: { $0.name == driver }) else { return }
        let ground = try facts.ground()
        try TreeBuilder.make("\(ground.root)/\(driver.rawValue)") { tree in
            for path in directories { try tree.directory(path, 0o700) }
        }
        let store = try DriverStore(facts, on: ground)
        try store.layer("Base")
        try store.remove("Base")
        try writeFile(store.home + "/notes", Array("mine".utf8))
        try store.restart()
        try store.layer("Base")
        unlink(store.home + "/notes")
        try store.removeAll()
        store.close()
        try ground.takeDown()
    }
}
