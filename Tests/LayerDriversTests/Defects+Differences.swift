import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Regression tests of the originals' defects, second half: differences.
extension Defects {
    static func unreadableFile(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.layer("Upper", on: "Base") { tree in
            try tree.file("file-1", bytes: randomContent(200_000, seed: 1))
            // Longer than what is read ahead of the first write.
            try tree.file("file-2", bytes: [UInt8](repeating: 7, count: 40_000_000))
        }
        // A file that shrinks while it is read: everything behind it would be wrong, so the diff is an error.
        let path = try store.get("Upper")
        let upper = try store.driver.metadata(of: LayerID("Upper")).first { $0.key == "UpperDir" }
        let place = upper.map { store.text($0.value) } ?? path
        var sink = HookSink { truncate(place + "/file-2", 100) }
        expectFailure(.fileChanged) {
            try store.driver.diff(LayerID("Upper"), since: LayerID("Base"), into: &sink)
        }
        try store.put("Upper")
    }

    static func costFollowsTheChange(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            for directory in 0..<20 {
                try tree.directory("directory-\(directory)")
                for index in 0..<50 { try tree.file("directory-\(directory)/file-\(index)", "content") }
            }
        }
        try store.layer("Upper", on: "Base") { try $0.file("directory-7/file-7", "changed") }
        var lines = 0
        let report = try store.driver.changes(LayerID("Upper"), since: LayerID("Base")) { (_, _) throws(LayerError) in
            lines += 1
        }
        #expect(lines == 2)
        let source = try store.driver.changeSource(of: LayerID("Upper"), since: LayerID("Base"))
        let isNative = source.isNative
        _ = consume source
        #expect(isNative == store.facts.readsUpperAlone)
        if isNative {
            // A walk would look at a thousand files.
            #expect(report.io.stats + report.io.opens < 60, "\(report.io)")
            try store.inside("Upper") { path throws in
                // What is mounted meanwhile does not matter, and nothing is mounted for it.
                #expect(try store.changes("Upper", since: "Base").count == 2)
                #expect(try mountPoints(below: store.home) == [path])
            }
        }
    }

    static func idMaps(_ facts: DriverFacts) throws {
        let facts = facts
        var mapped = facts
        mapped.open = { name, configuration in
            var configuration = configuration
            configuration.uidMap = IDMap([IDMap.Range(container: 0, host: 100_000, count: 65536)])
            configuration.gidMap = IDMap([IDMap.Range(container: 0, host: 200_000, count: 65536)])
            return try facts.open(name, configuration)
        }
        let store = try DriverStore(mapped)
        let layer = Tar.archive([D("d/").ids(5, 6), F("d/f", "x").ids(0, 0), F("other").ids(1000, 1000)])
        try store.create("Base", readWrite: false)
        try store.apply(layer, to: "Base", onto: nil)
        try store.inside("Base") { path in
            #expect(status(path).uid == 100_000 && status(path).gid == 200_000)
            #expect(status(path + "/d").uid == 100_005 && status(path + "/d").gid == 200_006)
            #expect(status(path + "/other").uid == 101_000 && status(path + "/other").gid == 201_000)
        }
        try store.create("Upper", on: "Base")
        for (id, parent) in [("Base", nil), ("Upper", nil)] as [(String, String?)] {
            let lines = try tarListing(store.diff(id, since: parent))
            #expect(
                lines == ["drwxr-xr-x 5/6 d/", "-rw-r--r-- 0/0 d/f", "-rw-r--r-- 1000/1000 other"], "\(id): \(lines)")
        }
        try store.finish()
    }

    static func hazards(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            try tree.directory("d")
            try tree.file("d/below", "below")
            try tree.directory("e")
            try tree.file("e/below", "below")
            try tree.file("plain", "below")
        }
        let cases: [(layer: [TarPiece], expected: [String], why: String)] = [
            ([D("d/"), F("d/new"), W(".wh.d")], ["d/", "d/new"], "a: the directory first, then its whiteout"),
            ([F("plain", "new"), W(".wh.plain")], ["plain"], "a: the file first, then its whiteout"),
            ([W(".wh.d"), D("d/"), F("d/new")], ["d/", "d/new"], "b: the whiteout first, then the directory"),
            ([W(".wh.d"), W("d/.wh.below"), F("d/new")], ["d/", "d/new"], "c: a whiteout below a deleted name"),
            (
                [F("d/sub/file"), W("d/.wh..wh..opq")], ["d/", "d/sub/", "d/sub/file"],
                "an implied directory is new, too"
            ),
            ([F("ab"), H("abc", "ab"), F("abcd"), H("e/l", "abcd")], ["ab", "abc", "abcd"], "similar names of links"),
        ]
        for (index, test) in cases.enumerated() {
            let id = "upper-\(index)"
            try store.create(id, on: "Base")
            try store.apply(Tar.archive(test.layer), to: id, onto: "Base")
            let paths = try store.snapshot(id).paths
            let touched = Set(test.expected.map { $0.split(separator: "/")[0] })
            #expect(paths.filter { touched.contains($0.split(separator: "/")[0]) } == test.expected, "\(test.why)")
            #expect(paths.contains("e/below"), "\(test.why)")
        }
    }

    static func attributes(_ store: DriverStore) throws {
        try store.layer("Base")
        try store.layer("Upper", on: "Base") { tree in
            try tree.file("f", "x")
            try tree.attribute("f", "user.note", "kept")
            try tree.file("capable", "x")
            try tree.attribute("capable", "security.capability", capability(revision: 2))
        }
        let layer = try store.diff("Upper", since: "Base")
        try store.create("Copy", on: "Base")
        try store.apply(layer, to: "Copy", onto: "Base")
        let copy = try store.snapshot("Copy")
        #expect(copy["f"]?.attributes["user.note"] == Array("kept".utf8))
        #expect(copy["capable"]?.attributes["security.capability"] == capability(revision: 2))
    }

    static func devices(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            try tree.block("block", 7, 99)
            try tree.character("character", 1, 3)
            try tree.socket("socket")
            try tree.fifo("fifo")
        }
        let touched = store.facts.isShownByFuse ? [] : ["block", "character", "fifo", "socket"]
        try store.layer("Upper", on: "Base") { tree in
            for name in touched { try tree.times(name, TreeBuilder.time + 7) }
        }
        let expected = touched.map { "C /\($0)" }
        #expect(try store.changes("Upper", since: "Base") == expected)
        #expect(try store.comparedChanges("Upper", since: "Base") == expected)
        try store.layer("Other", on: "Base") { tree in
            try tree.remove("block")
            try tree.block("block", 7, 98)
        }
        #expect(try store.changes("Other", since: "Base") == ["C /block"])
    }

    static func appliedSize(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Upper", on: "Base", readWrite: false)
        let layer = Tar.archive([
            F("one", "12345"), H("two", "one"), S("link", "one"), F("twice", "first, longer"), F("twice", "last"),
            W(".wh.a file"),
        ])
        let size = try store.apply(layer, to: "Upper", onto: "Base").size
        // Native: what lies there, links by their text. By headers: all sizes that the archive names.
        let isNative = store.facts.countsAppliedFiles
        #expect(size == (isNative ? 5 + 3 + 4 : 5 + 13 + 4))
        if isNative { #expect(try store.size("Upper", since: "Base") == size) }
    }
}

/// Takes everything, and does something once after the first bytes.
struct HookSink: ByteSink, ~Copyable {
    private var hook: (() -> Int32)?
    init(_ hook: @escaping () -> Int32) { self.hook = hook }
    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        _ = hook?()
        hook = nil
    }
    mutating func finish() throws(LayerError) {}
}
