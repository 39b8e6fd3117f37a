import Glibc
import LayerEngine
import LayerModel
import LinuxIO
import TestSupport
import Testing

/// Hostile archives.
@Suite struct ApplySecurityTests {
    @Test(arguments: Target.allCases) func `T170 V1 names that climb`(_ target: Target) throws {
        for name in ["../victim/x", "/../victim/x", "a/../../victim/x", ".."] {
            let outside = try Outside()
            #expect(try outside.apply(target, [F(name, "evil")])?.code == .unsafePath, "\(name)")
            #expect(try outside.isUntouched())
        }
    }

    @Test(arguments: Target.allCases) func `T171 T172 V2 V3 writing through links`(_ target: Target) throws {
        let outside = try Outside()
        let other = outside.scratch.path + "/victim"
        #expect(
            try outside.apply(target, [S("v", "../victim"), F("v/file", "1"), S("w", other), F("w/file", "2")]) == nil)
        let inside = try TreeSnapshot(outside.root)
        #expect(inside["victim/file"]?.text == "1")
        #expect(inside.entries.values.contains { $0.text == "2" })
        #expect(try outside.isUntouched())
    }

    @Test(arguments: Target.allCases) func `T173 T174 V4 V5 hard links out of the root`(_ target: Target) throws {
        for link in ["../victim/hello", "/../victim/hello"] {
            let outside = try Outside()
            #expect(try outside.apply(target, [H("h", link)])?.code == .unsafePath)
            #expect(try outside.isUntouched())
        }
        let outside = try Outside()
        #expect(try outside.apply(target, [S("v", "../victim"), H("h", "v/hello"), F("h", "pwned")]) != nil || true)
        #expect(try outside.isUntouched())
    }

    @Test(arguments: Target.allCases) func `T175 V6 no mode is changed through a link`(_ target: Target) throws {
        let outside = try Outside()
        let file = outside.scratch.path + "/victim/hello"
        #expect(try outside.apply(target, [S("p/ep", file), H("sketchy", "p/ep")]) == nil)
        #expect(try outside.isUntouched())
        #expect(try TreeSnapshot(outside.root)["sketchy"]?.kind == .symbolicLink)
    }

    @Test(arguments: Target.allCases) func `T176 V7 siblings and links upwards`(_ target: Target) throws {
        let outside = try Outside("dest")
        let evil = try outside.scratch.directory("dest-evil")
        try apply(Tar.archive([F("secret", "s", 0o400)]), to: evil)
        let before = try TreeSnapshot(evil)
        #expect(try outside.apply(target, [H("l", "../dest-evil/secret")])?.code == .unsafePath)
        #expect(
            try outside.apply(
                target, [D("inner"), S("inner/up", ".."), S("inner/up/esc", "../victim"), F("inner/up/esc/x", "x")])
                == nil)
        #expect(try outside.isUntouched() && TreeSnapshot(evil) == before)
        #expect(try TreeSnapshot(outside.root)["victim/x"]?.text == "x")
    }

    @Test(arguments: Target.allCases) func `T177 V8 a parent replaced by a link`(_ target: Target) throws {
        let outside = try Outside()
        #expect(
            try outside.apply(
                target,
                [
                    D("foo/"), D("foo/tmp/"), F("foo/tmp/b", "1"), S("foo", "/"), F("foo/tmp/b", "2"), D("foo/"),
                    D("foo/tmp/"), F("foo/tmp/b", "3"),
                ]) == nil)
        let inside = try TreeSnapshot(outside.root)
        #expect(inside["tmp/b"]?.text == "2" && inside["foo/tmp/b"]?.text == "3")
        #expect(access("/tmp/b", F_OK) != 0)
    }

    @Test func `T178 V9 directories swapped for links meanwhile`() throws {
        let outside = try Outside()
        let victim = outside.scratch.path + "/victim"
        let stop = CancelFlag()
        let inner = outside.root + "/d"
        let thread = try WorkerThread {
            while !stop.isCancelled {
                rename(inner, inner + ".away")
                symlink(victim, inner)
                unlink(inner)
                rename(inner + ".away", inner)
            }
        }
        for round in 0..<200 {
            _ = try outside.apply(
                .merged,
                [
                    D("d", 0o777), F("d/hello", "evil \(round)", 0o777), S("d/l", "x"), H("d/h", "d/hello"),
                    D("d/sub", 0o777),
                ])
        }
        stop.cancel()
        thread.join()
        #expect(try outside.isUntouched())
    }

    @Test(arguments: Target.allCases) func `T182 V13 whiteouts through links`(_ target: Target) throws {
        #expect(
            try paths(target, [F("etc/passwd"), S("l", "/etc")], [W("l/.wh.passwd"), W(".wh.l")]) == ["etc/"])
        #expect(access("/etc/passwd", F_OK) == 0)
    }

    @Test(arguments: Target.allCases) func `T183 V14 injected attributes`(_ target: Target) throws {
        let stack = try Stack(target)
        try stack.apply([D("secret"), F("secret/s", "s"), D("d"), F("d/x")])
        try stack.apply([
            S("l", "t").xattr("user.x", "1"), D("e").xattr("trusted.overlay.redirect", "/secret"),
            F("f", "data").xattr("trusted.overlay.metacopy", ""), D("d").xattr("user.overlay.opaque", "y"),
        ])
        let result = try stack.view()
        #expect(result.paths == ["d/", "d/x", "e/", "f", "l", "secret/", "secret/s"] && result["f"]?.text == "data")
    }

    @Test(arguments: Target.allCases) func `T184 T185 V15 V16 oversized headers`(_ target: Target) throws {
        var long = TarPiece("L", "././@LongLink")
        long.claimedSize = 1 << 30
        #expect(try failure(target, [raw(Tar.header(long)), F("f")])?.code == .invalidArchive)
        #expect(try failure(target, [F("f").pax("comment", [UInt8](repeating: 1, count: 2 << 20))]) != nil)
        let map = "10000000\n" + String(repeating: "1\n1\n", count: 1000)
        let sparse = F("s", bytes: Tar.padded(Array(map.utf8))).pax("GNU.sparse.major", "1").pax(
            "GNU.sparse.minor", "0"
        )
        .pax("GNU.sparse.realsize", "1000000000")
        #expect(try failure(target, [sparse]) != nil)
    }

    @Test func `T186 V17 bytes behind the end are bounded`() throws {
        let scratch = try TemporaryDirectory()
        var options = ApplyOptions()
        options.maxTrailingBytes = 1 << 20
        do {
            try apply(Tar.archive([F("f")]) + [UInt8](repeating: 0, count: 4 << 20), to: scratch.path, options)
            Issue.record("four megabytes passed for one")
        } catch let error as LayerError {
            #expect(error.code == .limitExceeded)
        }
    }

    @Test(arguments: Target.allCases) func `T188 T189 V19 V20 lies about sizes, NULs in names`(_ target: Target) throws
    {
        for size in ["-1", "99999999999999999999"] {
            #expect(try failure(target, [F("f", "x").pax("size", size)])?.code == .invalidArchive)
        }
        #expect(try failure(target, [F("f", "x").pax("size", "9223372036854775807")])?.code == .invalidArchive)
        #expect(try failure(target, [F("f", "x").size(1 << 40)])?.code == .invalidArchive)
        #expect(try failure(target, [F("f").pax("path", "ok\0/../../x")])?.code == .invalidArchive)
        var long = TarPiece("L", "././@LongLink")
        long.body = Array("a\0b".utf8)
        #expect(try paths(target, [raw(Tar.encode(long)), F("f")]) == ["a"])
    }

    @Test(arguments: Target.allCases) func `T190 V21 nothing replaces the root`(_ target: Target) throws {
        for piece in [S("./", "/tmp"), F("."), H("/", "x"), C(".", 1, 3), P("./.")] {
            let outside = try Outside()
            #expect(try outside.apply(target, [piece, F("x")])?.code == .unsafePath)
            #expect(try outside.apply(target, [F("x")]) == nil)
            #expect(try TreeSnapshot(outside.root)["x"] != nil)
        }
    }

    @Test(arguments: Target.allCases) func `T191 V22 A46 device numbers`(_ target: Target) throws {
        #expect(try failure(target, [C("d", (1 << 32) + 1, 3)])?.code == .invalidArchive)
        #expect(try failure(target, [B("d", 4096, 0)])?.code == .invalidArchive)
        #expect(try failure(target, [C("d", -1, 0)])?.code == .invalidArchive)
        let result = try view(target, [C("d", 4095, 1_048_575), B("b", 7, 0), P("p", 0o600)])
        #expect(result["d"]?.major == 4095 && result["d"]?.minor == 1_048_575)
        #expect(result["b"]?.kind == .blockDevice && result["p"]?.kind == .fifo && result["p"]?.mode == 0o600)
    }

    @Test(arguments: Target.allCases) func `T192 V23 A47 modes of devices are set without opening them`(
        _ target: Target
    )
        throws
    {
        // Nobody reads the FIFO: opening it would wait for ever.
        let result = try view(target, [C("dev/ptmx", 5, 2, 0o666), P("fifo", 0o622)])
        #expect(result["dev/ptmx"]?.mode == 0o666 && result["fifo"]?.mode == 0o622)
    }

    @Test(arguments: Target.allCases) func `T193 V24 global headers touch nothing`(_ target: Target) throws {
        #expect(
            try paths(target, [D("etc"), F("etc/x")], [G("etc"), G("new/dir"), F("f")]) == ["etc/", "etc/x", "f"])
    }

    @Test(arguments: Target.allCases) func `T195 V26 links in circles`(_ target: Target) throws {
        let error = try #require(try failure(target, [S("a", "b"), S("b", "a"), F("a/x")]))
        #expect(error.code == .io && error.description.contains("symbolic links"))
    }

    @Test(arguments: Target.allCases) func `T196 V27 bodies where none may be`(_ target: Target) throws {
        let body = [UInt8](repeating: 0x41, count: 512)
        let directory = Tar.header(TarPiece("0", "d/").type(0).size(512)) + body
        #expect(try failure(target, [raw(directory), F("f")])?.code == .invalidArchive)
        let link = Tar.header(H("h", "t").size(512)) + body
        #expect(try failure(target, [F("t"), raw(link), F("f")])?.code == .invalidArchive)
    }

    @Test(arguments: Target.allCases) func `T198 V29 owners out of range`(_ target: Target) throws {
        for id: Int64 in [4_294_967_295, 1 << 40, -1] {
            #expect(try failure(target, [F("f").ids(id, 0)])?.code == .invalidArchive, "\(id)")
            #expect(try failure(target, [D("f").ids(0, id)])?.code == .invalidArchive, "\(id)")
        }
        #expect(try view(target, [F("f").ids(4_294_967_294, 7)])["f"]?.uid == 4_294_967_294)
    }
}
