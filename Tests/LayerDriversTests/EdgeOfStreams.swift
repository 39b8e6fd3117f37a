import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// Edge cases of the four difference operations.
enum EdgeOfStreams {
    static let layer = Tar.archive([
        D("d/"), F("d/one", "first"), F("d/two", "second"), W(".wh.a file"),
        F("large", bytes: [UInt8](repeating: 9, count: 300_000)),
    ])

    static func diffUnknown(_ store: DriverStore) throws {
        try store.create("Base", readWrite: false)
        let before = try store.listing()
        for (id, parent) in [("nobody", nil), ("nobody", "Base"), ("Base", "nobody")] as [(String, String?)] {
            var sink = CollectingSink()
            let parentID = try parent.map { try LayerID($0) }
            expectFailure(.notFound, "unknown layer") {
                try store.driver.diff(LayerID(id), since: parentID, into: &sink)
            }
            #expect(sink.bytes.isEmpty)
            expectFailure(.notFound, "unknown layer") { try store.changes(id, since: parent) }
            expectFailure(.notFound, "unknown layer") { try store.size(id, since: parent) }
        }
        expectFailure(.notFound, "unknown layer") {
            let files = try store.driver.files(of: LayerID("nobody"))
            _ = consume files
        }
        #expect(try store.listing() == before)
    }

    static func applyToUnknown(_ store: DriverStore) throws {
        try store.create("Base", readWrite: false)
        let before = try store.listing()
        for (id, parent) in [("nobody", nil), ("nobody", "Base"), ("Base", "nobody")] as [(String, String?)] {
            expectFailure(.notFound, "unknown layer") { try store.apply(layer, to: id, onto: parent) }
        }
        #expect(try store.listing() == before)
    }

    static func applyTwice(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Upper", on: "Base")
        try store.apply(layer, to: "Upper", onto: "Base")
        #expect(try store.snapshot("Upper").paths == ["a\\x20subdir/", "d/", "d/one", "d/two", "large"])
        let second = Tar.archive([
            D("d/"), F("d/three", "third"), F("d/one", "again"), W("d/.wh.two"), F("a file", "new"),
        ])
        try store.apply(second, to: "Upper", onto: "Base")
        let result = try store.snapshot("Upper")
        #expect(result.paths == ["a\\x20file", "a\\x20subdir/", "d/", "d/one", "d/three", "large"])
        #expect(result["d/one"]?.text == "again")
        #expect(try store.size("Upper", since: "Base") == 300_000 + 5 + 5 + 3)
    }

    static func failingStream(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Upper", on: "Base", readWrite: false)
        for place in [0, 700, 1600, layer.count / 2] {
            var stream = FailingSource(Array(layer[..<place]))
            expectFailure(.io, "the network is gone") {
                try store.driver.applyDiff(LayerID("Upper"), onto: LayerID("Base"), from: &stream)
            }
            #expect(try mountPoints(below: store.home).isEmpty)
        }
        // A layer that was empty is as it was, so the caller may try again; Remove works on it, too.
        try store.verifyBase("Upper")
        try store.apply(layer, to: "Upper", onto: "Base")
        try store.remove("Upper")
    }

    static func cutStream(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.create("Upper", on: "Base", readWrite: false)
        for place in [300, 1100, 3000, layer.count - 200_000] {
            do {
                try store.apply(Array(layer[..<place]), to: "Upper", onto: "Base")
                Issue.record("a stream cut at \(place) was taken for a layer")
            } catch let error as LayerError {
                #expect(error.code == .invalidArchive, "\(error)")
            }
            try store.verifyBase("Upper")
        }
        // A name that leads outside is an error of the archive, too, and nothing of the layer stays.
        expectFailure(.unsafePath) {
            try store.apply(Tar.archive([F("fine", "x"), F("../../escaped", "x")]), to: "Upper", onto: "Base")
        }
        try store.verifyBase("Upper")
    }

    static func trailingBytes(_ store: DriverStore) throws {
        try store.create("Base", readWrite: false)
        var stream = CountingSource(layer + [UInt8](repeating: 0, count: 100 * 512) + [1, 2, 3], pieceSize: 4096)
        let size = try store.driver.applyDiff(LayerID("Base"), onto: nil, from: &stream).size
        #expect(size == 300_011)
        let (isAtEnd, left) = (stream.isAtEnd, stream.left)
        #expect(isAtEnd, "\(left) bytes were not read")
    }

    static func diffClosedEarly(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            for index in 0..<40 { try tree.file("file-\(index)", bytes: randomContent(100_000, seed: index)) }
        }
        try store.layer("Upper", on: "Base") { tree in
            for index in 0..<40 { try tree.file("new-\(index)", bytes: randomContent(100_000, seed: index)) }
        }
        for parent in ["Base", nil] {
            var sink = ClosingSink(after: 1_000_000)
            expectFailure(.cancelled, "closed") {
                try store.driver.diff(LayerID("Upper"), since: parent.map { try LayerID($0) }, into: &sink)
            }
            #expect(try mountPoints(below: store.home).isEmpty)
        }
        // Nor does a job that is told to stop.
        let options = DifferenceOptions()
        options.cancel.cancel()
        var sink = CollectingSink()
        expectFailure(.cancelled) {
            try store.driver.diff(LayerID("Upper"), since: nil, options: options, into: &sink)
        }
        #expect(try mountPoints(below: store.home).isEmpty)
    }

    /// Parents that are not the direct one go through mounts, and say what a walk over both says.
    static func anyAncestor(_ store: DriverStore) throws {
        try store.createBase("Base")
        try store.layer("Middle", on: "Base") { tree in
            try tree.file("middle", "one")
            try tree.remove("a file")
        }
        try store.layer("Top", on: "Middle") { try $0.file("top", "four") }
        try store.layer("Other") { try $0.file("other", "x") }
        let expected: [(parent: String?, changes: [String], size: UInt64)] = [
            ("Middle", ["A /top"], 4), ("Base", ["D /a file", "A /middle", "A /top"], 7),
            (nil, ["A /a subdir", "A /middle", "A /top"], 7),
            ("Other", ["A /a subdir", "A /middle", "D /other", "A /top"], 7), ("Top", [], 0),
        ]
        for (parent, changes, size) in expected {
            #expect(try store.changes("Top", since: parent) == changes, "since \(parent ?? "nothing")")
            #expect(try store.size("Top", since: parent) == size, "since \(parent ?? "nothing")")
            let copy = "copy-\(parent ?? "nothing")"
            let layer = try store.diff("Top", since: parent)
            try store.create(copy, on: parent)
            try store.apply(layer, to: copy, onto: parent)
            try store.expectSame(copy, "Top")
            #expect(try mountPoints(below: store.home).isEmpty)
        }
    }

    static func files(_ store: DriverStore) throws {
        try store.layer("Base") { tree in
            try tree.directory("d")
            try tree.file("d/below", "from below")
            try tree.file("d/replaced", "old")
            try tree.link(symbolic: "absolute", to: "/d")
            try tree.file("gone", "deleted above")
            try tree.directory("e")
            try tree.file("e/hidden", "hidden above")
            try tree.link(symbolic: "loop", to: "loop")
            try tree.link(symbolic: "outside", to: "../../../../../../../../etc")
        }
        try store.layer("Top", on: "Base") { tree in
            try tree.file("d/replaced", "new")
            try tree.remove("gone")
            try tree.remove("e/hidden")
            try tree.remove("e")
            try tree.directory("e")
            try tree.file("e/own", "new")
        }
        let files = try store.driver.files(of: LayerID("Top"))
        func contents(_ name: String) throws -> String {
            let file = try files.open(PathBytes(name))
            let slab = Slab(capacity: 4096)
            let count = try file.read(into: slab, 0..<4096)
            return String(decoding: slab.span(0..<count).copied(), as: UTF8.self)
        }
        for name in ["d/replaced", "./d/replaced", "/d/replaced", "d/../d/replaced", "absolute/replaced"] {
            #expect(try contents(name) == "new", "\(name)")
        }
        for name in ["d/below", "absolute/below", "e/../absolute/../d/below"] {
            #expect(try contents(name) == "from below", "\(name)")
        }
        #expect(try contents("e/own") == "new")
        for name in ["missing", "d/missing", "outside/passwd", "d/below/x", "gone", "e/hidden"] {
            expectFailure(.notFound) { try contents(name) }
        }
    }
}

/// A stream that ends in an error.
struct FailingSource: SlabSource, ~Copyable {
    private var source: MemorySource
    init(_ bytes: [UInt8]) { source = MemorySource(bytes, pieceSize: 512) }
    mutating func next() throws(LayerError) -> Slab? {
        if let slab = try source.next() { return slab }
        throw LayerError(.io, "read the stream", cause: .reason("the network is gone"))
    }
    mutating func recycle(_ slab: consuming Slab) { source.recycle(slab) }
}

/// A stream that tells how much of it was read.
struct CountingSource: SlabSource, ~Copyable {
    private var source: MemorySource
    private(set) var left: Int
    private(set) var isAtEnd = false
    init(_ bytes: [UInt8], pieceSize: Int) {
        source = MemorySource(bytes, pieceSize: pieceSize)
        left = bytes.count
    }
    mutating func next() throws(LayerError) -> Slab? {
        let slab = try source.next()
        left -= slab?.count ?? 0
        isAtEnd = slab == nil
        return slab
    }
    mutating func recycle(_ slab: consuming Slab) { source.recycle(slab) }
}

/// A consumer that goes away.
struct ClosingSink: ByteSink, ~Copyable {
    private var room: Int
    init(after count: Int) { room = count }
    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        room -= bytes.byteCount
        guard room > 0 else { throw LayerError(.cancelled, "write the layer", cause: .reason("the reader closed it")) }
    }
    mutating func finish() throws(LayerError) {}
}
