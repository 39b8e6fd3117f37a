import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Hard links, symbolic links as parents.
@Suite struct ApplyLinkTests {
    @Test(arguments: [WhiteoutDialect.Name.tree, .overlay, .aufs, .fuseOverlayFS])
    func `every name of a device 0 0 is taken for a deletion`(_ dialect: WhiteoutDialect.Name) throws {
        let scratch = try TemporaryDirectory()
        let (lower, root) = (try scratch.directory("lower"), try scratch.directory("root"))
        let old = Tar.archive([F("c"), F("first"), F("second"), F("kept")])
        try apply(old, to: lower)
        if dialect == .tree { try apply(old, to: root) }
        var options = ApplyOptions()
        options.dialect = WhiteoutDialect(dialect)
        if dialect != .tree { options.lowers = [PathBytes(lower)] }
        // The device that comes last is waited for.
        let pieces = [
            H("early", "late"), C("c", 0, 0), H("first", "c"), H("second", "first"), C("late", 0, 0), F("new"),
        ]
        try apply(Tar.archive(pieces), to: root, options)
        let seen = try TreeSnapshot(root).paths
        switch dialect {
        case .tree: #expect(seen == ["kept", "new"])
        case .overlay: #expect(seen == ["c", "first", "new", "second"])
        default: #expect(seen == [".wh.c", ".wh.first", ".wh.second", "new"])
        }
    }

    @Test(arguments: Target.allCases) func `T156 T157 T167 links to earlier and later files`(_ target: Target) throws {
        let result = try view(
            target, [F("b", "x"), H("a", "b"), H("early", "late"), F("late", "y"), H("no/such/dir/c", "b")])
        #expect(result["b"]?.firstPath == "a" && result["late"]?.firstPath == "early")
        #expect(result["no/such/dir/c"]?.firstPath == "a" && result["late"]?.text == "y")
    }

    @Test(arguments: Target.allCases) func `T158 a chain of links`(_ target: Target) throws {
        let chain = try view(target, [H("h3", "h2"), H("h2", "h1"), H("h1", "f"), F("f", "x")])
        #expect(["h1", "h2", "h3"].allSatisfy { chain[$0]?.firstPath == "f" })
        let broken = try #require(try failure(target, [H("h3", "h2"), H("h2", "h1"), H("h1", "missing")]))
        #expect(broken.code == .invalidArchive && broken.path == PathBytes("h1"))
        #expect(broken.description.contains("missing"))
        #expect(try failure(target, [H("a", "b"), H("b", "a")])?.code == .invalidArchive)
    }

    @Test func `T158 a long chain backwards is linear`() throws {
        var pieces = (1...3000).reversed().map { H("h\($0)", "h\($0 - 1)") }
        pieces.append(F("h0", "x"))
        let result = try view(.merged, pieces)
        #expect(result.entries.count == 3001 && result["h3000"]?.firstPath == "h0")
    }

    @Test(arguments: Target.allCases) func `T159 a link to itself`(_ target: Target) throws {
        let result = try view(
            target, [F("a", "x").time(1), H("a", "a").time(2), D("d"), F("d/f", "y"), H("d/f", "./d/f")])
        #expect(result["a"]?.text == "x" && result["a"]?.seconds == 2 && result["d/f"]?.text == "y")
        #expect(try failure(target, [H("a", "a")])?.code == .invalidArchive)
    }

    @Test(arguments: Target.allCases) func `T160 absolute and climbing targets`(_ target: Target) throws {
        let result = try view(target, [F("etc/passwd", "p"), H("a", "/etc/passwd")])
        #expect(result["etc/passwd"]?.firstPath == "a")
        #expect(try failure(target, [F("etc/passwd"), H("a", "../../../etc/passwd")])?.code == .unsafePath)
        var options = ApplyOptions()
        options.lenientNames = true
        #expect(try failure(target, [F("etc/passwd"), H("a", "../../../etc/passwd")], options: options) == nil)
    }

    @Test(arguments: Target.allCases) func `T161 T162 T163 links through links and to links`(_ target: Target) throws {
        let result = try view(
            target,
            [
                F("etc/passwd", "p", 0o600), S("localetc", "/etc"), H("x", "/localetc/passwd"), S("d1", "../../etc"),
                F("d1/group", "g"), S("s1", "etc/passwd"), H("s2", "s1"),
            ])
        #expect(result["x"]?.firstPath == "etc/passwd" && result["etc/group"]?.text == "g")
        #expect(result["s2"]?.kind == .symbolicLink && result["s2"]?.firstPath == "s1")
        #expect(result["etc/passwd"]?.mode == 0o644)
    }

    @Test(arguments: Target.allCases) func `T164 T165 a link over a directory and a directory over a link`(
        _ target: Target
    )
        throws
    {
        let base = [F("etc/passwd", "p"), D("localetc"), F("localetc/old")]
        let linked = [S("localetc", "/etc"), H("localetc/p", "/etc/passwd")]
        let first = try view(target, base, linked)
        #expect(first.paths == ["etc/", "etc/p", "etc/passwd", "localetc"])
        #expect(first["etc/passwd"]?.firstPath == "etc/p")
        let second = try view(target, base, linked, [D("localetc"), F("localetc/localpasswd", "different")])
        #expect(second["localetc/localpasswd"]?.text == "different" && second["etc/passwd"]?.text == "p")
        #expect(second["localetc/localpasswd"]?.firstPath == "localetc/localpasswd")
    }

    @Test func `T166 A42 a link to what only a lower has`() throws {
        let stack = try Stack(.overlay)
        try stack.apply([
            D("d", 0o750).ids(3, 4).time(50), F("d/f", "body", 0o640).ids(1, 2).time(60).xattr("user.x", "v"),
            S("d/s", "to"),
        ])
        try stack.apply([H("l", "d/f").ids(1, 2).time(60), H("k", "d/s")])
        let result = try stack.view()
        #expect(result["d/f"]?.text == "body" && result["l"]?.text == "body" && result["l"]?.firstPath == "d/f")
        #expect(result["d/f"]?.uid == 1 && result["d/f"]?.attributes["user.x"] == Array("v".utf8))
        #expect(result["d"]?.mode == 0o750 && result["d"]?.uid == 3 && result["d"]?.seconds == 50)
        #expect(result["k"]?.text == "to" && result["k"]?.firstPath == "d/s")
        #expect(try TreeSnapshot(stack.upper).paths == ["d/", "d/f", "d/s", "k", "l"])
        #expect(try failure(.overlay, [F("g"), F("keep")], [W(".wh.g"), H("l", "g")])?.code == .invalidArchive)
    }

    @Test(arguments: Target.allCases) func `T168 T169 names that resolve to the root`(_ target: Target) throws {
        #expect(try failure(target, [F("etc/f"), S("..", "/etc/")])?.code == .unsafePath)
        #expect(try failure(target, [F("etc/f"), S("", "/etc/")])?.code == .unsafePath)
        #expect(try failure(target, [F("etc/f"), S(".", "/etc/")])?.code == .unsafePath)
        let result = try paths(target, [F("etc/f"), D("localetc/sub"), S("localetc/sub/..", "/etc/")])
        #expect(result == ["etc/", "etc/f", "localetc"])
    }

    @Test(arguments: Target.allCases) func `A19 V30 T199 parents that are no directories`(_ target: Target) throws {
        let error = try #require(try failure(target, [F("f")], [F("f/x")]))
        #expect(error.code == .io && error.description.contains("Not a directory"))
        #expect(try failure(target, [P("p"), F("p/x")]) != nil)
    }

    @Test(arguments: Target.allCases) func `a link replaced later is not made at the end`(_ target: Target) throws {
        let result = try view(target, [H("a", "late"), F("a", "own"), F("late", "other")])
        #expect(result["a"]?.text == "own" && result["a"]?.firstPath == "a")
    }

    @Test(arguments: Target.allCases) func `A40 links change metadata of the shared inode`(_ target: Target) throws {
        let result = try view(target, [F("a", "x", 0o600), H("b", "a").ids(5, 6).time(3)])
        #expect(result["a"]?.uid == 5 && result["a"]?.seconds == 3 && result["a"]?.mode == 0o644)
    }
}
