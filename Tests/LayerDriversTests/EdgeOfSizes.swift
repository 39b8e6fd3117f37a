import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// What a layer's size is, whether it is counted or on record.
enum EdgeOfSizes {
    /// A recorded size is what a walk counts, or there is none (issue 4, item 7).
    static func sizes(_ store: DriverStore) throws {
        func expectSizes(_ when: String, _ sizes: [(id: String, parent: String?, bytes: UInt64)]) throws {
            for (id, parent, bytes) in sizes {
                let layer = try LayerID(id)
                let since = try parent.map { try LayerID($0) }
                let recorded = store.driver.recordedSize(of: layer, since: since)?.byteCount
                #expect(recorded == nil || recorded == bytes, "\(id) \(when)")
                for _ in 0..<2 { #expect(try store.size(id, since: parent) == bytes, "\(id) \(when)") }
            }
        }
        try store.create("base", readWrite: false)
        try store.apply(
            Tar.archive([D("d/"), F("d/one", "12345"), F("d/two", "12"), H("d/again", "d/two")]), to: "base", onto: nil)
        try store.create("top", on: "base", readWrite: false)
        try store.apply(Tar.archive([F("d/three", "123"), F("d/.wh.one")]), to: "top", onto: "base")
        try store.create("box", on: "top")
        let applied: [(id: String, parent: String?, bytes: UInt64)] = [
            ("base", nil, 7), ("top", "base", 3), ("box", "top", 0),
        ]
        try expectSizes("as applied", applied)
        try store.restart()
        try expectSizes("after a restart", applied)
        try store.build("box") { try $0.file("mine", "1") }
        try expectSizes("with a writable layer changed", [applied[0], applied[1], ("box", "top", 1)])
        // Again over what is there: the second archive adds to the first.
        try store.create("more", on: "base", readWrite: false)
        try store.apply(Tar.archive([F("x", "1")]), to: "more", onto: "base")
        try expectSizes("once", [("more", "base", 1)])
        try store.apply(Tar.archive([F("y", "12")]), to: "more", onto: "base")
        try expectSizes("twice", [("more", "base", 3)])
        try store.build("more") { try $0.file("z", "123") }
        try expectSizes("written into", [("more", "base", 6)])
    }
}
