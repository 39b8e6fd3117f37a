import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Whiteouts and opaque markers.
@Suite struct ApplyWhiteoutTests {
    private static let base = [
        F(".baz"), D("bar"), F("bar/bax"), D("bar/bay"), F("baz"), D("foo"), F("foo/.abc"), D("foo/.bcd"),
        F("foo/.bcd/a"), D("foo/cde"), F("foo/cde/def"), F("foo/cde/efg"), F("foo/fgh"), F("foobar"),
    ]
    private static let second = [
        F(".bay"), W(".wh.baz"), D("foo"), F("foo/.bce"), W("foo/.wh..wh..opq"), D("foo/cde"), F("foo/cde/efg"),
    ]
    private static let third = [
        F(".bay"), W(".wh..baz"), W(".wh.foobar"), D("foo"), F("foo/.abc"), W("foo/.wh.cde"), D("bar"),
    ]

    @Test(arguments: Target.allCases) func `T134 T135 T136 the sequence of four layers`(_ target: Target) throws {
        #expect(
            try paths(target, Self.base, Self.second) == [
                ".bay", ".baz", "bar/", "bar/bax", "bar/bay/", "foo/", "foo/.bce", "foo/cde/", "foo/cde/efg", "foobar",
            ])
        #expect(
            try paths(target, Self.base, Self.second, Self.third) == [
                ".bay", "bar/", "bar/bax", "bar/bay/", "foo/", "foo/.abc", "foo/.bce",
            ])
        #expect(
            try paths(target, Self.base, Self.second, Self.third, [F(".abc"), W(".wh..wh..opq"), F("foobar")])
                == [".abc", "foobar"])
    }

    @Test(arguments: Target.allCases) func `T137 an opaque marker counts wherever it stands`(_ target: Target) throws {
        let marker = W("d/.wh..wh..opq")
        let files = [D("d"), F("d/n"), D("d/k"), F("d/k/m")]
        for position in 0...files.count {
            var layer = files
            layer.insert(marker, at: position)
            let result = try paths(target, [D("d"), F("d/o"), D("d/k"), F("d/k/o"), F("d/n", "old")], layer)
            #expect(result == ["d/", "d/k/", "d/k/m", "d/n"], "marker at \(position)")
        }
    }

    @Test(arguments: Target.allCases) func `T138 an opaque marker keeps implied directories`(_ target: Target) throws {
        let base = [D("d"), D("d/x"), F("d/x/z"), F("d/w")]
        #expect(try paths(target, base, [F("d/x/y"), W("d/.wh..wh..opq")]) == ["d/", "d/x/", "d/x/y"])
        #expect(try paths(target, base, [W("d/.wh..wh..opq"), F("d/x/y")]) == ["d/", "d/x/", "d/x/y"])
    }

    @Test(arguments: Target.allCases) func `T139 T140 a whiteout spares what its own layer has`(_ target: Target) throws
    {
        for layer in [[F("a", "n"), W(".wh.a")], [W(".wh.a"), F("a", "n")]] {
            #expect(try view(target, [F("a", "o")], layer)["a"]?.text == "n")
        }
    }

    @Test(arguments: Target.allCases) func `T141 T142 a whiteout beside a new directory hides the old one`(
        _ target: Target
    )
        throws
    {
        let base = [D("d"), F("d/o")]
        #expect(try paths(target, base, [W(".wh.d"), D("d"), F("d/n")]) == ["d/", "d/n"])
        #expect(try paths(target, base, [D("d"), F("d/n"), W(".wh.d")]) == ["d/", "d/n"])
        #expect(try paths(target, base, [W(".wh.d"), F("d/n")]) == ["d/", "d/n"])
    }

    @Test(arguments: Target.allCases) func `T143 T144 nested and needless whiteouts`(_ target: Target) throws {
        #expect(try paths(target, [D("foo"), F("foo/bar")], [W(".wh.foo"), W("foo/.wh.bar")]) == [])
        #expect(try paths(target, [F("x")], [W(".wh.absent"), W("no/such/.wh.thing")]) == ["x"])
    }

    @Test(arguments: Target.allCases) func `T145 a whiteout is one whatever its type and body`(_ target: Target) throws
    {
        let base = [F("x"), F("keep")]
        #expect(try paths(target, base, [F(".wh.x", "non-empty")]) == ["keep"])
        #expect(try paths(target, base, [H(".wh.x", ".wh.dangling")]) == ["keep"])
        #expect(try paths(target, base, [D(".wh.x/")]) == ["keep"])
        #expect(
            try paths(target, [D("etc"), F("etc/passwd")], [F(".wh.etc/somefile")])
                == [".wh.etc/", ".wh.etc/somefile", "etc/", "etc/passwd"])
    }

    @Test(arguments: Target.allCases) func `T146 V12 T181 odd whiteout names`(_ target: Target) throws {
        #expect(try paths(target, [F("..."), F("a")], [W(".wh....")]) == ["a"])
        #expect(try paths(target, [F(".foo"), F("a")], [W(".wh..foo")]) == ["a"])
        for name in [".wh...", ".wh..", ".wh.", "etc/.wh...", "etc/.wh.."] {
            let stack = try Stack(target)
            try stack.apply([D("etc"), F("etc/passwd", "p")])
            #expect(throws: LayerError.self, "\(name)") { try stack.apply([W(name)]) }
            if target == .merged { #expect(try stack.view().paths == ["etc/", "etc/passwd"]) }
        }
    }

    @Test func `T147 the bottom layer keeps no markers`() throws {
        let stack = try Stack(.overlay)
        try stack.apply([D("d"), W("d/.wh.x"), W("d/.wh..wh..opq"), W(".wh.y"), F("f")])
        let own = try TreeSnapshot(stack.upper)
        #expect(own.paths == ["d/", "f"])
        #expect(own["d"]?.attributes == [:])
    }

    @Test(arguments: Target.allCases) func `T148 T149 T150 whiteouts and links`(_ target: Target) throws {
        let base = [D("etc"), F("etc/passwd"), F("etc/group"), S("l", "/etc"), S("dangling", "/nowhere")]
        #expect(try paths(target, base, [W(".wh.l")]) == ["dangling", "etc/", "etc/group", "etc/passwd"])
        #expect(try paths(target, base, [W("l/.wh.passwd")]) == ["dangling", "etc/", "etc/group", "l"])
        #expect(
            try paths(target, base, [W("dangling/.wh.passwd")])
                == ["dangling", "etc/", "etc/group", "etc/passwd", "l"])
    }

    @Test(arguments: Target.allCases) func `T151 T152 links to aufs's kept files`(_ target: Target) throws {
        let stack = try Stack(target)
        try stack.apply([
            D(".wh..wh.plnk"), F(".wh..wh.plnk/1.2", "c", 0o640), F(".wh..wh.aufs"), D(".wh..wh.orph"),
            H("a", ".wh..wh.plnk/1.2"), H("b", ".wh..wh.plnk/1.2"), F(".wh..wh.plnk/9.9", "unused"),
        ])
        let result = try stack.view()
        #expect(result.paths == ["a", "b"])
        #expect(result["a"]?.text == "c" && result["b"]?.firstPath == "a" && result["a"]?.mode == 0o640)
        #expect(try TreeSnapshot(stack.upper).paths == ["a", "b"])
        #expect(try failure(target, [H("a", ".wh..wh.plnk/7.7")])?.code == .invalidArchive)
    }

    @Test(arguments: Target.allCases) func `T153 a device 0 0 is a whiteout`(_ target: Target) throws {
        let stack = try Stack(target)
        try stack.apply([F("x"), F("y")])
        let report = try stack.apply([C("x", 0, 0)])
        #expect(try stack.view().paths == ["y"])
        #expect(report.warningCount == 1)
    }

    @Test func `T154 whiteouts of a layer unpacked without its lowers`() throws {
        let stack = try Stack(.overlay)
        try stack.apply([F("f"), D("d"), F("d/g"), F("keep")])
        let alone = try stack.scratch.directory("alone")
        var options = ApplyOptions()
        options.dialect = .overlay
        try apply(Tar.archive([W(".wh.f"), D("d"), W("d/.wh.g")]), to: alone, options)
        let own = try TreeSnapshot(alone)
        #expect(own["f"]?.kind == .characterDevice && own["f"]?.major == 0 && own["f"]?.minor == 0)
        #expect(own["d/g"]?.kind == .characterDevice)
        // A35: one inode for all whiteouts of a layer.
        #expect(own["f"]?.inode == own["d/g"]?.inode)
    }

    @Test(arguments: Target.allCases) func `T155 opaque with a link of the same name`(_ target: Target) throws {
        let result = try view(target, [D("c"), S("c/a", "z")], [D("c"), W("c/.wh..wh..opq"), S("c/a", "b")])
        #expect(result.paths == ["c/", "c/a"] && result["c/a"]?.text == "b")
    }

    @Test func `A36 a whiteout of what no lower has is left out`() throws {
        let stack = try Stack(.overlay)
        try stack.apply([F("f")])
        try stack.apply([W(".wh.absent"), W(".wh.f")])
        #expect(try TreeSnapshot(stack.upper).paths == ["f"])
    }

    @Test func `A32 a hidden root without known lowers is marked, with a warning`() throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("upper")
        var options = ApplyOptions()
        options.dialect = .overlay
        let report = try apply(Tar.archive([W(".wh..wh..opq"), F("f")]), to: root, options)
        #expect(report.warningCount == 1)
        #expect(try TreeSnapshot(root)["."]?.attributes["trusted.overlay.opaque"] == [UInt8(ascii: "y")])
    }

    @Test(arguments: [WhiteoutDialect.Name.aufs, .fuseOverlayFS]) func `A29 A31 markers as files`(
        _ name: WhiteoutDialect.Name
    ) throws {
        let scratch = try TemporaryDirectory()
        let lower = try scratch.directory("lower")
        let upper = try scratch.directory("upper")
        try apply(Tar.archive([F("f"), D("d"), F("d/old"), F("again", "old")]), to: lower)
        var options = ApplyOptions()
        options.dialect = WhiteoutDialect(name)
        options.lowers = [PathBytes(lower)]
        try apply(
            Tar.archive([
                W(".wh.f").ids(3, 4), W(".wh.none"), W("d/.wh..wh..opq"), F("d/new"), W(".wh.again"), F("again", "new"),
            ]), to: upper, options)
        let own = try TreeSnapshot(upper)
        #expect(own.paths == [".wh.f", "again", "d/", "d/.wh..wh..opq", "d/new"])
        #expect(own[".wh.f"]?.uid == 3 && own[".wh.f"]?.gid == 4)
        #expect(throws: LayerError.self) { try apply(Tar.archive([F(".wh.etc/file")]), to: upper, options) }
    }
}
