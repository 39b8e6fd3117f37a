import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// A second layer applied into an upper directory that already holds one: the merged
/// view must be that of both layers applied to a whole tree, one after the other.
@Suite struct ApplyMergeTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var lower: [TarPiece]
        var first: [TarPiece]
        var second: [TarPiece]
        init(_ name: String, lower: [TarPiece], _ first: [TarPiece], _ second: [TarPiece]) {
            (testDescription, self.lower, self.first, self.second) = (name, lower, first, second)
        }
    }

    static let lower = [D("d"), F("d/f", "old"), D("d/sub"), F("d/sub/g", "old"), F("top", "old"), S("link", "d")]

    static let cases = [
        Case("a deleted name comes back as a file", lower: lower, [W("d/.wh.f")], [F("d/f", "new")]),
        Case("a deleted name comes back as a directory", lower: lower, [W(".wh.d")], [D("d"), F("d/new", "n")]),
        Case("a deleted directory comes back by a path only", lower: lower, [W(".wh.d")], [F("d/deep/new", "n")]),
        Case(
            "a replaced directory becomes one again", lower: lower, [F("d", "a file now")], [D("d"), F("d/new", "n")]),
        Case("a deleted name stays deleted", lower: lower, [W("d/.wh.f")], [W("d/.wh.f")]),
        Case("a new name is deleted", lower: lower, [F("d/new", "n")], [W("d/.wh.new")]),
        Case("a changed name is deleted", lower: lower, [F("d/f", "changed")], [W("d/.wh.f")]),
        Case("a changed directory is deleted", lower: lower, [F("d/sub/h", "h")], [W("d/.wh.sub")]),
        Case(
            "an opaque directory gets more", lower: lower, [D("d"), W("d/.wh..wh..opq"), F("d/a", "a")], [F("d/b", "b")]
        ),
        Case(
            "an implied directory below an opaque one", lower: lower, [D("d"), W("d/.wh..wh..opq")],
            [F("d/sub/new", "n")]),
        Case("a whiteout below an opaque directory", lower: lower, [D("d"), W("d/.wh..wh..opq")], [W("d/.wh.f")]),
        Case(
            "a directory becomes opaque that has names of its own", lower: lower, [F("d/a", "a"), W("d/.wh.f")],
            [D("d"), F("d/b", "b"), W("d/.wh..wh..opq")]),
        Case(
            "opaque twice", lower: lower, [D("d"), W("d/.wh..wh..opq"), F("d/a", "a")],
            [W("d/.wh..wh..opq"), F("d/b", "b")]),
        Case(
            "the root becomes opaque", lower: lower, [F("d/a", "a"), W(".wh.top")], [W(".wh..wh..opq"), F("x", "x")]),
        Case("a link to a name of the first layer", lower: lower, [F("d/a", "a")], [H("h", "d/a")]),
        Case("a link to a name of the lower layer", lower: lower, [F("d/a", "a")], [H("h", "d/f")]),
        Case(
            "a path through a link that the first layer made", lower: lower, [S("other", "d/sub")], [F("other/n", "n")]),
        Case("a path through a link that the first layer deleted", lower: lower, [W(".wh.link")], [F("link/n", "n")]),
        Case("a directory over a link", lower: lower, [S("d", "elsewhere")], [D("d"), F("d/n", "n")]),
        Case("a whiteout of what is deleted above it", lower: lower, [W(".wh.d")], [W("d/.wh.f")]),
    ]

    /// What both layers make of the lower tree, applied to the tree itself.
    private func expected(_ scratch: TemporaryDirectory, _ test: Case) throws -> TreeSnapshot {
        let tree = try scratch.directory("tree")
        for layer in [test.lower, test.first, test.second] { try apply(Tar.archive(layer), to: tree) }
        return try TreeSnapshot(tree, ignoring: [.root])
    }

    @Test(arguments: cases, [true, false])
    func `both layers show through the mount`(test: Case, knowsLowers: Bool) throws {
        let scratch = try TemporaryDirectory()
        _ = try expected(scratch, test)
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        try apply(Tar.archive(test.lower), to: lower)
        var options = ApplyOptions()
        options.dialect = .overlay
        if knowsLowers { options.lowers = [PathBytes(lower)] }
        // Without them, nobody knows what is a link, what is implied, and what the root hides.
        if !knowsLowers, test.testDescription.contains("link") || test.testDescription.contains("root") { return }
        try apply(Tar.archive(test.first), to: upper, options)
        try apply(Tar.archive(test.second), to: upper, options)
        let mount = try Mount.overlay(OverlayOptions(), lowers: [upper, lower], at: scratch.path + "/view")
        // Directories that only a path names get the present time, and with unknown lowers root's metadata.
        let ignored: TreeSnapshot.Ignored = [.root, .overlayAttributes, knowsLowers ? .directoryTimes : .times]
        let wanted = try TreeSnapshot(scratch.path + "/tree", ignoring: ignored)
        let seen = try TreeSnapshot(mount.path, ignoring: ignored)
        #expect(seen.differences(from: wanted) == [])
        try mount.unmount()
    }

    /// The dialects with marker files have no mount here: their reader tells what they show.
    @Test(arguments: cases, [WhiteoutDialect.Name.aufs, .fuseOverlayFS, .overlay])
    func `both layers show through the reader of the dialect`(test: Case, name: WhiteoutDialect.Name) throws {
        let scratch = try TemporaryDirectory()
        let expected = try expected(scratch, test)
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        try apply(Tar.archive(test.lower), to: lower)
        var options = ApplyOptions()
        options.dialect = WhiteoutDialect(name)
        options.lowers = [PathBytes(lower)]
        try apply(Tar.archive(test.first), to: upper, options)
        try apply(Tar.archive(test.second), to: upper, options)
        // The difference between the view and the lower tree, applied to that tree, must give both layers' tree.
        let from = source(upper, lowers: [lower], WhiteoutDialect(name))
        var diff = DiffOptions()
        diff.profile = .containerd
        var sink = CollectingSink()
        _ = try DiffEngine.write(from, options: diff, into: &sink)
        let copy = try scratch.directory("copy")
        try apply(Tar.archive(test.lower), to: copy)
        try apply(sink.bytes, to: copy)
        #expect(try compareTrees(TreeSnapshot(copy, ignoring: .root), expected, directoryTimes: false) == [])
        // And every name of the upper directory is well formed: no device beside a marker file of the same name.
        for path in try TreeSnapshot(upper).paths where name == .aufs { #expect(!path.hasSuffix(".wh./"), "\(path)") }
    }

    @Test func `a directory that was renamed in the mount is a way to its lower contents`() throws {
        let scratch = try TemporaryDirectory()
        let lower = try scratch.directory("lower")
        let (upper, work) = (try scratch.directory("upper"), try scratch.directory("work"))
        try apply(Tar.archive([D("a"), F("a/f", "f"), F("a/g", "g"), D("a/s"), F("a/s/h", "h")]), to: lower)
        let options = OverlayOptions(redirectDirectories: true)
        let writable = try Mount.overlay(options, lowers: [lower], upper: upper, work: work, at: scratch.path + "/rw")
        try #require(rename(writable.path + "/a", writable.path + "/b") == 0)
        try writable.unmount()
        var apply = ApplyOptions()
        apply.dialect = .overlay
        apply.lowers = [PathBytes(lower)]
        // A whiteout that counts only if b's lower contents are found, a link to one of them, a copied-up directory.
        try LayerEngineTests.apply(
            Tar.archive([W("b/.wh.f"), H("b/linked", "b/g"), F("b/s/new", "n"), W("b/.wh.nothing")]), to: upper, apply)
        let view = try Mount.overlay(options, lowers: [upper, lower], at: scratch.path + "/view")
        let seen = try TreeSnapshot(view.path, ignoring: [.root, .overlayAttributes])
        #expect(seen.paths == ["b/", "b/g", "b/linked", "b/s/", "b/s/h", "b/s/new"])
        #expect(seen["b/linked"]?.text == "g" && seen["b/s/h"]?.text == "h")
        #expect(access(upper + "/b/nothing", F_OK) != 0, "a whiteout of nothing was written")
        try view.unmount()
    }

    @Test(arguments: [nil, [], ["lower"]] as [[String]?])
    func `what is deleted twice over is ignored in one layer too`(lowers: [String]?) throws {
        // `.wh.foo`, then `foo/.wh.bar`.
        let scratch = try TemporaryDirectory()
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        try apply(Tar.archive([D("foo"), F("foo/bar", "b")]), to: lower)
        var options = ApplyOptions()
        options.dialect = .overlay
        options.lowers = lowers.map { $0.map { PathBytes(scratch.path + "/" + $0) } }
        try apply(Tar.archive([W(".wh.foo"), W("foo/.wh.bar"), W("foo/x/.wh.y")]), to: upper, options)
        let found = try TreeSnapshot(upper)
        #expect(found.paths == (lowers == [] ? [] : ["foo"]))
        if lowers != [] { #expect(found["foo"]?.kind == .characterDevice) }
    }

    @Test func `markers of fuse-overlayfs in either form are replaced`() throws {
        let scratch = try TemporaryDirectory()
        let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
        try apply(Tar.archive([F("one", "1"), F("two", "2"), D("d"), F("d/f", "f"), F("three", "3")]), to: lower)
        try TreeBuilder.make(upper) { tree in
            try tree.whiteout("one")
            try tree.file(".wh.two", "")
            try tree.directory("d")
            try tree.file("d/.wh..wh..opq", "")
            // What some versions leave in opaque directories.
            try tree.whiteout("d/.wh..opq")
            try tree.whiteout("three")
        }
        var options = ApplyOptions()
        options.dialect = .fuseOverlayFS
        options.lowers = [PathBytes(lower)]
        try apply(Tar.archive([F("one", "new"), D("two"), F("d/g", "g"), W(".wh.three")]), to: upper, options)
        let expected = ["d/", "d/.wh..opq", "d/.wh..wh..opq", "d/g", "one", "three", "two/", "two/.wh..wh..opq"]
        #expect(try TreeSnapshot(upper).paths == expected)
        // The bogus device is nothing to an export, nor to a comparison.
        let from = source(upper, lowers: [lower], .fuseOverlayFS)
        #expect(
            try texts(layer(from)) == [
                "D d/", "W d/.wh..wh..opq", "F d/g", "F one", "W .wh.three", "D two/", "W two/.wh..wh..opq",
            ])
        #expect(try changes(from) == ["C /d", "D /d/f", "A /d/g", "C /one", "D /three", "C /two"])
    }
}
