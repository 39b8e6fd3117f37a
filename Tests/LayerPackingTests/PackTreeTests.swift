import Glibc
import LayerModel
import LayerPacking
import LayerPipeline
import TestSupport
import Testing

/// The mounted index shows what unpacking makes of the same archive.
@Suite struct PackTreeTests {
    private static let list = accessList([(1, 6, nil), (2, 5, 1234), (4, 4, nil), (16, 6, nil), (32, 0, nil)])

    /// An access list: tags, permissions, ids.
    private static func accessList(_ entries: [(tag: UInt8, bits: UInt8, id: UInt32?)]) -> [UInt8] {
        var list: [UInt8] = [2, 0, 0, 0]
        for entry in entries {
            let id = entry.id ?? 0xffff_ffff
            list += [entry.tag, 0, entry.bits, 0]
            for shift: UInt32 in [0, 8, 16, 24] { list.append(UInt8(truncatingIfNeeded: id >> shift)) }
        }
        return list
    }

    private static let capability: [UInt8] = [1, 0, 0, 2] + [UInt8](repeating: 4, count: 16)

    private func expectSame(_ pieces: [TarPiece], _ options: PackOptions = PackOptions()) throws {
        let mounts = try PackedMounts()
        let differences = try mounts.differences(Tar.archive(pieces), options)
        #expect(differences == [], "\(differences.joined(separator: "\n"))")
    }

    /// Every kind, times, ids, attributes, links, names and whiteouts.
    static func oddLayer() -> [TarPiece] {
        var pieces = [D("etc/", 0o750).ids(1, 2), F("etc/passwd", "root\n", 0o4711).ids(3, 4).xattr("user.a", "b")]
        for number in 0..<3000 {
            let directory = "d\(number % 37)/e\(number % 11)"
            switch number % 12 {
            case 0: pieces.append(D(directory + "/dir\(number)/", Int64(0o700 + number % 64)).ids(Int64(number), 5))
            case 1: pieces.append(S(directory + "/link\(number)", String(repeating: "t", count: 1 + number % 600)))
            case 2: pieces.append(P(directory + "/fifo\(number)", 0o620).ids(7, Int64(number)))
            case 3: pieces.append(C(directory + "/char\(number)", Int64(1 + number % 4095), Int64(number)))
            case 4: pieces.append(B(directory + "/block\(number)", 259, Int64(number * 300)))
            case 5: pieces.append(W(directory + "/.wh.gone\(number)").ids(9, 9).time(Int64(number)))
            case 6: pieces.append(W(directory + "/opaque\(number % 24)/.wh..wh..opq"))
            case 7:
                pieces.append(F(directory + "/file\(number)", String(repeating: "x", count: number % 1500)))
                pieces.append(
                    H("hard\(number)", directory + "/file\(number)").ids(Int64(number), 1).time(Int64(number)))
            case 8:
                pieces.append(
                    F(directory + "/time\(number)", "t").pax("mtime", "\(number * 1000).\(100_000_000 + number)"))
            case 9:
                pieces.append(
                    F(directory + "/attr\(number)", "a").xattr("user.n\(number % 5)", "v\(number)").xattr(
                        "security.capability", capability))
            case 10: pieces.append(F(directory + "/acl\(number)", "a", 0o660).xattr("system.posix_acl_access", list))
            default: pieces.append(F(directory + "/plain\(number)", "p\(number)", Int64(number % 0o1000)))
            }
        }
        return pieces
    }

    @Test func `E01 an odd layer shows as it is unpacked`() throws { try expectSame(Self.oddLayer()) }

    @Test(arguments: [0, 1, 511, 512, 513, 4095, 4096, 4097, 65_536, 3 * (1 << 20) + 17])
    func `E02 contents of all sizes`(count: Int) throws {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) }
        try expectSame([F("before", "x"), F("file", bytes: bytes), F("after", "y")])
    }

    @Test func `E02 behind the end of a mapped file there are zeros`() throws {
        let tar = Tar.archive([F("file", "abc"), F("next", "n")])
        let mounts = try PackedMounts()
        let file = open(try mounts.mount(try Packed(tar)) + "/file", O_RDONLY)
        defer { close(file) }
        let page = try #require(mmap(nil, 4096, PROT_READ, MAP_PRIVATE, file, 0))
        defer { munmap(page, 4096) }
        let bytes = [UInt8](UnsafeRawBufferPointer(start: page, count: 4096))
        #expect(bytes == Array("abc".utf8) + [UInt8](repeating: 0, count: 4093))
    }

    @Test func `E03 symbolic links of all lengths, with attributes`() throws {
        let lengths = [1, 2, 100, 4095] + Array(380...460) + Array(505...520)
        var pieces: [TarPiece] = []
        for length in lengths {
            pieces.append(S("l\(length)", String(repeating: "l", count: length)))
            pieces.append(
                S("x\(length)", String(repeating: "x", count: length)).xattr(
                    "security.foo", String(repeating: "v", count: length % 90)))
        }
        try expectSame(pieces)
    }

    @Test func `E04 odd names are found by search and by listing`() throws {
        var numbers = SeededNumbers(seed: 4)
        let letters = Array("!#+-.~aAzZé,".utf8)
        var names: Set<[UInt8]> = [
            [UInt8](repeating: UInt8(ascii: "n"), count: 255), Array("new\nline".utf8), Array("\"quote'".utf8),
            Array("tab\t".utf8), [0xff, 0xfe, 1], Array("...".utf8), Array(".!".utf8), Array("..a".utf8),
            Array(".-".utf8),
        ]
        while names.count < 3000 {
            names.insert((0...numbers.below(165)).map { _ in letters[numbers.below(letters.count)] })
        }
        names.subtract([Array(".".utf8), Array("..".utf8)])
        let pieces = names.sorted { $0.lexicographicallyPrecedes($1) }.shuffled(using: &numbers).map { name in
            var piece = F("d/", "c")
            piece.name = Array("d/".utf8) + name
            return piece
        }
        .filter { !$0.name.dropFirst(2).starts(with: Array(".wh.".utf8)) }
        let packed = try Packed(pieces)
        let reader = try ErofsReader(packed.image.rawBytes)
        let directory = try #require(try reader.find(Array("d".utf8).rawBytes))
        for piece in pieces {
            let name = Array(piece.name.dropFirst(2))
            let found = try #require(try reader.lookUp(name.rawBytes, in: directory), "\(PathBytes(name))")
            #expect(reader.image.extracting(found.name).copied() == name)
        }
        #expect(try reader.lookUp(Array("nothing".utf8).rawBytes, in: directory) == nil)
        try expectSame(pieces)
    }

    @Test func `E05 names before the dots, and one exactly full block`() throws {
        try expectSame(["!", "#", "+", ",", "-"].map { F("d/" + $0, $0) })
        // 12 + 1, 12 + 2, and names that fill 512 bytes.
        let rest = 512 - 13 - 14
        try expectSame([
            F("f/" + String(repeating: "a", count: 230), "1"),
            F("f/" + String(repeating: "b", count: rest - 24 - 230), "2"),
        ])
        try expectSame([
            F("g/" + String(repeating: "a", count: 230), "1"),
            F("g/" + String(repeating: "b", count: rest - 23 - 230), "2"),
        ])
    }

    @Test func `E06 nested directories beyond PATH_MAX`() throws {
        var pieces: [TarPiece] = []
        let name = String(repeating: "n", count: 200)
        // A link to the last directory keeps each name of the archive short.
        pieces.append(D(name + "/"))
        pieces.append(S("s0", name))
        for depth in 1...60 {
            pieces.append(D("s\(depth - 1)/" + name + "/", 0o701))
            pieces.append(S("s\(depth)", "s\(depth - 1)/" + name))
            if depth % 30 == 0 {
                // At most forty links on a path.
                pieces.append(F("s\(depth)/file", "\(depth)"))
            }
        }
        let (packing, unpacking) = try refusals(Tar.archive(pieces))
        #expect(isSame(packing, unpacking))
        try expectSame(Array(pieces.prefix(2 + 2 * 38)))
    }

    @Test func `E07 large ids and odd times`() throws {
        try expectSame([
            F("ids", "x").ids(4_294_967_294, 4_294_967_294), F("late", "x").pax("mtime", "8589934592.5"),
            F("zero", "x").time(0), F("before", "x").pax("mtime", "-1.5"), D("dir/").pax("mtime", "12.000000001"),
            F("far", "x").pax("mtime", "9223372037"),
        ])
    }

    @Test func `E08 attributes of all kinds`() throws {
        try expectSame([
            F("capable", "x", 0o755).xattr("security.capability", Self.capability),
            F("odd", "x").xattr("user.nul", [0, 1, 0]).xattr("user.line", "a\nb").xattr("user.empty", "")
                .xattr("user." + String(repeating: "n", count: 200), "long"),
            D("dir/").xattr("user.dir", "d"), S("link", "t").xattr("user.x", "y"), P("fifo").xattr("user.x", "y"),
            F("foreign", "x").xattr("foo.bar", "y").xattr("security.selinux", "label").xattr("security.evm", "z"),
        ])
    }

    @Test func `E08 long values: 65,535 bytes are kept, more is not packed, or left out with a warning`() throws {
        let value = [UInt8](repeating: 5, count: 65_535)
        let packed = try Packed([F("file", "x").xattr("user.long", value)])
        #expect(try TreeSnapshot(reading: packed)["file"]?.attributes["user.long"] == value)
        let mounts = try PackedMounts()
        #expect(try mounts.snapshot(try mounts.mount(packed))["file"]?.attributes["user.long"] == value)
        let tooLong = [F("file", "x").xattr("user.long", value + [5]).xattr("user.short", "s")]
        #expect(throws: LayerError.self) { try Packed(tooLong) }
        #expect(try refusals(Tar.archive(tooLong)).packing?.code == .unsupported)
        var options = PackOptions()
        options.bestEffort = true
        let left = try Packed(tooLong, options)
        #expect(left.report.warningCount == 1)
        #expect(try TreeSnapshot(reading: left)["file"]?.attributes == ["user.short": [UInt8(ascii: "s")]])
    }

    @Test func `E09 a mode wins over an access list`() throws {
        let short = Self.accessList([(1, 7, nil), (4, 7, nil), (32, 7, nil)])
        try expectSame([
            F("contradicts", "x", 0o640).xattr("system.posix_acl_access", Self.list),
            D("dir/", 0o751).xattr("system.posix_acl_default", Self.list).xattr("system.posix_acl_access", Self.list),
            F("dir/inherits", "x", 0o666), D("dir/sub/", 0o777),
            F("short", "x", 0o600).xattr("system.posix_acl_access", short),
            D("shortdir/").xattr("system.posix_acl_default", short),
            S("link", "x").xattr("system.posix_acl_access", Self.list),
            F("empty", "x").xattr("system.posix_acl_access", [2, 0, 0, 0]),
            C("node", 1, 3).xattr("system.posix_acl_access", Self.list),
            F("first", "x", 0o600).xattr("system.posix_acl_access", Self.list), H("second", "first").ids(5, 5),
        ])
    }

    @Test(arguments: [[3, 0, 0, 0], [2, 0, 0], [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255]] as [[UInt8]])
    func `an access list that the kernel does not take is not packed`(value: [UInt8]) throws {
        let error = try refusals(Tar.archive([F("file", "x").xattr("system.posix_acl_access", value)])).packing
        #expect(error?.code == .unsupported)
    }

    @Test func `E10 devices`() throws {
        try expectSame([
            C("null", 1, 3, 0o666), B("large", 259, 1000), C("last", 4095, 1_048_575), C("gone", 0, 0), B("b0", 0, 0),
        ])
        let (packing, unpacking) = try refusals(Tar.archive([C("dev", 4096, 0)]))
        #expect(packing != nil && isSame(packing, unpacking))
    }

    @Test func `E11 hard links to all kinds, before and after their targets`() throws {
        try expectSame([
            F("file", "x", 0o600).xattr("security.capability", Self.capability), S("link", "file"), C("dev", 1, 3),
            P("fifo"),
            H("file2", "file").ids(5, 6).time(7), H("link2", "link").ids(8, 9), H("dev2", "/dev"), H("fifo2", "./fifo"),
            H("early", "late"), H("earlier", "early"), F("late", "l"), H("file", "file").ids(1, 1), D("dir/"),
            F("dir/a", "1"), H("b", "dir/a"), F("dir/a", "2"),
            H("withattr", "late").xattr("user.link", "v"),
        ])
        for pieces in [
            [H("a", "missing")], [H("a", "b"), H("b", "a")], [D("d/"), H("a", "d")], [H("a", "/")], [H("a", "../x")],
            [H("h3", "h2"), H("h2", "h1"), H("h1", "nothing")], [F("d/x", "1"), H("d", "d/x")],
        ] {
            let (packing, unpacking) = try refusals(Tar.archive(pieces))
            #expect(
                packing != nil && isSame(packing, unpacking),
                "\(String(describing: packing)) \(String(describing: unpacking))")
        }
    }

    @Test(arguments: [
        [W(".wh.a"), F("a", "new")], [F("a", "new"), W(".wh.a")], [W(".wh.d"), D("d/"), F("d/n", "n")],
        [D("d/"), F("d/n", "n"), W(".wh.d")], [F("d/n", "n"), W("d/.wh..wh..opq")],
        [W("d/.wh..wh..opq"), F("d/n", "n")],
        [W(".wh.foo"), W("foo/.wh.bar")], [W("x/.wh.y"), W(".wh..wh..opq"), F("z/a", "1")],
        [W("x/y/.wh.z"), W("x/.wh..wh..opq")],
        [W("x/y/.wh.z"), W(".wh.x")], [W("a/.wh.b"), F("a", "file")], [W("a/.wh.b"), F("a/c", "file")],
        [S("l", "real"), W("l/.wh.x"), D("real/"), W("l/.wh.y")], [C("c", 0, 0), H("h", "c")],
        [H("h", "c"), C("c", 0, 0)],
        [W(".wh.foo"), D("foo/"), W("foo/.wh.bar")], [F("d/x", "1"), W(".wh.d"), D("d/"), W("d/.wh.x")],
    ])
    func `E12 whiteouts and opaque directories with entries of their own`(pieces: [TarPiece]) throws {
        try expectSame(pieces)
    }

    @Test func `the bottom layer has no whiteouts`() throws {
        var options = PackOptions()
        options.parents = .none
        try expectSame([W(".wh.a"), W("x/.wh.y"), W("d/.wh..wh..opq"), F("d/e/f", "1"), F("s", "s"), D("s/")], options)
        try expectSame([W(".wh..wh..opq"), F("a", "1")], options)
    }

    @Test func `E16 marks of an archive's own are left out`() throws {
        let pieces = [
            D("d/").xattr("trusted.overlay.redirect", "/secret").xattr("user.overlay.opaque", "y"),
            F("f", "x").xattr("trusted.overlay.metacopy", "").xattr("trusted.foo", "b").xattr("user.keep", "k"),
        ]
        let packed = try Packed(pieces)
        #expect(packed.report.warningCount == 4)
        #expect(try TreeSnapshot(reading: packed)["f"]?.attributes == ["user.keep": [UInt8(ascii: "k")]])
        #expect(try TreeSnapshot(reading: packed)["d"]?.attributes == [:])
        try expectSame(pieces)
    }

    @Test func `E19 what follows the archive, missing ends, global headers`() throws {
        let pieces = [G("etc"), F("etc/a", "1"), G("x"), F("b", "2")]
        try expectSame(pieces)
        let mounts = try PackedMounts()
        #expect(try mounts.differences(Tar.archive(pieces, ends: false)) == [])
        #expect(try mounts.differences(Tar.archive(pieces) + Array("garbage".utf8)) == [])
        #expect(try mounts.differences(Tar.archive(pieces) + [UInt8](repeating: 0, count: 10_240)) == [])
        #expect(try mounts.differences([]) == [])
        #expect(
            try Packed(Tar.archive(pieces) + Array("garbage".utf8)).report.streamBytes
                == UInt64(Tar.archive(pieces).count + 7))
    }

    private static func sparse(_ name: String, _ extents: [(Int, [UInt8])], size: Int) -> TarPiece {
        var map = "\(extents.count)\n"
        var data: [UInt8] = []
        for (offset, bytes) in extents {
            map += "\(offset)\n\(bytes.count)\n"
            data += bytes
        }
        return F(name, bytes: Tar.padded(Array(map.utf8)) + data, 0o640).pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0").pax("GNU.sparse.realsize", "\(size)").pax("GNU.sparse.name", name)
    }

    @Test func `E20 sparse files`() throws {
        let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
        let pieces = [
            Self.sparse("one", [(70_000, bytes)], size: 200_000),
            Self.sparse("two", [(3, [1, 2]), (9000, bytes)], size: 14_001),
            Self.sparse("whole", [(0, bytes)], size: 5000), Self.sparse("hole", [], size: 1 << 20), F("plain", "p"),
            Self.sparse("last", [(0, [7])], size: 3),
        ]
        try expectSame(pieces)
        let packed = try Packed(pieces)
        #expect(packed.report.extraBytes > 200_000 && packed.report.extraBytes < 300_000)
        // What lies in the tar as it is stays there, and holes lie nowhere.
        #expect(
            try Packed([Self.sparse("whole", [(0, bytes)], size: 5000), Self.sparse("h", [], size: 9)]).report
                .extraBytes == 0)
    }

    @Test func `E20 a hole of 1 TiB`() throws {
        let packed = try Packed([
            Self.sparse("huge", [(1 << 40, [1, 2, 3])], size: 1 << 40 + 3), Self.sparse("hole", [], size: 1 << 42),
            F("next", "n"),
        ])
        let mounts = try PackedMounts()
        let point = try mounts.mount(packed)
        let file = open(point + "/huge", O_RDONLY)
        defer { close(file) }
        var bytes = [UInt8](repeating: 9, count: 8)
        #expect(pread(file, &bytes, 8, 1 << 40) == 3)
        #expect(bytes.prefix(3) == [1, 2, 3])
        #expect(pread(file, &bytes, 8, 1 << 39) == 8 && bytes == [UInt8](repeating: 0, count: 8))
        #expect(try readFile(point + "/next") == Array("n".utf8))
    }

    @Test func `E21 the last of several entries counts`() throws {
        try expectSame([
            F("a", "1"), F("a", "2"), F("b", "1"), D("b/"), F("b/c", "x"), F("b", "2"),
            D("e/", 0o700).xattr("user.x", "1"),
            F("e/f", "1"), D("e/", 0o711).xattr("user.y", "2"), S("s", "x"), D("s/"), F("f/g", "1"),
            D("f/", 0o700).ids(1, 1),
        ])
    }

    @Test func `files of aufs that only links lead to`() throws {
        try expectSame([
            F(".wh..wh.plnk/1.2", "c", 0o600).ids(4, 4), H("a", ".wh..wh.plnk/1.2"), H("b", ".wh..wh.plnk/1.2"),
            F(".wh..wh.aufs", ""),
        ])
        let (packing, unpacking) = try refusals(Tar.archive([H("a", ".wh..wh.plnk/9.9")]))
        #expect(packing != nil && isSame(packing, unpacking))
    }

    @Test func `an entry for the root counts where that is wanted`() throws {
        var options = PackOptions()
        options.applyRootMetadata = true
        let pieces = [D("./", 0o701).ids(3, 4).time(5), F("a", "1")]
        let packed = try Packed(Tar.archive(pieces), options)
        let root = try ErofsReader(packed.image.rawBytes)
        let inode = try root.inode(root.root)
        #expect(inode.mode & 0o7777 == 0o701 && inode.uid == 3 && inode.gid == 4 && inode.seconds == 5)
        let plain = try Packed(pieces)
        let reader = try ErofsReader(plain.image.rawBytes)
        let other = try reader.inode(reader.root)
        #expect(other.mode & 0o7777 == 0o755 && other.uid == 0 && other.seconds == 0)
    }

    @Test func `implied directories are told of`() throws {
        let packed = try Packed([F("a/b/c", "1"), D("a/"), W("x/.wh.y")])
        #expect(try packed.impliedPaths() == [Array("a/b".utf8), Array("x".utf8)])
    }
}
