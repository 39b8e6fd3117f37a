import Glibc
import LayerDrivers
import LayerKit
import TestSupport
import Testing

/// The drivers of the overlay family on real mounts: the shortest way through all operations.
@Suite(.serialized) struct OverlaySmokeTests {
    @Test(arguments: [DriverName.overlay2, .overlay])
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
