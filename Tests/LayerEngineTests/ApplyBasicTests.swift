import Glibc
import LayerEngine
import LayerModel
import TestSupport
import Testing

/// Names, metadata, headers and streams.
@Suite struct ApplyBasicTests {
    private static let capability: [UInt8] =
        [1, 0, 0, 2, 0, 4, 0, 0] + [UInt8](repeating: 0, count: 12)

    @Test(arguments: Target.allCases) func `T094 T095 implied parents and directories without a slash`(_ target: Target)
        throws
    {
        let result = try view(target, [F("deeply/nested/f"), F("late/f"), D("late", 0o700)])
        #expect(result["deeply"]?.mode == 0o755 && result["deeply/nested"]?.mode == 0o755)
        #expect(result["deeply"]?.uid == 0 && result["late"]?.mode == 0o700)
    }

    @Test func `T096 an implied parent keeps what the lower one has`() throws {
        let stack = try Stack(.overlay)
        try stack.apply([D("var/mail", 0o2775).ids(0, 8).xattr("user.x", "v").time(1_600_000_000), F("other")])
        try stack.apply([F("var/mail/x")])
        let mail = try #require(try stack.view()["var/mail"])
        #expect(mail.mode == 0o2775 && mail.gid == 8 && mail.seconds == 1_600_000_000)
        #expect(mail.attributes["user.x"] == Array("v".utf8))
        #expect(try stack.view()["var/mail/x"]?.gid == 0)
    }

    @Test(arguments: Target.allCases) func `T098 T099 parents that are links below`(_ target: Target) throws {
        let base = [D("usr/lib"), S("lib", "usr/lib")]
        let through = try view(target, base, [F("lib/systemd/x")])
        #expect(through.paths == ["lib", "usr/", "usr/lib/", "usr/lib/systemd/", "usr/lib/systemd/x"])
        #expect(through["lib"]?.kind == .symbolicLink)
        let replaced = try view(target, base, [D("lib"), F("lib/y")])
        #expect(replaced.paths == ["lib/", "lib/y", "usr/", "usr/lib/"])
    }

    @Test(arguments: Target.allCases) func `T100 T101 one kind over another`(_ target: Target) throws {
        #expect(try paths(target, [F("p")], [D("p"), F("p/q")]) == ["p/", "p/q"])
        #expect(try paths(target, [D("p"), F("p/a"), F("p/b")], [F("p")]) == ["p"])
        #expect(try paths(target, [D("p"), F("p/a")], [F("p")], [D("p"), F("p/c")]) == ["p/", "p/c"])
        #expect(try paths(target, [D("p"), F("p/a")], [F("p"), D("p"), F("p/c")]) == ["p/", "p/c"])
        #expect(try paths(target, [S("p", "x")], [P("p")]) == ["p"])
    }

    @Test(arguments: Target.allCases) func `T102 T103 merging directories and names twice`(_ target: Target) throws {
        let merged = try view(target, [D("d", 0o755), F("d/a")], [D("d", 0o711).ids(5, 6).time(1234)])
        let directory = try #require(merged["d"])
        #expect(directory.mode == 0o711 && directory.uid == 5 && directory.gid == 6 && directory.seconds == 1234)
        #expect(merged["d/a"] != nil)
        let twice = try view(target, [D("d").time(1), F("d/a", "1"), F("d/a", "2"), D("d").time(77)])
        #expect(twice["d/a"]?.text == "2" && twice["d"]?.seconds == 77)
    }

    @Test(arguments: Target.allCases) func `T104 times of directories survive their children`(_ target: Target) throws {
        let result = try view(target, [D("a").time(100), D("a/b").time(200), F("a/b/f"), S("a/b/s", "x"), F("a/g")])
        #expect(result["a"]?.seconds == 100 && result["a/b"]?.seconds == 200)
        var status = stat()
        let stack = try Stack(target)
        try stack.apply([D("a").time(100), F("a/f").time(50)])
        #expect(stat(stack.upper + "/a", &status) == 0 && status.st_atim.tv_sec == 100)
    }

    @Test(arguments: Target.allCases) func `T105 bounds of times`(_ target: Target) throws {
        let result = try view(
            target,
            [
                F("before").time(-5), F("late").time(1 << 33), F("fraction").pax("mtime", "1.123456789"),
                F("beyond").pax("mtime", "9223372037"), S("link", "x").time(-5),
            ])
        #expect(result["before"]?.seconds == 0 && result["link"]?.seconds == 0)
        #expect(result["late"]?.seconds == 1 << 33)
        #expect(result["fraction"]?.seconds == 1 && result["fraction"]?.nanoseconds == 123_456_789)
        #expect(result["beyond"]?.seconds == 0)
    }

    @Test(arguments: Target.allCases) func `T106 T107 T108 special bits and capabilities survive`(_ target: Target)
        throws
    {
        let result = try view(
            target,
            [
                F("suid", "x", 0o4755).ids(1, 0), F("sgid", "x", 0o2755).ids(0, 1),
                F("cap", "x", 0o755).ids(1, 1).xattr("security.capability", Self.capability),
                H("cap2", "cap").ids(1, 1),
                H("cap3", "cap").ids(1, 1),
            ])
        #expect(result["suid"]?.mode == 0o4755 && result["sgid"]?.mode == 0o2755)
        #expect(result["cap"]?.attributes["security.capability"] != nil && result["cap"]?.uid == 1)
        #expect(result["cap2"]?.firstPath == "cap" && result["cap3"]?.firstPath == "cap")
    }

    @Test(arguments: Target.allCases) func `T107 a large file keeps its capability and mode`(_ target: Target) throws {
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let result = try view(
            target, [F("big", bytes: bytes, 0o4755).ids(1, 1).xattr("security.capability", Self.capability)])
        let file = try #require(result["big"])
        #expect(file.content == bytes && file.mode == 0o4755 && file.uid == 1)
        #expect(file.attributes["security.capability"] != nil && file.seconds == TarPiece.time)
    }

    @Test(arguments: Target.allCases) func `T109 T110 links have metadata of their own`(_ target: Target) throws {
        let result = try view(target, [F("t", "x", 0o600).time(5), S("l", "t").ids(7, 8).time(6), S("abs", "/etc/x")])
        #expect(result["l"]?.uid == 7 && result["l"]?.gid == 8 && result["l"]?.seconds == 6)
        #expect(result["t"]?.uid == 0 && result["t"]?.mode == 0o600 && result["t"]?.seconds == 5)
        #expect(result["abs"]?.text == "/etc/x")
    }

    @Test func `T111 an entry for the root`() throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("root")
        try apply(Tar.archive([D("./", 0o700).time(9)]), to: root)
        #expect(try TreeSnapshot(root)["."]?.mode == 0o755)
        var options = ApplyOptions()
        options.applyRootMetadata = true
        try apply(Tar.archive([D("./", 0o700).ids(1, 2).time(9), F("f")]), to: root, options)
        let own = try #require(try TreeSnapshot(root)["."])
        #expect(own.mode == 0o700 && own.uid == 1 && own.gid == 2 && own.seconds == 9)
    }

    @Test(arguments: Target.allCases) func `T112 T113 T114 names and types`(_ target: Target) throws {
        let result = try view(
            target,
            [
                F("/a"), F("./b"), F("c//d/./e"), F("x/../f"), F("file/"), F("dir/").type(0), F("old", "o").type(0),
                F("seven", "7").type(UInt8(ascii: "7")), F("...", "dots"), F("\u{e9}"), F("e\u{301}"),
            ])
        #expect(
            result.paths == [
                "...", "\\xc3\\xa9", "a", "b", "c/", "c/d/", "c/d/e", "dir/", "e\\xcc\\x81", "f", "file", "old",
                "seven",
            ])
        #expect(result["old"]?.text == "o" && result["seven"]?.text == "7")
    }

    @Test(arguments: Target.allCases) func `T115 volume labels are skipped, unknown types refused`(_ target: Target)
        throws
    {
        #expect(try paths(target, [F("label").type(UInt8(ascii: "V")), F("f")]) == ["f"])
        #expect(try failure(target, [F("odd").type(UInt8(ascii: "D"))])?.code == .invalidArchive)
    }

    @Test(arguments: Target.allCases) func `T116 sparse files have holes`(_ target: Target) throws {
        let size = 8 << 20
        let map = "2\n0\n512\n\(size - 512)\n512\n"
        let stored = Tar.padded(Array(map.utf8)) + [UInt8](repeating: 1, count: 512) + [UInt8](repeating: 2, count: 512)
        let piece = F("GNUSparseFile.0/s", bytes: stored, 0o640).ids(1, 2).pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0").pax("GNU.sparse.name", "s").pax("GNU.sparse.realsize", "\(size)")
        let result = try view(target, [piece, F("after", "x")])
        let file = try #require(result["s"])
        #expect(file.content.count == size && file.content[0] == 1 && file.content[600] == 0)
        #expect(file.content[size - 1] == 2 && file.blocks < 100 && file.mode == 0o640 && file.uid == 1)
        #expect(file.seconds == TarPiece.time && result["after"]?.text == "x")
    }

    @Test(arguments: Target.allCases) func `T117 T118 T120 which attributes are set`(_ target: Target) throws {
        let stack = try Stack(target)
        let report = try stack.apply([
            F("lib").pax("LIBARCHIVE.xattr.user.a", "djE"),
            F("both").pax("LIBARCHIVE.xattr.user.a", "djE").xattr("user.a", "v2"),
            S("link", "x").xattr("user.x", "1"),
            D("d").xattr("trusted.overlay.opaque", "y").xattr("user.overlay.opaque", "y"),
            F("f").xattr("trusted.foo", "1").xattr("user.fuseoverlayfs.opaque", "y").xattr("security.selinux", "x"),
        ])
        let result = try stack.view()
        #expect(result["lib"]?.attributes["user.a"] == Array("v1".utf8))
        #expect(result["both"]?.attributes["user.a"] == Array("v2".utf8))
        #expect(result["d"]?.attributes == [:] && result["f"]?.attributes == [:])
        #expect(report.warningCount == 5)
        #expect(try TreeSnapshot(stack.upper)["d"]?.attributes == [:])
    }

    @Test func `T119 a file system without attributes`() throws {
        let scratch = try TemporaryDirectory()
        let point = try scratch.directory("ram")
        try #require(mount("ramfs", point, "ramfs", 0, nil) == 0)
        defer { umount(point) }
        let report = try apply(Tar.archive([F("f").xattr("user.x", "1")]), to: point)
        #expect(report.warningCount == 1)
        let archive = Tar.archive([F("g").xattr("security.capability", Self.capability)])
        #expect(throws: LayerError.self) { try apply(archive, to: point) }
        var options = ApplyOptions()
        options.bestEffort = true
        #expect(try apply(archive, to: point, options).warningCount == 1)
    }

    @Test(arguments: Target.allCases) func `T121 T122 names of extended headers`(_ target: Target) throws {
        var long = TarPiece("L", "././@LongLink")
        long.body = Array("long".utf8) + [0]
        let result = try paths(
            target, [F("ustar").pax("path", ""), raw(Tar.encode(long)), F("short").pax("path", "pax")])
        #expect(result == ["long", "ustar"])
    }

    @Test(arguments: Target.allCases) func `T123 T124 T125 T126 T127 where archives end`(_ target: Target) throws {
        let block = [UInt8](repeating: 0, count: 512)
        let stack = try Stack(target)
        #expect(try stack.apply(bytes: []).size == 0)
        #expect(try stack.apply(bytes: block).entries == 0)
        try stack.apply(bytes: Tar.archive([F("a")], ends: false))
        #expect(throws: LayerError.self) { try stack.apply(bytes: block + Tar.archive([F("b")])) }
        let trailing = [UInt8](repeating: 0, count: 64 << 10) + [1, 2, 3]
        let report = try stack.apply(bytes: Tar.archive([F("c")]) + trailing)
        #expect(report.streamBytes == UInt64(512 + 1024 + trailing.count))
        #expect(try stack.view().paths == ["a", "c"])
    }

    @Test(arguments: Target.allCases) func `T133 P5 every cut of an archive ends`(_ target: Target) throws {
        let bytes = Tar.archive(
            [D("d"), F("d/f", "some bytes"), F("p").pax("mtime", "1.5"), H("h", "d/f"), S("s", "t")], ends: false)
        for count in stride(from: 0, through: bytes.count, by: 100) {
            let scratch = try TemporaryDirectory()
            var options = ApplyOptions()
            if target == .overlay { (options.dialect, options.lowers) = (.overlay, []) }
            let boundaries = [0, 512, 1536, 3072, 3584, 4096]
            let isClean = boundaries.contains(count)
            do {
                try apply(Array(bytes.prefix(count)), to: scratch.path, options)
                #expect(isClean, "cut at \(count)")
            } catch let error as LayerError {
                #expect(!isClean && error.code == .invalidArchive, "cut at \(count): \(error)")
            }
        }
    }

    @Test(arguments: [1, 7, 511, 512, 513, 4096, 100_000]) func `pieces of any size give the same tree`(_ size: Int)
        throws
    {
        let pieces =
            [D("d")] + (0..<40).map { F("d/f\($0)", bytes: [UInt8](repeating: UInt8($0), count: $0 * 777)) }
            + [F("big", bytes: [UInt8](repeating: 9, count: 700_000))]
        let whole = try Stack(.merged)
        try whole.apply(pieces)
        let other = try Stack(.merged)
        other.pieceSize = size
        try other.apply(pieces)
        #expect(try other.view() == whole.view())
    }

    @Test func `T094 A22 the umask changes nothing`() async {
        // The umask belongs to the whole process, so this one needs its own.
        await #expect(processExitsWith: .success) {
            umask(0o077)
            let result = try view(.merged, [F("n/f", "x", 0o666), D("d", 0o777)])
            try #require(result["n"]?.mode == 0o755 && result["n/f"]?.mode == 0o666 && result["d"]?.mode == 0o777)
        }
    }

    @Test func `inherited groups and access lists stay out`() throws {
        let scratch = try TemporaryDirectory()
        let root = try scratch.directory("root")
        // Default access list user::rwx, user:1:rwx, group::r-x, mask::rwx, other::r-x.
        let list: [UInt8] =
            [2, 0, 0, 0] + [1, 0, 7, 0, 255, 255, 255, 255] + [2, 0, 7, 0, 1, 0, 0, 0]
            + [4, 0, 5, 0, 255, 255, 255, 255] + [16, 0, 7, 0, 255, 255, 255, 255] + [32, 0, 5, 0, 255, 255, 255, 255]
        try apply(
            Tar.archive([
                D("sgid", 0o2755).ids(0, 9), F("sgid/f"), D("sgid/d"), S("sgid/l", "x"),
                D("acl").xattr("system.posix_acl_default", list), F("acl/f", "x", 0o664), D("acl/d", 0o775),
            ]), to: root)
        try apply(Tar.archive([F("sgid/g"), F("acl/g", "x", 0o600), D("acl/e", 0o700)]), to: root)
        let result = try TreeSnapshot(root)
        for name in ["sgid/f", "sgid/d", "sgid/l", "sgid/g"] { #expect(result[name]?.gid == 0, "\(name)") }
        #expect(result["sgid/d"]?.mode == 0o755)
        for name in ["acl/f", "acl/d", "acl/g", "acl/e"] { #expect(result[name]?.attributes == [:], "\(name)") }
        #expect(result["acl/f"]?.mode == 0o664 && result["acl/d"]?.mode == 0o775 && result["acl/g"]?.mode == 0o600)
        #expect(result["acl"]?.attributes["system.posix_acl_default"] != nil)
    }

    @Test func `A50 T215 what the report counts`() throws {
        let scratch = try TemporaryDirectory()
        let report = try apply(
            Tar.archive([F("a", "12345"), F("a", "123"), H("b", "a"), S("s", "four"), D("d"), H("c", "a").size(7)]),
            to: scratch.path)
        #expect(report.entries == 6 && report.size == 15 && report.uniqueFileBytes == 7)
    }

    @Test func `limits cancellation and id maps`() throws {
        let scratch = try TemporaryDirectory()
        var options = ApplyOptions()
        options.maxBytes = 4
        #expect(throws: LayerError.self) {
            try apply(Tar.archive([F("a", "123"), F("b", "45")]), to: scratch.path, options)
        }
        options = ApplyOptions()
        options.cancel.cancel()
        do {
            try apply(Tar.archive([F("a", "123")]), to: scratch.path, options)
            Issue.record("a cancelled apply succeeded")
        } catch let error as LayerError {
            #expect(error.code == .cancelled)
        }
        options = ApplyOptions()
        options.uidMap = IDMap([.init(container: 0, host: 100_000, count: 10)])
        try apply(Tar.archive([F("m/f").ids(5, 5)]), to: scratch.path, options)
        let result = try TreeSnapshot(scratch.path)
        #expect(result["m/f"]?.uid == 100_005 && result["m/f"]?.gid == 5 && result["m"]?.uid == 100_000)
        do {
            try apply(Tar.archive([F("g").ids(10, 0)]), to: scratch.path, options)
            Issue.record("an id outside the map was accepted")
        } catch let error as LayerError {
            #expect(error.code == .idUnmapped && error.path == PathBytes("g"))
        }
    }
}
