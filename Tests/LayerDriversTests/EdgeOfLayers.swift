import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Edge cases of creating, removing and describing layers.
enum EdgeOfLayers {
    static func createExisting(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.layer("Child", on: "Base") { try $0.file("mine", "kept") }
        let before = try store.listing()
        for id in ["Base", "Child"] {
            for parent in [nil, "Base"] where parent != id {
                for readWrite in [true, false] {
                    expectFailure(.alreadyExists) { try store.create(id, on: parent, readWrite: readWrite) }
                }
            }
        }
        #expect(try store.listing() == before)
        try store.verifyBase("Base")
        try store.inside("Child") { path throws in #expect(try fileText(path + "/mine") == "kept") }
        // And a driver that is opened anew knows it too.
        try store.restart()
        expectFailure(.alreadyExists) { try store.create("Child", on: "Base") }
        try store.inside("Child") { path throws in #expect(try fileText(path + "/mine") == "kept") }
    }

    static func createOverLeftover(_ store: DriverStore) throws {
        guard let leave = store.facts.leaveUnfinished else { return }
        try store.createBase("Base")
        // Of the form of Docker's: a half-made layer under any other name could be anybody's directory.
        let ids = (1...4).map { String(repeating: "\($0)123456789abcdef", count: 4) }
        for (id, parent) in [(ids[0], nil), (ids[1], "Base")] {
            try leave(store.home, id)
            #expect(try !store.exists(id))
            #expect(try !store.driver.layers().contains(LayerID(id)))
            expectFailure(.notFound) { try store.get(id) }
            try store.create(id, on: parent)
            #expect(try store.exists(id))
            try store.inside(id) { path throws in
                #expect(try names(in: path) == (parent == nil ? [] : ["a file", "a subdir"]))
            }
        }
        // One that nobody takes is removed like a layer.
        try leave(store.home, ids[2])
        try store.remove(ids[2])
        try leave(store.home, ids[3])
        _ = try store.driver.check(repair: true)
    }

    static func createWithoutParent(_ store: DriverStore) throws {
        let before = try store.listing()
        for readWrite in [true, false] {
            expectFailure(.notFound, "unknown layer") { try store.create("orphan", on: "nobody", readWrite: readWrite) }
        }
        expectFailure(.notFound, "unknown layer") {
            try store.driver.createFromTemplate(
                LayerID("orphan"), template: LayerID("nobody"), parent: nil, options: CreateOptions(), readWrite: true)
        }
        #expect(try !store.exists("orphan"))
        #expect(try store.listing() == before)
    }

    static func createOnItself(_ store: DriverStore) throws {
        let before = try store.listing()
        expectFailure(.invalidArgument) { try store.create("self", on: "self") }
        #expect(try store.listing() == before)
        #expect(try !store.exists("self"))
    }

    static func badIDs(_ store: DriverStore) throws {
        let refused: [PathBytes] = [
            PathBytes(""), PathBytes("."), PathBytes(".."), PathBytes("a/b"), PathBytes("/"), PathBytes("../x"),
            PathBytes([65, 0, 66]), PathBytes(String(repeating: "x", count: 256)),
        ]
        for id in refused { expectFailure(.invalidArgument) { try LayerID(id) } }
        let before = try store.listing()
        for name in store.facts.reserved {
            let id = try LayerID(name)
            #expect(try !store.driver.exists(id), "\(name)")
            for readWrite in [true, false] {
                expectFailure(.invalidArgument, "uses this name itself") {
                    try store.create(name, readWrite: readWrite)
                }
            }
            expectFailure(.invalidArgument) { try store.driver.remove(id) }
            expectFailure(.notFound) { try store.get(name) }
            try store.driver.put(id)
        }
        #expect(try store.listing() == before)
        // Everything else is an id: other cases, spaces, bytes that are no text.
        guard store.facts.name != .zfs else { return try badDatasetNames(store) }
        let odd = store.facts.name == .fuseOverlayFS ? "with,comma and\\slash" : "with:colon,and\\slash"
        for name in ["A b", "-x", "\u{e9}", odd, String(repeating: "f", count: 64) + "-init"] {
            try store.create(name, readWrite: false)
            #expect(try store.exists(name))
        }
        let bytes = try LayerID(PathBytes([0xff, 0xfe]))
        try store.driver.create(bytes, parent: nil, options: CreateOptions())
        #expect(try store.driver.layers().contains(bytes))
    }

    /// What is a file's name is not always a dataset's.
    private static func badDatasetNames(_ store: DriverStore) throws {
        for name in ["A b", "-x", "with:colon", String(repeating: "f", count: 64) + "-init"] {
            try store.create(name, readWrite: false)
            #expect(try store.exists(name))
        }
        for name in ["\u{e9}", "with,comma", "back\\slash"] {
            expectFailure(.invalidArgument, "a dataset's name") { try store.create(name) }
        }
    }

    /// A layer of any name must not make the store look like another driver's.
    static func othersNames(_ store: DriverStore) throws {
        let all = ["l", "diff", "mnt", "layers", "root", "graph", "sizes", "staging", "tempdirs", "upper", "merged"]
        let free = all.filter { !store.facts.reserved.contains($0) }
        for id in free {
            try store.layer(id) { try $0.file("name", id) }
            try store.restart()
            #expect(try store.exists(id), "\(id)")
        }
        #expect(try store.driver.layers() == free.sorted().map { try LayerID($0) })
        #expect(try store.driver.check(repair: true).isEmpty)
        for id in free {
            try store.inside(id) { path throws in #expect(try readText(path + "/name") == id) }
        }
    }

    static func removeUnknown(_ store: DriverStore) throws {
        try store.remove("nobody")
        try store.create("once", readWrite: false)
        try store.remove("once")
        try store.remove("once")
        #expect(try !store.exists("once"))
        try store.create("once", readWrite: false)
        #expect(try store.exists("once"))
    }

    static func removeParent(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        if store.facts.removesParents {
            try store.remove("Base")
            #expect(try !store.exists("Base"))
            #expect(try store.exists("Child"))
            expectFailure(.corruptLayer) { try store.get("Child") }
            #expect(try mountPoints(below: store.home).isEmpty)
            #expect(try store.driver.check(repair: false).contains { $0.path.description.contains("Child") })
        } else {
            expectFailure(.inUse) { try store.remove("Base") }
            try store.verifyBase("Child")
        }
        // A broken child can be removed all the same.
        try store.remove("Child")
        #expect(try !store.exists("Child"))
    }

    static func metadataOfUnknown(_ store: DriverStore) throws {
        expectFailure(.notFound, "unknown layer") { try store.driver.metadata(of: LayerID("nobody")) }
        expectFailure(.notFound, "unknown layer") { try store.driver.readWriteDiskUsage(of: LayerID("nobody")) }
        expectFailure(.notFound, "unknown layer") { try store.driver.parent(of: LayerID("nobody")) }
        #expect(try !store.exists("nobody"))
    }

    static func metadata(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.layer("Child", on: "Base") { try $0.file("large", bytes: [UInt8](repeating: 1, count: 5000)) }
        _ = try store.get("Child")
        for id in ["Base", "Child"] {
            let items = try store.driver.metadata(of: LayerID(id))
            #expect(!items.isEmpty)
            #expect(items.map(\.key) == items.map(\.key).sorted(), "in one order")
            for item in items where item.key == "UpperDir" || item.key == "RootDir" || item.key == "Mountpoint" {
                #expect(status(store.text(item.value)).mode & S_IFMT == S_IFDIR || id == "Base", "\(id) \(item)")
            }
        }
        try store.put("Child")
        let usage = try store.driver.readWriteDiskUsage(of: LayerID("Child"))
        #expect(usage.byteCount >= 5000 && usage.inodeCount >= 1, "\(usage)")
    }
}
