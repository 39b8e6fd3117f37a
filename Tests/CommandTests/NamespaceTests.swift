import Foundation
import TestSupport
import Testing

/// An archive that wants out, and the statuses that are right answers to it.
struct HostileArchive: Sendable {
    let name: String
    let pieces: [TarPiece]
    let statuses: Set<Int32>

    init(_ name: String, _ pieces: [TarPiece], _ statuses: Int32...) {
        self.name = name
        self.pieces = pieces
        self.statuses = Set(statuses)
    }
}

/// Section 7 from inside: root of a user namespace, who may write to the directory beside the root just as well.
private let hostileArchives: [HostileArchive] = [
    HostileArchive("V1 climbing", [F("../victim/hello", "evil")], 65),
    HostileArchive("V1 climbing from the root", [F("/../victim/hello", "evil")], 65),
    HostileArchive("V1 climbing behind a name", [F("a/../../victim/x", "evil")], 65),
    HostileArchive("V2 through a relative link", [S("v", "../victim"), F("v/hello", "evil"), D("v/sub", 0o777)], 0),
    HostileArchive("V4 hard link upwards", [H("h", "../victim/hello")], 65),
    HostileArchive(
        "V5 hard link through a link", [S("v", "../victim"), H("h", "v/hello"), F("h", "pwned")], 0, 65, 66),
    HostileArchive("V6 mode through a link", [S("p", "../victim/hello"), H("h", "p")], 0),
    HostileArchive(
        "V7 links upwards", [D("i"), S("i/up", ".."), S("i/up/esc", "../victim"), F("i/up/esc/hello", "x")], 0),
    HostileArchive(
        "V8 a parent replaced",
        [
            D("foo"), D("foo/tmp"), F("foo/tmp/b", "1"), S("foo", "/"), F("foo/tmp/gaps-b", "2"), D("foo"),
            F("foo/tmp/b"),
        ], 0),
    HostileArchive("V12 a whiteout of the parent", [W(".wh...")], 65),
    HostileArchive("V12 a whiteout of nothing", [W("etc/.wh.")], 65),
    HostileArchive("V13 whiteouts through a link", [S("v", "../victim"), W("v/.wh.hello"), W("v/.wh..wh..opq")], 0),
    HostileArchive(
        "V14 marks of overlayfs",
        [D("d").xattr("trusted.overlay.redirect", "/x"), F("f").xattr("user.overlay.opaque", "y")],
        0),
    HostileArchive("V16 a sparse map without end", [sparseMap], 65),
    HostileArchive("V19 a size that is a lie", [F("f", "x").size(1 << 40)], 65),
    HostileArchive("V20 NUL in a name", [F("f").pax("path", "ok\0/../../x")], 65),
    HostileArchive("V21 the root replaced", [S("./", "../victim"), F("hello", "evil")], 65),
    HostileArchive("V22 a device number too large", [C("d", (1 << 32) + 1, 0)], 65),
    HostileArchive("V24 a global header named like a directory", [G("../victim"), F("f")], 0),
    HostileArchive("V26 links in circles", [S("a", "b"), S("b", "a"), F("a/x")], 74),
    HostileArchive(
        "V27 a body where none is", [raw(Tar.header(H("h", "t").size(512)) + Tar.padded([65])), F("f")], 65),
    HostileArchive("V29 an owner that is none", [F("f").ids(4_294_967_295, 0)], 65),
    HostileArchive("V30 a parent that is a file", [F("p", "x"), F("p/q")], 74),
    HostileArchive("T223 an owner without a place", [F("f").ids(77, 0)], 74),
    HostileArchive("T223 devices", [C("null", 1, 3), B("sda", 8, 0), F("f")], 0),
]

private let sparseMap: TarPiece =
    F("s", bytes: Tar.padded(Array(("10000000\n" + String(repeating: "1\n1\n", count: 1000)).utf8)))
    .pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0").pax("GNU.sparse.realsize", "1000000000")

/// Applying as the root of a user namespace, as rootless containers do.
@Suite struct NamespaceTests {
    private func write(_ pieces: [TarPiece], to path: String) throws {
        try Data(Tar.archive(pieces)).write(to: URL(fileURLWithPath: path))
    }

    @Test(arguments: ["tree", "overlay", "aufs", "fuse-overlayfs"])
    func `T170 T202 hostile archives in a user namespace`(dialect: String) throws {
        let scratch = try Scratch()
        for (number, archive) in hostileArchives.enumerated() {
            try write(archive.pieces, to: "\(scratch.path)/\(number).tar")
        }
        let outcome = try scratch.make(
            """
            mkdir -m 700 victim; echo untouched > victim/hello; mkdir victim/sub; chmod 711 victim/sub
            touch -d @1000000000 victim/hello victim/sub victim
            look() { find victim -printf '%P %y %m %U %G %s %T@ %n %l\\n' | sort; cat victim/hello; ls -A; }
            mkdir r; touch errors after before; look > before
            for n in $(seq 0 \(hostileArchives.count - 1)); do
                mkdir -p r; s=0
                timeout 20 unshare -Ur $L apply $n.tar r --dialect \(dialect) --quiet 2> errors || s=$?
                look > after; t=same; cmp -s before after || t=touched
                echo "$n $s $t $(wc -l < errors) $(cat errors | tr '\\n' ' ')"
                rm -rf r; mkdir r
            done
            test ! -e /tmp/gaps-b
            """)
        let lines = outcome.text.split(separator: "\n")
        #expect(lines.count == hostileArchives.count)
        for (line, archive) in zip(lines, hostileArchives) {
            let fields = line.split(separator: " ", maxSplits: 4)
            let status = Int32(fields[1]) ?? -1
            #expect(archive.statuses.contains(status), "\(archive.name): \(line)")
            #expect(fields[2] == "same", "\(archive.name): \(line)")
            #expect(fields[3] == (status == 0 ? "0" : "1"), "\(archive.name): \(line)")
        }
    }

    @Test func `T223 A45 devices are left out, counted and warned of`() throws {
        let scratch = try Scratch()
        try write([C("null", 1, 3), B("dev/sda", 8, 0), P("fifo"), F("f", "x")], to: scratch.path + "/x.tar")
        let outcome = try scratch.make("unshare -Ur $L apply x.tar r --json")
        #expect(outcome.text.contains(#""skippedDevices":2"#), "\(outcome)")
        #expect(
            outcome.text.contains("null: the device was left out") && outcome.text.contains("dev/sda: the device was"))
        #expect(try scratch.names(in: "r") == ["dev", "f", "fifo"])
        #expect(try scratch.names(in: "r/dev") == [])
    }

    @Test func `all names of a device that is left out are, and hide what lower layers have`() throws {
        let scratch = try Scratch()
        try write([F("null", "lower"), F("second", "lower"), F("early", "lower")], to: scratch.path + "/low.tar")
        try write(
            [
                D("d"), H("early", "late"), C("late", 1, 5), C("null", 1, 3), H("second", "null"),
                H("d/third", "second"),
                H("null", "second"),
            ], to: scratch.path + "/x.tar")
        _ = try scratch.make("$L apply low.tar low")
        for words in ["", "--dialect overlay --lower low", "--dialect aufs --lower low"] {
            let outcome = try scratch.make("rm -rf r; unshare -Ur $L apply x.tar r --json " + words)
            #expect(outcome.status == 0 && outcome.text.contains(#""skippedDevices":6"#), "\(outcome)")
            #expect(try scratch.names(in: "r/d") == [])
            let prefix = words.contains("aufs") ? ".wh." : ""
            let hidden = words.isEmpty ? [] : ["early", "null", "second"].map { prefix + $0 }
            #expect(try scratch.names(in: "r").sorted() == (["d"] + hidden).sorted())
        }
    }

    @Test func `T223 A23 an owner that the namespace has no id for comes with a hint`() throws {
        let scratch = try Scratch()
        for (name, piece) in [
            ("file", F("f", "x").ids(77, 0)), ("directory", D("d").ids(0, 77)), ("link", S("l", "x").ids(77, 77)),
        ] {
            try write([piece], to: "\(scratch.path)/\(name).tar")
            let outcome = try scratch.run("unshare -Ur $L apply \(name).tar r")
            #expect(outcome.status == 74 && outcome.errorLines.count == 1, "\(name): \(outcome)")
            #expect(
                outcome.errors.contains("Invalid argument") && outcome.errors.contains("subordinate ids"), "\(outcome)")
            #expect(!(try scratch.names().contains("r")))
        }
        // With a map from the archive's ids to the one that is there it works.
        try scratch.make("unshare -Ur $L apply file.tar r --uid-map 77:0:1 --gid-map 0:0:1 --quiet; test -f r/f")
    }

    @Test func `T223 A31 directories are opaque by a user attribute, as overlays in there are mounted`() throws {
        let scratch = try Scratch()
        try write(
            [
                D("d"), W("d/.wh..wh..opq"), F("d/new", "n"), W(".wh.gone"), D("kept"), F("kept/more"), W("re/.wh.x"),
                D("re/x"),
                F("re/x/new"),
            ],
            to: scratch.path + "/x.tar")
        let outcome = try scratch.make(
            """
            mkdir -p lower/d lower/kept lower/re/x; touch lower/d/old lower/gone lower/kept/one lower/re/x/old
            mkdir upper work view; cp -a lower tree
            unshare -Urm bash -ec '
                $L apply x.tar upper --dialect overlay --lower lower --quiet
                mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr view
                find view -mindepth 1 -printf "%P\\n" | sort > seen
                $L changes upper --lower lower --dialect overlay --userxattr > marks
                $L changes view --lower lower > trees
                $L apply x.tar tree --quiet'
            find tree -mindepth 1 -printf '%P\\n' | sort | diff - seen; diff marks trees
            getfattr --absolute-names --only-values -n user.overlay.opaque upper/d upper/re/x; echo; cat seen
            """)
        let lines = outcome.text.split(separator: "\n")
        #expect(lines == ["yy", "d", "d/new", "kept", "kept/more", "kept/one", "re", "re/x", "re/x/new"], "\(outcome)")
    }

    @Test func `T223 a root file system goes out and back again`() throws {
        let scratch = try Scratch()
        let outcome = try scratch.make(
            """
            mkdir t; cd t; \(Scratch.everything)
            cd ..; find t \\( -type c -o -type b \\) -delete; chown -R 0:0 t; chmod 6755 t/setuid
            $L diff t -o x.tar --quiet
            unshare -Ur sh -c '$L apply x.tar r --quiet; $L diff r -o y.tar --quiet'
            cmp x.tar y.tar; echo same
            """)
        #expect(outcome.text == "same\n")
    }

    /// A copy of a tree in a user namespace, where no devices can be made.
    @Test func `all names of a device that a copy may not make are left out`() throws {
        let scratch = try Scratch()
        let outcome = try scratch.make(
            """
            mkdir t t/d; mknod t/disk b 259 7; ln t/disk t/again; ln t/disk t/d/third; echo x > t/f; ln t/f t/d/g
            chmod 0777 . t t/d
            unshare -Ur $L bench-probe copy t copy > /dev/null
            cd copy; find . | sort
            """)
        #expect(outcome.text == ".\n./d\n./d/g\n./f\n")
    }
}
