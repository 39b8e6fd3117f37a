import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// What one entry changes counts for the entries behind it: where paths lead, and which names still wait for links.
@Suite struct ApplyOrderTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var base: [TarPiece]
        var layer: [TarPiece]
        var paths: [String]

        init(_ name: String, _ base: [TarPiece], _ layer: [TarPiece], _ paths: [String]) {
            (testDescription, self.base, self.layer, self.paths) = (name, base, layer, paths)
        }
    }

    static let paths = [
        Case(
            "a directory over the link that the path went through", [S("l", ".")],
            [F("l/a"), D("l/l"), F("l/x")], ["a", "l/", "l/x"]),
        Case(
            "the same, and the directory's name is the first one below the link", [S("l", ".")],
            [D("l/l"), F("l/x")], ["l/", "l/x"]),
        Case(
            "a whiteout of the link", [S("l", ".")], [F("l/a"), W("l/.wh.l"), F("l/x")], ["a", "l/", "l/x"]),
        Case(
            "a directory over a link that the link leads to", [S("l", "m"), S("m", ".")],
            [F("l/a"), D("l/m"), F("l/x")], ["a", "l", "m/", "m/x"]),
        Case(
            "an opaque marker beside the link", [D("d"), S("d/l", "."), F("d/old")],
            [F("d/l/a"), W("d/.wh..wh..opq"), F("d/l/x")], ["d/", "d/a", "d/l/", "d/l/x"]),
        Case(
            "an opaque marker at the top", [D("d"), S("l", "d"), F("old")],
            [F("l/a"), W(".wh..wh..opq"), F("l/x")], ["d/", "d/a", "l/", "l/x"]),
        Case(
            "an opaque marker above the link", [D("d"), D("d/e"), S("d/e/l", "/d")],
            [F("d/e/l/a"), W("d/.wh..wh..opq"), F("d/e/l/x")], ["d/", "d/a", "d/e/", "d/e/l/", "d/e/l/x"]),
        Case(
            "another link over the link", [D("d"), S("l", ".")], [F("l/a"), S("l/l", "d"), F("l/x")],
            ["a", "d/", "d/x", "l"]),
    ]

    @Test(arguments: paths, Target.allCases)
    func `a path leads where it leads now, not where it led for the entry before`(test: Case, target: Target) throws {
        #expect(try LayerEngineTests.paths(target, test.base, test.layer) == test.paths)
    }

    @Test(arguments: Target.allCases) func `a file over the link that the path went through ends the path`(
        _ target: Target
    ) throws {
        for over in [F("l/l"), P("l/l"), H("l/l", "l/a")] {
            let error = try failure(target, [S("l", ".")], [F("l/a"), over, F("l/x")])
            guard case .systemCall(let failed) = error?.cause else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(failed.errno == ENOTDIR)
        }
    }

    static let waiting = [
        Case(
            "its directory became a file", [], [D("d"), H("d/h", "late"), F("d", "f"), F("late", "l")], ["d", "late"]),
        Case(
            "its directory was replaced by a new one", [],
            [D("d"), H("d/h", "late"), F("d", "f"), D("d"), F("late", "l")], ["d/", "late"]),
        Case(
            "a directory above became a link", [],
            [D("d/e"), H("d/e/h", "late"), S("d", "x"), D("x"), F("late", "l")], ["d", "late", "x/"]),
        Case(
            "its name is a directory now", [D("x"), F("x/old", "o")], [H("x", "late"), D("x"), F("late", "l")],
            ["late", "x/"]),
        Case(
            "its name is a file now", [], [H("x", "late"), F("x", "mine"), F("late", "l")], ["late", "x"]),
    ]

    @Test(arguments: waiting, Target.allCases)
    func `a link that waits is forgotten with its name or directory`(test: Case, target: Target) throws {
        let seen = try view(target, test.base, test.layer)
        #expect(seen.paths == test.paths)
        #expect(seen["late"]?.text == "l" && seen["late"]?.firstPath == "late")
    }

    @Test(arguments: Target.allCases) func `of links that wait under one name the last one counts`(_ target: Target)
        throws
    {
        // The later link becomes possible later than the earlier one.
        let seen = try view(
            target, [H("x", "a"), H("x", "b"), H("b", "c"), H("c", "d"), F("a", "wrong"), F("d", "right")])
        #expect(["b", "c", "d", "x"].allSatisfy { seen[$0]?.firstPath == "b" } && seen["x"]?.text == "right")
        #expect(seen["a"]?.firstPath == "a")
        let again = try view(target, [H("x", "a"), F("x", "mine"), H("x", "b"), F("a", "wrong"), F("b", "right")])
        #expect(again["x"]?.firstPath == "b" && again["x"]?.text == "right")
    }

    @Test(arguments: Target.allCases) func `a link to a name that waits gets what that becomes, not what it was`(
        _ target: Target
    ) throws {
        let seen = try view(target, [F("a", "old")], [H("a", "late"), H("c", "a"), F("late", "new")])
        #expect(["a", "c", "late"].allSatisfy { seen[$0]?.firstPath == "a" && seen[$0]?.text == "new" })
    }

    @Test(arguments: Target.allCases) func `nothing lies below a name that waits for its link`(_ target: Target) throws
    {
        for base in [[], [D("x"), F("x/old")], [S("x", "y"), D("y")]] {
            let error = try failure(target, base, [H("x", "late"), F("x/y"), F("late")])
            guard case .systemCall(let failed) = error?.cause else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(failed.errno == ENOTDIR)
        }
    }

    @Test(arguments: Target.allCases) func `a link in place of a directory above its target is refused`(
        _ target: Target
    ) throws {
        let stack = try Stack(target)
        do {
            try stack.apply([D("d"), D("d/e"), F("d/e/f", "kept"), H("d", "d/e/f")])
            Issue.record("it was made")
        } catch let error as LayerError {
            #expect(error.code == .invalidArchive)
        }
        #expect(try stack.view()["d/e/f"]?.text == "kept")
    }

    @Test(arguments: Target.allCases) func `a link that waits is not lost where the root becomes opaque`(
        _ target: Target
    ) throws {
        let seen = try view(target, [F("c", "old"), F("d")], [H("c", "late"), W(".wh..wh..opq"), F("late", "new")])
        #expect(seen.paths == ["c", "late"] && seen["c"]?.text == "new" && seen["c"]?.firstPath == "c")
    }

    @Test(arguments: Target.allCases, [1, 2])
    func `files that came before their directory's entry get nothing that this hands down`(
        _ target: Target, _ workers: Int
    ) throws {
        let none: [UInt8] = [0xff, 0xff, 0xff, 0xff]
        let list: [UInt8] =
            [2, 0, 0, 0, 1, 0, 7, 0] + none + [2, 0, 7, 0, 0xd2, 4, 0, 0, 4, 0, 5, 0] + none + [16, 0, 7, 0] + none
            + [32, 0, 5, 0] + none
        for _ in 0..<10 {
            let stack = try Stack(target)
            stack.options.workers = workers
            try stack.apply([D("d")])
            let files = (0..<100).map { F("d/f\($0)", "x", 0o664) }
            try stack.apply(files + [D("d", 0o2775).ids(0, 7).xattr("system.posix_acl_default", list)])
            let seen = try stack.view()
            for number in 0..<100 {
                let file = seen["d/f\(number)"]
                #expect(file?.gid == 0 && file?.attributes == [:] && file?.mode == 0o664)
            }
        }
    }

    @Test func `the root is opaque for later layers and markers too`() throws {
        for dialect in [WhiteoutDialect.Name.overlay, .aufs, .fuseOverlayFS] {
            let scratch = try TemporaryDirectory()
            let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
            try apply(Tar.archive([F("a"), F("b"), S("l", "/")]), to: lower)
            var options = ApplyOptions()
            options.dialect = WhiteoutDialect(dialect)
            options.lowers = [PathBytes(lower)]
            try apply(Tar.archive([W(".wh.a"), W(".wh..wh..opq"), W(".wh..wh..opq")]), to: upper, options)
            // The link is hidden, so that this is a directory of the upper's own.
            try apply(Tar.archive([F("l/x"), W(".wh..wh..opq")]), to: upper, options)
            let copy = try scratch.directory("copy")
            try apply(Tar.archive([F("a"), F("b"), S("l", "/")]), to: copy)
            try apply(layer(source(upper, lowers: [lower], WhiteoutDialect(dialect))), to: copy)
            #expect(try TreeSnapshot(copy).paths == ["l/", "l/x"], "\(dialect)")
        }
    }

    @Test func `links that wait for each other are made in whatever order they came`() throws {
        var pieces = (1...2000).map { H("h\($0)", "h\($0 - 1)") }
        var numbers = SeededNumbers(seed: 7)
        pieces.shuffle(using: &numbers)
        let seen = try view(.merged, pieces + [F("h0", "x")])
        #expect(seen.entries.count == 2001 && seen.entries.values.allSatisfy { $0.firstPath == "h0" })
    }

    @Test(arguments: [WhiteoutDialect.Name.aufs, .fuseOverlayFS])
    func `a hard link does not lead to a marker`(_ name: WhiteoutDialect.Name) throws {
        let scratch = try TemporaryDirectory()
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        try apply(Tar.archive([F("a", "old"), F("b", "old"), F(".wh.b", "a marker of this layer")]), to: lower)
        var options = ApplyOptions()
        options.dialect = WhiteoutDialect(name)
        options.lowers = [PathBytes(lower)]
        for target in [".wh.a", ".wh.b"] {
            do {
                try apply(Tar.archive([W(".wh.a"), H("x", target)]), to: upper, options)
                Issue.record("a link to \(target) was made")
            } catch let error as LayerError {
                #expect(error.code == .invalidArchive)
            }
        }
        #expect(try TreeSnapshot(upper).paths == [".wh.a"])
    }
}
