import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// What graph drivers ask of the engine: tall stacks, sizes, counts, names that do not count.
@Suite struct DriverNeedsTests {
    @Test(arguments: [WhiteoutDialect.Name.overlay, .fuseOverlayFS])
    func `128 lower directories cost their own directories, once`(name: WhiteoutDialect.Name) throws {
        let scratch = try TemporaryDirectory()
        var lowers: [String] = []
        for level in 0..<128 {
            let lower = scratch.path + "/l\(level)"
            try TreeBuilder.make(lower) { tree in
                try tree.directory("d")
                try tree.file("d/only \(level)", "x")
                try tree.file("d/every", "\(level)")
                if level == 0 { for index in 0..<100 { try tree.file("d/f\(index)", "at the bottom") } }
                if level == 64 { try tree.whiteout("d/f7") }
            }
            lowers.insert(lower, at: 0)
        }
        let upper = scratch.path + "/upper"
        try TreeBuilder.make(upper) { tree in
            try tree.directory("d")
            for index in 0..<100 { try tree.file("d/f\(index)", "changed") }
            try tree.whiteout("d/only 3")
            try tree.file("d/every", "127")
        }
        var from = source(upper, lowers: lowers, WhiteoutDialect(name), workers: 1)
        from.contents = .always
        var lines: [String] = []
        let report = try DiffEngine.changes(from) { (kind, path) throws(LayerError) in
            lines.append("\(Character(UnicodeScalar(kind.letter))) \(String(decoding: path.copied(), as: UTF8.self))")
        }
        var expected = ["C /d", "D /d/only 3"]
        for index in 0..<100 { expected.append("\(index == 7 ? "A" : "C") /d/f\(index)") }
        #expect(lines.sorted() == expected.sorted())
        // Every root and every `d` once, the upper's, and two files whose contents decide.
        #expect(report.io.opens <= 2 * 129 + 4, "\(report.io.opens) directories and files were opened")
        #expect(try DiffEngine.size(from).bytes == 703)
        let mount = try Mount.overlay(OverlayOptions(), lowers: lowers, at: scratch.path + "/base")
        try #require(access(mount.path + "/d/f7", F_OK) != 0)
        try mount.unmount()
    }

    @Test func `usage of a directory counts each inode once, directories too`() throws {
        let scratch = try TemporaryDirectory()
        let path = scratch.path + "/tree"
        try TreeBuilder.make(path) { tree in
            try tree.directory("d")
            try tree.file("d/f", "12345")
            try tree.link("d/g", to: "d/f")
            try tree.link("h", to: "d/f")
            try tree.link(symbolic: "s", to: "abc")
            try tree.whiteout("w")
            try tree.link("w2", to: "w")
            try tree.fifo("p")
            try tree.file("empty")
        }
        let size = try DiffEngine.size(source(path))
        #expect(size.bytes == 8)
        // root, d, one file, link, whiteout, FIFO, empty file
        #expect(size.inodes == 7)
        #expect(size.entries == 10)
        #expect {
            try DiffEngine.size(source(scratch.path + "/missing"))
        } throws: { ($0 as? LayerError)?.code == .notFound }
    }

    @Test func `names at the top that belong to nobody are left out, and only there`() throws {
        let scratch = try TemporaryDirectory()
        let (old, new) = (scratch.path + "/old", scratch.path + "/new")
        for path in [old, new] {
            try TreeBuilder.make(path) { tree in
                try tree.directory(".zfs")
                try tree.directory("d")
                try tree.directory("lost+found")
                if path == new {
                    try tree.file(".zfs/snapshot", "s")
                    try tree.file("d/.zfs", "counts")
                    try tree.file("lost+found/f", "f")
                }
            }
        }
        for dialect in [WhiteoutDialect.tree, .overlay] {
            var from = source(new, lowers: [old], dialect)
            from.ignoredAtTop = [PathBytes(".zfs")]
            #expect(try changes(from) == ["C /d", "A /d/.zfs", "C /lost+found", "A /lost+found/f"])
            let names = try texts(layer(from)).filter { $0.contains("zfs") }
            #expect(names == ["F d/.zfs"])
            #expect(try DiffEngine.size(from).bytes == 7)
        }
        // aufs's own names at the top of a branch, but not its opaque marker, and not below.
        try TreeBuilder.make(new) { tree in
            try tree.file(".wh..wh.aufs")
            try tree.directory(".wh..wh.plnk")
            try tree.file(".wh..wh.plnk/1.2", "x")
            try tree.file(".wh..wh..opq")
            try tree.file("d/.wh..wh..opq")
        }
        let branch = try texts(layer(source(new, .aufs))).filter { $0.contains(".wh.") }
        #expect(branch == ["W .wh..wh..opq", "W d/.wh..wh..opq"])
    }

    @Test(arguments: [true, false]) func `attributes that a file system does not know`(bestEffort: Bool) throws {
        // An error for capabilities, a warning for others; with best effort always a warning.
        let scratch = try TemporaryDirectory()
        let mount = try Mount("ramfs", at: scratch.path + "/ramfs")
        var options = ApplyOptions()
        options.bestEffort = bestEffort
        let user = Tar.archive([F("f", "x").xattr("user.note", "v"), D("d").xattr("user.note", "v")])
        let report = try apply(user, to: mount.path, options)
        #expect(report.warningCount == 2)
        let program = Tar.archive([F("p", "x").xattr("security.capability", capability(revision: 2))])
        if bestEffort {
            #expect(try apply(program, to: mount.path, options).warningCount == 1)
        } else {
            #expect { try apply(program, to: mount.path, options) } throws: {
                ($0 as? LayerError)?.code == .unsupported
            }
        }
        try mount.unmount()
    }

    /// K17: what an apply says it made is what a walk finds.
    @Test(arguments: 1...12) func `an apply into an empty directory reports its size and its entries`(seed: Int) throws
    {
        var random = SeededNumbers(seed: UInt64(seed))
        // In memory: five hundred small trees are made and removed.
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let lower = try scratch.directory("lower")
        try apply(Tar.archive([D("a"), F("a/b", "lower"), D("a/c"), F("a/c/d", "dd"), F("b", "linked")]), to: lower)
        var applied = 0
        for round in 0..<40 {
            let layer = Self.randomLayer(&random)
            let bytes = Tar.archive(layer)
            for (index, dialect) in [WhiteoutDialect.overlay, .aufs, .fuseOverlayFS, .tree].enumerated() {
                for lowers in [nil, [], [PathBytes(lower)]] as [[PathBytes]?] where lowers == nil || dialect != .tree {
                    let upper = try scratch.directory("u\(round).\(index).\(lowers?.count ?? 9)")
                    var options = ApplyOptions()
                    (options.dialect, options.lowers, options.workers) = (dialect, lowers, 2)
                    guard let report = try? apply(bytes, to: upper, options) else { continue }
                    applied += 1
                    let size = try DiffEngine.size(source(upper, dialect))
                    let place = "\(dialect.name), lowers \(String(describing: lowers)): \(layer.map(\.text))"
                    #expect(report.uniqueFileBytes == size.bytes, "bytes, \(place)")
                    #expect(report.presentEntries == size.entries - 1, "entries, \(place)")
                    #expect(report.size == layer.reduce(0) { $0 + UInt64($1.body.count) }, "headers, \(place)")
                }
            }
        }
        #expect(applied > 40)
    }

    /// A layer of few names that meet each other often.
    private static func randomLayer(_ random: inout SeededNumbers) -> [TarPiece] {
        let names = ["a", "b", "c", "a/b", "a/c", "a/c/d", "a/c/e", "b/x", "c/y/z", "d/e/f/g"]
        return (0..<1 + random.below(12)).map { _ in
            let name = random.pick(names)
            switch random.below(12) {
            case 0...3: return F(name, String(repeating: "x", count: random.below(2000)))
            case 4, 5: return D(name)
            case 6: return S(name, random.pick(["a", "../b", "gone"]))
            case 7: return H(name, random.pick(names))
            case 8: return P(name)
            case 9, 10:
                let parts = name.split(separator: "/")
                return W((parts.dropLast().map(String.init) + [".wh." + parts[parts.count - 1]]).joined(separator: "/"))
            default: return W(name + "/.wh..wh..opq")
            }
        }
    }
}

extension TarPiece {
    fileprivate var text: String { "\(Character(UnicodeScalar(type))) \(String(decoding: name, as: UTF8.self))" }
}
