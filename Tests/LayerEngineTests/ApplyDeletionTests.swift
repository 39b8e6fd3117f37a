import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// What deletions become on disk, whatever becomes of the names of other deletions.
@Suite struct ApplyDeletionTests {
    /// Applies a layer over a lower directory, as an upper directory of overlay.
    private func upper(_ lower: [TarPiece], _ layer: [TarPiece], _ change: (inout ApplyOptions) -> Void = { _ in })
        throws -> (tree: TreeSnapshot, report: ApplyReport)
    {
        let scratch = try TemporaryDirectory(in: "/dev/shm")
        let (below, root) = (try scratch.directory("lower"), try scratch.directory("upper"))
        try apply(Tar.archive(lower), to: below)
        var options = ApplyOptions()
        options.dialect = .overlay
        options.lowers = [PathBytes(below)]
        change(&options)
        let report = try apply(Tar.archive(layer), to: root, options)
        return (try TreeSnapshot(root), report)
    }

    private func isWhiteout(_ entry: TreeSnapshot.Entry?) -> Bool {
        entry?.kind == .characterDevice && entry?.major == 0 && entry?.minor == 0
    }

    static let fillings: [[TarPiece]] = [
        [S("a", "/etc/passwd")], [F("a", "new")], [P("a")], [C("a", 1, 3)], [D("a"), F("a/f")], [F("z"), H("a", "z")],
        [H("a", "late"), F("late")], [S("x", "y"), H("a", "x")],
    ]

    @Test(arguments: fillings) func `a deletion stays one when the name of an earlier one is filled again`(
        _ filling: [TarPiece]
    ) throws {
        let (tree, _) = try upper([F("a"), F("b"), F("c")], [W(".wh.a")] + filling + [W(".wh.b"), W(".wh.c")])
        #expect(isWhiteout(tree["b"]) && isWhiteout(tree["c"]))
        #expect(!isWhiteout(tree["a"]) && tree["a"] != nil)
        // They still share an inode.
        #expect(tree["c"]?.firstPath == "b")
    }

    @Test(arguments: [1, 5]) func `a deletion stays one when writers fill the name of an earlier one`(
        _ workers: Int
    ) throws {
        for _ in 0..<5 {
            let files = (0..<300).map { F("f\($0)", "content") }
            let (tree, _) = try upper([F("a"), F("b")], [W(".wh.a"), F("a", "new")] + files + [W(".wh.b")]) {
                $0.workers = workers
            }
            #expect(isWhiteout(tree["b"]) && tree["a"]?.text == "new" && tree["a"]?.firstPath == "a")
        }
    }

    @Test func `a deletion stays one while another process replaces the others`() throws {
        let scratch = try TemporaryDirectory()
        let (below, root) = (try scratch.directory("lower"), try scratch.directory("upper"))
        let names = (0..<2000).map { "w\($0)" }
        try apply(Tar.archive(names.map { F($0) }), to: below)
        var options = ApplyOptions()
        options.dialect = .overlay
        options.lowers = [PathBytes(below)]
        let first = root + "/w0"
        try beside {
            unlink(first)
            symlink("/etc/passwd", first)
        } run: {
            for _ in 0..<5 {
                do {
                    try apply(Tar.archive(names.map { W(".wh." + $0) }), to: root, options)
                } catch let error as LayerError {
                    // What the other one put in place of the first is its own.
                    guard case .systemCall(let failed) = error.cause, [EEXIST, ENOENT].contains(failed.errno) else {
                        throw error
                    }
                }
                for name in names.dropFirst() {
                    var found = stat()
                    guard lstat(root + "/" + name, &found) == 0 else { continue }
                    #expect(found.st_mode & S_IFMT == S_IFCHR && found.st_rdev == 0, "\(name)")
                    unlink(root + "/" + name)
                }
            }
        }
    }

    /// Runs `run` while a thread does `race` over and over.
    private func beside(_ race: @escaping @Sendable () -> Void, run: () throws -> Void) throws {
        let stop = CancelFlag()
        let racer = try WorkerThread { while !stop.isCancelled { race() } }
        let outcome = Result { try run() }
        stop.cancel()
        racer.join()
        try outcome.get()
    }

    // MARK: long names

    private static let lengths = [251, 252, 255]

    @Test(arguments: lengths, Target.allCases) func `names of up to 255 bytes can be deleted`(
        _ length: Int, _ target: Target
    ) throws {
        let name = String(repeating: "n", count: length)
        let base = [D("d"), F("d/" + name, "x"), F(name), F("kept")]
        let stack = try Stack(target)
        try stack.apply(base)
        try stack.apply([W("d/.wh." + name), W(".wh." + name)])
        #expect(try stack.view().paths == ["d/", "kept"])
        // Directories, and what is deleted where nothing is.
        try stack.apply([D(name), F(name + "/f")])
        try stack.apply([W(".wh." + name + "/"), W("d/.wh." + name)])
        #expect(try stack.view().paths == ["d/", "kept"])
    }

    @Test(arguments: Target.allCases) func `longer names are refused, marks and others`(_ target: Target) throws {
        for name in [".wh." + String(repeating: "n", count: 256), String(repeating: "n", count: 256)] {
            let error = try failure(target, [F(name)])
            #expect(error?.code == .invalidArchive)
        }
        let inside = ".wh." + String(repeating: "n", count: 252) + "/f"
        #expect(try failure(target, [F(inside)])?.code == .invalidArchive)
        let far = try failure(target, [H("x", String(repeating: "n", count: 256) + "/f")])
        #expect(far?.code == .invalidArchive)
    }

    @Test(arguments: lengths) func `a deletion that ldiff has written is one that it reads`(_ length: Int) throws {
        let name = String(repeating: "n", count: length)
        let scratch = try TemporaryDirectory()
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        try apply(Tar.archive([F(name, "x"), F("kept")]), to: lower)
        try TreeBuilder.make(upper) { try $0.whiteout(name) }
        let archive = try layer(source(upper, lowers: [lower], .overlay))
        #expect(try texts(archive) == ["W .wh." + name])
        try apply(archive, to: lower)
        #expect(try TreeSnapshot(lower).paths == ["kept"])
    }

    @Test func `a deletion without a form in the dialect is refused before anything is done for it`() throws {
        let scratch = try TemporaryDirectory()
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        let (short, long) = (String(repeating: "n", count: 251), String(repeating: "n", count: 252))
        try apply(Tar.archive([F(short), F(long)]), to: lower)
        var options = ApplyOptions()
        options.dialect = .aufs
        options.lowers = [PathBytes(lower)]
        let absent = String(repeating: "m", count: 255)
        try apply(
            Tar.archive([F(long, "newer"), D(absent), F(absent + "/f")]), to: upper, options)
        // Nothing below has that name, so nothing has to be written.
        try apply(Tar.archive([W(".wh." + short), W(".wh." + absent)]), to: upper, options)
        do {
            try apply(Tar.archive([W(".wh." + long)]), to: upper, options)
            Issue.record("it was written")
        } catch let error as LayerError {
            #expect(error.code == .limitExceeded && error.path == PathBytes(long))
        }
        let tree = try TreeSnapshot(upper)
        #expect(tree.paths == [".wh." + short, long] && tree[long]?.text == "newer")
    }

    @Test func `a name too long for a file beside it is deleted by a device where the dialect has those`() throws {
        let scratch = try TemporaryDirectory()
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        let (short, long) = (String(repeating: "n", count: 251), String(repeating: "n", count: 255))
        try apply(Tar.archive([F(short), F(long), F("kept")]), to: lower)
        var options = ApplyOptions()
        options.dialect = .fuseOverlayFS
        options.lowers = [PathBytes(lower)]
        let layer = [W(".wh." + short), W(".wh." + long)]
        // Applied twice, and with the name filled again in between.
        for pieces in [layer, layer, [F(long, "new")], layer] {
            try apply(Tar.archive(pieces), to: upper, options)
        }
        let seen = try TreeSnapshot(upper)
        #expect(seen.paths == [".wh." + short, long] && seen[long]?.kind == .characterDevice)
        let archive = try LayerEngineTests.layer(source(upper, lowers: [lower], .fuseOverlayFS))
        try apply(archive, to: lower)
        #expect(try TreeSnapshot(lower).paths == ["kept"])
    }

    @Test(arguments: [WhiteoutDialect.Name.aufs, .fuseOverlayFS, .overlay])
    func `marks keep what their entries say, so that the layer comes out as it went in`(
        _ dialect: WhiteoutDialect.Name
    ) throws {
        let scratch = try TemporaryDirectory()
        let lower = try scratch.directory("lower")
        try apply(Tar.archive([F("a"), F("b"), D("d"), F("d/x"), F("e")]), to: lower)
        // A deletion leaves an overlay upper with the mode 0600, and an opaque mark with its directory's.
        let isFile = dialect != .overlay
        var owned = W(".wh.b").ids(12, 0)
        if isFile { owned.mode = 0o640 }
        let archive = Tar.archive([
            W(".wh.a").time(1_000_000_000), owned, W(".wh.e").time(1_100_000_000), D("d"), W("d/.wh..wh..opq"),
        ])
        var options = ApplyOptions()
        options.dialect = WhiteoutDialect(dialect)
        options.lowers = [PathBytes(lower)]
        var layers: [[UInt8]] = []
        for round in 0..<2 {
            let upper = try scratch.directory("upper-\(round)")
            try apply(layers.last ?? archive, to: upper, options)
            layers.append(try layer(source(upper, lowers: [lower], WhiteoutDialect(dialect))))
            let snapshot = try TreeSnapshot(upper)
            #expect(snapshot[isFile ? ".wh.a" : "a"]?.seconds == 1_000_000_000)
            #expect(snapshot[isFile ? ".wh.b" : "b"]?.uid == 12)
            #expect(snapshot[isFile ? ".wh.e" : "e"]?.seconds == 1_100_000_000)
            guard isFile else { continue }
            #expect(snapshot[".wh.b"]?.mode == 0o640)
            #expect(snapshot["d/.wh..wh..opq"]?.seconds == TarPiece.time)
        }
        #expect(layers[0] == layers[1])
    }

    // MARK: inodes with all the names that they can have

    /// ext4's limit.
    private static let mostNames = 65_000

    private func full(_ root: String) throws {
        let scratch = root + "/names"
        mkdir(scratch, 0o755)
        var names = 1
        while link(root + "/f", scratch + "/\(names)") == 0 { names += 1 }
        try #require(errno == EMLINK && names == Self.mostNames, "\(names)")
    }

    @Test func `names beyond the limit of an inode are names of one copy`() throws {
        let scratch = try TemporaryDirectory()
        let value = [UInt8](repeating: 7, count: 20)
        try apply(Tar.archive([F("f", "content", 0o4711).ids(5, 6).xattr("user.x", value)]), to: scratch.path)
        try full(scratch.path)
        var links = (0..<20).map { H("h\($0)", "f").ids(5, 6) }
        for index in links.indices { links[index].mode = 0o4711 }
        let report = try apply(Tar.archive(links), to: scratch.path)
        let tree = try TreeSnapshot(scratch.path)
        for number in 0..<20 {
            let entry = try #require(tree["h\(number)"])
            #expect(entry.firstPath == "h0" && entry.text == "content" && entry.mode == 0o4711 && entry.uid == 5)
            #expect(entry.attributes["user.x"] == value)
        }
        #expect(report.uniqueFileBytes == 7)

        // A copy is found by itself, not by a name that something else may have by then.
        let more = (0..<5).map { number in H("h\(number)", "f").ids(5, 6).with { $0.mode = 0o4711 } }
        try apply(
            Tar.archive([more[1], F("h1", "another"), more[2], more[3], S("h2", "/etc/passwd"), more[4]]),
            to: scratch.path)
        let after = try TreeSnapshot(scratch.path)
        #expect(after["h1"]?.text == "another" && after["h1"]?.firstPath == "h1" && after["h2"]?.kind == .symbolicLink)
        #expect(after["h3"]?.text == "content" && after["h4"]?.text == "content" && after["h4"]?.firstPath == "h3")
    }
}
