import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Edge cases of get and put.
enum EdgeOfMounts {
    static func getUnknown(_ store: DriverStore) throws {
        let before = try store.listing()
        expectFailure(.notFound, "unknown layer") { try store.get("nobody") }
        #expect(try store.listing() == before)
        #expect(try mountPoints(below: store.home).isEmpty)
    }

    static func putUnknown(_ store: DriverStore) throws {
        let before = try store.listing()
        try store.put("nobody")
        #expect(try store.listing() == before)
    }

    static func readOnly(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        let (driver, id) = (store.driver, try LayerID("Child"))
        let path = try driver.get(id, options: MountOptions(access: .readOnly)).description
        #expect(open("\(path)/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644) == -1 && errno == EROFS)
        // Whoever wants to write must not get it for a tree that can be written to; who looks may look.
        expectFailure(.inUse, "it is mounted read-only") { try driver.get(id, options: MountOptions()) }
        #expect(try driver.get(id, options: MountOptions(access: .looking)).description == path)
        try driver.put(id)
        try driver.put(id)
        #expect(try mountPoints(below: path) == [])
        #expect(try driver.get(id, options: MountOptions()).description == path)
        try writeFile("\(path)/new", Array("new".utf8))
        expectFailure(.inUse, "so that it can be written to") {
            try driver.get(id, options: MountOptions(access: .readOnly))
        }
        try writeFile("\(path)/newer", Array("newer".utf8))
        try driver.put(id)
        #expect(try mountPoints(below: path) == [])
        // A layer that is its own directory cannot be kept from being written to, and is not said to be.
        do {
            let base = try driver.get(LayerID("Base"), options: MountOptions(access: .readOnly)).description
            #expect(open("\(base)/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644) == -1 && errno == EROFS)
            try driver.put(LayerID("Base"))
        } catch {
            #expect(error.code == .unsupported, "\(error)")
        }
    }

    static func putTooOften(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        try store.put("Child")
        try store.put("Child")
        // What came before does not count against the users that come now.
        let path = try store.get("Child")
        #expect(try store.get("Child") == path)
        try store.put("Child")
        #expect(try mountPoints(below: path) == [path])
        try store.put("Child")
        #expect(try mountPoints(below: path) == [])
        try store.put("Child")
        try store.verifyBase("Child")
    }

    static func removeWhileMounted(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        let path = try store.get("Child")
        #expect(try store.get("Child") == path)
        try store.remove("Child")
        #expect(try !store.exists("Child"))
        #expect(try mountPoints(below: store.home).isEmpty)
        // Two references were counted: they must not live on in the next layer of this name.
        try store.create("Child", on: "Base")
        #expect(try store.get("Child") == path)
        #expect(try mountPoints(below: path) == [path])
        try store.put("Child")
        #expect(try mountPoints(below: path) == [])
    }

    static func concurrentGet(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        let (count, rounds) = (8, 6)
        let path = try store.get("Child")
        try store.put("Child")
        let driver = store.driver
        try onThreads(count) { _ in
            for _ in 0..<rounds {
                let found = try driver.get(LayerID("Child"), options: MountOptions())
                guard String(decoding: found.bytes, as: UTF8.self) == path else { throw TestFailure("another path") }
                guard try names(in: path) == ["a file", "a subdir"] else { throw TestFailure("not mounted") }
                guard try mountPoints(below: path) == [path] else { throw TestFailure("not one mount") }
                try driver.put(LayerID("Child"))
            }
        }
        #expect(try mountPoints(below: path) == [])
        // All at once, and all hold it.
        try onThreads(count) { _ in _ = try driver.get(LayerID("Child"), options: MountOptions()) }
        #expect(try mountPoints(below: path) == [path])
        for index in 1...count {
            try store.put("Child")
            #expect(try mountPoints(below: path).count == (index == count ? 0 : 1))
        }
    }

    static func restartWhileMounted(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Child", on: "Base")
        let path = try store.get("Child")
        try TreeBuilder(path).file("written", "before")
        try store.restart()
        #expect(try mountPoints(below: path) == [path])
        #expect(try store.get("Child") == path)
        #expect(try mountPoints(below: path) == [path])
        #expect(try fileText(path + "/written") == "before")
        try store.put("Child")
        #expect(try mountPoints(below: path) == [path], "the earlier daemon's container still uses it")
        try store.put("Child")
        #expect(try mountPoints(below: path) == [])
        try store.inside("Child") { path throws in #expect(try fileText(path + "/written") == "before") }
    }
}
