import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Attributes and access lists that something loses, does not inherit, or cannot have.
@Suite struct ApplyAttributeTests {
    private static let none: UInt32 = 0xffff_ffff

    /// A list that lets the user 1234 do everything.
    private static func list(group: UInt8 = 5, mask: UInt8 = 7, other: UInt8 = 5) -> [UInt8] {
        let entries: [(UInt8, UInt8, UInt32)] = [
            (1, 7, none), (2, 7, 1234), (4, group, none), (16, mask, none), (32, other, none),
        ]
        return [2, 0, 0, 0]
            + entries.flatMap { tag, bits, id in
                [tag, 0, bits, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> UInt32(8 * $0)) }
            }
    }

    private func set(_ attribute: String, _ value: [UInt8], of path: String) throws {
        let name = Array(attribute.utf8) + [0]
        try openPath(path).setAttribute(NamePointer(terminated: name.rawBytes), value.rawBytes)
    }

    private static let old = D("d", 0o775).xattr("user.old", "1").xattr("user.both", "1")
        .xattr("system.posix_acl_access", list()).xattr("system.posix_acl_default", list())

    struct Loss: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var base: [TarPiece]
        var layer: [TarPiece]
    }

    static let losses = [
        Loss(testDescription: "of a lower layer", base: [old], layer: [D("d", 0o750).xattr("user.both", "2")]),
        Loss(
            testDescription: "copied up for a name below", base: [old],
            layer: [F("d/f"), D("d", 0o750).xattr("user.both", "2")]),
        Loss(
            testDescription: "of an earlier entry", base: [], layer: [old, D("d", 0o750).xattr("user.both", "2")]),
    ]

    @Test(arguments: losses, Target.allCases)
    func `an entry for a directory replaces its attributes and lists`(_ loss: Loss, _ target: Target) throws {
        let seen = try view(target, loss.base, loss.layer)
        #expect(seen["d"]?.attributes == ["user.both": Array("2".utf8)])
        #expect(seen["d"]?.mode == 0o750)
    }

    @Test(arguments: Target.allCases) func `what is made in a directory that lost its default list does not get it`(
        _ target: Target
    ) throws {
        let stack = try Stack(target)
        try stack.apply([Self.old])
        try stack.apply([D("d", 0o755), F("d/f", "", 0o664), D("d/s", 0o775), P("d/p", 0o666)])
        let seen = try stack.view()
        for (name, mode) in [("d", 0o755), ("d/f", 0o664), ("d/s", 0o775), ("d/p", 0o666)] as [(String, UInt32)] {
            #expect(seen[name]?.attributes == [:] && seen[name]?.mode == mode, "\(name)")
        }
    }

    @Test func `attributes that layers do not carry stay, and all of them where they are to be added to`() throws {
        for attributes in DirectoryAttributes.allCases {
            let scratch = try TemporaryDirectory()
            try apply(Tar.archive([Self.old]), to: scratch.path)
            let directory = scratch.path + "/d"
            for name in ["trusted.overlay.opaque", "trusted.mine", "user.overlay.origin", "security.mine"] {
                try set(name, [121], of: directory)
            }
            var options = ApplyOptions()
            options.directoryAttributes = attributes
            try apply(Tar.archive([D("d", 0o755).xattr("user.new", "3")]), to: scratch.path, options)
            let seen = try #require(TreeSnapshot(scratch.path)["d"])
            var expected: Set = [
                "trusted.overlay.opaque", "trusted.mine", "user.overlay.origin", "security.mine", "user.new",
            ]
            if attributes == .add {
                expected.formUnion(["user.old", "user.both", "system.posix_acl_access", "system.posix_acl_default"])
            }
            #expect(Set(seen.attributes.keys) == expected)
        }
    }

    @Test func `the root's entry replaces its attributes where it counts`() throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("root")
        try set("user.old", [49], of: root)
        try apply(Tar.archive([D("./", 0o711)]), to: root)
        #expect(try TreeSnapshot(root)["."]?.attributes.keys.contains("user.old") == true)
        var options = ApplyOptions()
        options.applyRootMetadata = true
        try apply(Tar.archive([D("./", 0o711).xattr("user.new", "2")]), to: root, options)
        let seen = try TreeSnapshot(root)["."]
        #expect(seen?.attributes == ["user.new": Array("2".utf8)] && seen?.mode == 0o711)
    }

    // MARK: inherited lists

    @Test(arguments: [WhiteoutDialect.Name.tree, .overlay])
    func `nothing keeps the list that its directory hands down`(_ dialect: WhiteoutDialect.Name) throws {
        let scratch = try TemporaryDirectory()
        let (lower, root) = (try scratch.directory("lower"), try scratch.directory("root"))
        try apply(Tar.archive([P("low/p", 0o660), C("low/c", 1, 3, 0o660), F("low/f", "x", 0o660)]), to: lower)
        try set("system.posix_acl_default", Self.list(), of: root)
        var options = ApplyOptions()
        options.dialect = WhiteoutDialect(dialect)
        if dialect != .tree { options.lowers = [PathBytes(lower)] }
        var sparse = F(
            "sparse", bytes: Tar.padded(Array("1\n0\n3\n".utf8)) + Array("abc".utf8), 0o664)
        sparse = sparse.pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0").pax("GNU.sparse.realsize", "5000")
        var layer = [
            F("f", "x", 0o664), D("d", 0o775), P("p", 0o664), C("c", 1, 3, 0o664), B("b", 7, 0, 0o664), S("s", "f"),
            sparse, F("implied/f", "x", 0o664), F(".wh..wh.plnk/1.2", "c", 0o664), H("pl", ".wh..wh.plnk/1.2"),
        ]
        // Copied up for the links: in the directory itself, and in one that is copied up too.
        if dialect != .tree { layer += [H("hp", "low/p"), H("hc", "low/c"), H("hf", "low/f")] }
        try apply(Tar.archive(layer), to: root, options)
        for (path, entry) in try TreeSnapshot(root, ignoring: .root).entries {
            #expect(entry.attributes.filter { $0.key.contains("posix_acl") } == [:], "\(path)")
            let modes: [UInt32] = ["h", "l"].contains(path.first) ? [0o644, 0o755] : [0o664, 0o775, 0o755, 0o777]
            #expect(modes.contains(entry.mode), "\(path) has \(String(entry.mode, radix: 8))")
        }
    }

    @Test(arguments: [WhiteoutDialect.Name.aufs, .fuseOverlayFS, .overlay])
    func `no mark of a deletion keeps the list that its directory hands down`(_ dialect: WhiteoutDialect.Name) throws {
        let scratch = try TemporaryDirectory()
        let (lower, root) = (try scratch.directory("lower"), try scratch.directory("root"))
        try apply(Tar.archive([F("e"), D("d"), F("d/a"), D("d/o"), F("d/o/x")]), to: lower)
        try set("system.posix_acl_default", Self.list(), of: root)
        var options = ApplyOptions()
        options.dialect = WhiteoutDialect(dialect)
        options.lowers = [PathBytes(lower)]
        let opaque = D("d/o").xattr("system.posix_acl_default", Self.list())
        try apply(
            Tar.archive([
                W(".wh.e"), D("d").xattr("system.posix_acl_default", Self.list()), W("d/.wh.a"), opaque,
                W("d/o/.wh..wh..opq"),
            ]), to: root, options)
        let seen = try TreeSnapshot(root, ignoring: .root).entries
        #expect(seen.count >= 4)
        for (path, entry) in seen { #expect(entry.attributes["system.posix_acl_access"] == nil, "\(path)") }
    }

    /// A text without numbers, the mode with it, and what is left of that.
    private static let limits: [(text: String, mode: Int64, left: UInt32)] = [
        ("user::rw-,user:joe:rwx,group::r--,mask::rwx,other::---", 0o670, 0o640),
        ("user::rw-,user:joe:rwx,group::rwx,mask::r--,other::r--", 0o644, 0o644),
        // Without the list jane is one of the others, and staff too.
        ("user::rw-,user:jane:---,group::rw-,mask::rw-,other::rw-", 0o666, 0o600),
        ("user::rw-,group::rw-,group:staff:r--,mask::rw-,other::rw-", 0o666, 0o664),
        ("user::rw-,group::rw-,group:staff:rw-,mask::r--,other::rw-", 0o646, 0o644),
        ("user::rwx\ngroup::r-x\nother::r-x\nmask:rwx\nuser:joe:rwx", 0o4775, 0o4755),
        ("user::rw-,user:joe:rwx,group::zzz,mask::rwx,other::r--", 0o674, 0o604),
        // Whose lines these are, and what they give, nobody knows.
        ("nothing of the kind", 0o674, 0o600),
        ("user::rw-,joe:rwx,group::rw-,mask::rw-,other::r--", 0o664, 0o600),
        ("user::rw-,user:bob:rwx,mask::rwx,other::---", 0o670, 0o600),
        ("user::rw-,user:bob:rwx,group::rwx,mask::rwx", 0o777, 0o770),
    ]

    @Test(arguments: limits.indices) func `a list that cannot be set leaves a mode that gives nobody more`(
        _ index: Int
    ) throws {
        let (text, mode, left) = Self.limits[index]
        let stack = try Stack(.merged)
        let report = try stack.apply([
            F("f", "", mode).pax("SCHILY.acl.access", text), D("d", mode).pax("SCHILY.acl.access", text),
            D("e", mode).pax("SCHILY.acl.default", text),
        ])
        let seen = try stack.view()
        #expect(seen["f"]?.mode == left && seen["d"]?.mode == left && seen["e"]?.mode == UInt32(mode))
        #expect(report.warningCount == 3)
    }

    /// Everything that can carry a list, with one that gives the group r-x of the rwx that the mode shows.
    private static func carriers(_ list: [UInt8]) -> [TarPiece] {
        let sparse = F("sparse", bytes: Tar.padded(Array("0\n".utf8)), 0o775).pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0").pax("GNU.sparse.realsize", "70000")
        return [
            F("whole", "x", 0o775), F("pieces", bytes: [UInt8](repeating: 1, count: 3 << 20), 0o775), sparse,
            D("directory", 0o775), P("fifo", 0o775), D("old", 0o775), H("link", "plain"),
        ].map {
            var piece = $0.xattr("system.posix_acl_access", list)
            piece.mode = 0o775
            return piece
        }
    }

    /// What the modes become where the list is missing.
    private static func expectLimited(_ root: String, _ mode: UInt32, _ report: ApplyReport) throws {
        let seen = try TreeSnapshot(root)
        for name in ["whole", "pieces", "sparse", "directory", "fifo", "old", "link", "plain"] {
            let found = try #require(seen[name])
            #expect(found.mode == mode, "\(name) has \(String(found.mode, radix: 8))")
            #expect(found.attributes.filter { $0.key.contains("posix_acl") } == [:])
        }
        #expect(report.warningCount == 7)
    }

    @Test(arguments: [false, true], [false, true])
    func `the header of a further name brings nothing back of what a missing list took`(
        linkFirst: Bool, asText: Bool
    ) throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("root")
        if !asText { try #require(mount("none", root, "ramfs", 0, nil) == 0) }
        defer { umount2(root, Int32(MNT_DETACH)) }
        func listed(_ piece: TarPiece) -> TarPiece {
            asText
                ? piece.pax("SCHILY.acl.access", "user::rwx,user:joe:rwx,group::r-x,mask::rwx,other::r-x")
                : piece.xattr("system.posix_acl_access", Self.list())
        }
        func link(_ name: String, _ target: String) -> TarPiece {
            var piece = H(name, target)
            piece.mode = 0o775
            return piece
        }
        let sparse = F("sparse", bytes: Tar.padded(Array("0\n".utf8)), 0o775).pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0").pax("GNU.sparse.realsize", "70000")
        var pieces = [F("file", "x", 0o775), sparse, P("fifo", 0o775)].map(listed)
        let links = ["file", "sparse", "fifo"].flatMap { [link("1" + $0, $0), link("2" + $0, "1" + $0)] }
        pieces = linkFirst ? links + pieces : pieces + links
        try apply(Tar.archive(pieces), to: root)
        let seen = try TreeSnapshot(root, ignoring: .root).entries
        #expect(seen.count == 9)
        for (path, entry) in seen { #expect(entry.mode == 0o755, "\(path) has \(String(entry.mode, radix: 8))") }
    }

    @Test func `on a target without lists the mode gives nobody more than the list did`() throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("root")
        try #require(mount("none", root, "ramfs", 0, nil) == 0)
        defer { umount2(root, Int32(MNT_DETACH)) }
        try apply(Tar.archive([D("old", 0o777), F("plain", "x", 0o644)]), to: root)
        try Self.expectLimited(root, 0o755, try apply(Tar.archive(Self.carriers(Self.list())), to: root))
    }

    @Test(
        arguments: [
            ([9, 9], 0o700), (Array(list().dropLast(8)) + [64, 0, 7, 0, 255, 255, 255, 255], 0o700),
            // Without the owner's entry.
            (Array(list().prefix(4) + list().dropFirst(12)), 0o755),
        ] as [([UInt8], UInt32)])
    func `a list that the kernel refuses leaves a mode that gives nobody more`(_ list: [UInt8], _ mode: UInt32) throws {
        let scratch = try TemporaryDirectory()
        try apply(Tar.archive([D("old", 0o777), F("plain", "x", 0o644)]), to: scratch.path)
        var options = ApplyOptions()
        options.bestEffort = true
        try Self.expectLimited(
            scratch.path, mode, try apply(Tar.archive(Self.carriers(list)), to: scratch.path, options))
    }

    // MARK: attributes that cannot be set

    private static let large = [UInt8](repeating: 7, count: 9000)

    static let carriers: [[TarPiece]] = [
        [F("at", "x").xattr("user.big", large)], [D("at").xattr("user.big", large)],
        [F("f"), H("at", "f").xattr("user.big", large)],
        [
            F("at", bytes: Tar.padded(Array("0\n".utf8))).pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0")
                .pax("GNU.sparse.realsize", "70000").xattr("user.big", large)
        ],
        [F("at", bytes: [UInt8](repeating: 1, count: 3 << 20)).xattr("user.big", large)],
    ]

    @Test(arguments: carriers) func `an attribute too large for ext4 is named, with its size and what helps`(
        _ layer: [TarPiece]
    ) throws {
        let error = try #require(try failure(.merged, layer))
        #expect(error.code == .noSpace && error.path == PathBytes("at"))
        let text = error.description
        #expect(text.contains("user.big (9000 bytes)") && text.contains("xfs") && text.contains("--best-effort"))
        let stack = try Stack(.merged)
        stack.options.bestEffort = true
        let report = try stack.apply(layer)
        #expect(report.warningCount == 1 && report.warnings.count == 1)
        let line = report.warnings.first ?? ""
        #expect(line.hasPrefix("at: ") && line.contains("user.big (9000 bytes)") && line.contains("xfs"))
        #expect(try stack.view()["at"] != nil)
    }

    @Test func `a target without attributes is said once, and a lost capability is an error`() throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("root")
        try #require(mount("none", root, "ramfs", 0, nil) == 0)
        defer { umount2(root, Int32(MNT_DETACH)) }
        let pieces = [
            F("f").xattr("user.a", "1").xattr("user.b", "22").xattr("user.c", "333"), D("d").xattr("user.a", "1"),
            F("g").xattr("user.a", "1"),
            F("h").xattr("security.capability", [1, 0, 0, 2] + [UInt8](repeating: 0, count: 16)),
        ]
        let report = try apply(Tar.archive(Array(pieces.dropLast())), to: root)
        #expect(report.warningCount == 5 && report.warnings.count == 1)
        let line = try #require(report.warnings.first)
        #expect(line.contains("user.a (1 byte)") && line.contains("ext4"))
        do {
            try apply(Tar.archive(pieces), to: root)
            Issue.record("the capability was lost without a word")
        } catch let error as LayerError {
            #expect(error.code == .unsupported && error.path == PathBytes("h"))
            #expect(error.description.contains("security.capability (20 bytes)"))
        }
        var options = ApplyOptions()
        options.bestEffort = true
        let tolerated = try apply(Tar.archive(pieces), to: root, options)
        #expect(
            tolerated.warningCount == 6 && tolerated.warnings.count == 2
                && tolerated.warnings.contains { $0.contains("security.capability (20 bytes)") }
        )
    }
}
