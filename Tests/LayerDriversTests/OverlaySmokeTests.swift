import Glibc
import LayerCompression
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// The drivers of the overlay family on real mounts: the shortest way through all operations.
@Suite(.serialized) struct OverlaySmokeTests {
    @Test(arguments: [DriverName.overlay2, .overlay, .fuseOverlayFS])
    func `a base, a layer with a change, and its difference`(name: DriverName) throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let configuration = DriverConfiguration(home: PathBytes(scratch.path + "/" + name.rawValue))
        let driver = try DriverRegistry.open(name, configuration)
        let (base, top, copy) = (try LayerID("base"), try LayerID("top"), try LayerID("copy"))
        try driver.create(base, parent: nil, options: CreateOptions())
        do {
            let mounted = try driver.mount(base)
            try TreeBuilder.make(mounted.path.description) { tree in
                try tree.directory("d")
                try tree.file("d/kept", "kept")
                try tree.file("d/changed", "old")
                try tree.file("gone", "x")
            }
        }
        try driver.createReadWrite(top, parent: base, options: CreateOptions())
        do {
            let mounted = try driver.mount(top)
            let path = mounted.path.description
            #expect(try readFile(path + "/d/kept") == Array("kept".utf8))
            try rewrite(path + "/d/changed", "new")
            #expect(unlink(path + "/gone") == 0)
        }
        var found: [String] = []
        try driver.changes(top, since: base) { (kind, path) throws(LayerError) in
            found.append("\(Character(UnicodeScalar(kind.letter))) \(String(decoding: path.copied(), as: UTF8.self))")
        }
        #expect(found == ["C /d", "C /d/changed", "D /gone"])
        #expect(throws: LayerError.self) { try driver.create(top, parent: nil, options: CreateOptions()) }

        var layer = MemorySink()
        _ = try driver.diff(top, since: base, into: &layer)
        try driver.create(copy, parent: base, options: CreateOptions())
        var source = MemorySource(layer.bytes)
        _ = try driver.applyDiff(copy, onto: base, from: &source)
        do {
            let mounted = try driver.mount(copy)
            let path = mounted.path.description
            #expect(try readFile(path + "/d/changed") == Array("new".utf8))
            #expect(access(path + "/gone", F_OK) != 0)
        }
        #expect(try driver.layers() == [base, copy, top])
        for id in [copy, top, base, base] { try driver.remove(id) }
        #expect(try driver.layers().isEmpty)
        #expect(try driver.check(repair: false).isEmpty)
    }
}

/// Gives an existing file new contents, as a program in a container does.
func rewrite(_ path: String, _ text: String) throws {
    let file = open(path, O_WRONLY | O_TRUNC)
    guard file >= 0 else { throw SystemCallError("open", errno: errno) }
    defer { close(file) }
    let bytes = Array(text.utf8)
    guard write(file, bytes, bytes.count) == bytes.count else { throw SystemCallError("write", errno: errno) }
}

/// Layers of read-only stores besides one's own.
@Suite(.serialized) struct AdditionalStoreTests {
    @Test func `a layer of another store is mounted, and is a parent, and nothing in its store changes`() throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let shared = try scratch.directory("shared")
        let own = try scratch.directory("own")
        let (base, middle, top) = (try LayerID("base"), try LayerID("middle"), try LayerID("top"))
        do {
            let other = try DriverRegistry.open(
                .overlay2, DriverConfiguration(home: PathBytes(shared + "/overlay2")))
            try other.create(base, parent: nil, options: CreateOptions())
            try TreeBuilder.make(shared + "/overlay2/base/diff") { try $0.file("shared", "from the other store") }
            try other.create(middle, parent: base, options: CreateOptions())
            try TreeBuilder.make(shared + "/overlay2/middle/diff") { try $0.file("middle", "too") }
        }
        let before = try TreeSnapshot(shared)
        let driver = try DriverRegistry.open(
            .overlay2,
            DriverConfiguration(
                home: PathBytes(own + "/overlay2"), options: ["overlay2.additionalimagestore=\(shared)"]))
        #expect(driver.additionalImageStores == [PathBytes(shared + "/overlay2")])
        #expect(try driver.exists(base) && driver.exists(middle))
        #expect(try driver.layers().isEmpty)
        do {
            let mounted = try driver.mount(middle)
            #expect(try readFile(mounted.path.description + "/shared") == Array("from the other store".utf8))
            #expect(mkdir(mounted.path.description + "/new", 0o755) == -1 && errno == EROFS)
        }
        try driver.createReadWrite(top, parent: middle, options: CreateOptions())
        #expect(try driver.parent(of: top) == middle)
        do {
            let mounted = try driver.mount(top)
            try rewrite(mounted.path.description + "/shared", "changed here")
        }
        var found: [String] = []
        try driver.changes(top, since: middle) { (kind, path) throws(LayerError) in
            found.append(String(decoding: path.copied(), as: UTF8.self))
        }
        #expect(found == ["/shared"])
        #expect(throws: LayerError.self) { try driver.remove(base) }
        try driver.remove(top)
        #expect(try TreeSnapshot(shared) == before)
        #expect(try driver.check(repair: false).isEmpty)
    }
}
