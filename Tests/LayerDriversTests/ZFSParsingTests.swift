import LayerKit
import TestSupport
import Testing

@testable import LayerDrivers
@testable import LayerMounts

/// What `zfs` prints, and what the driver makes of it.
@Suite struct ZFSParsingTests {
    @Test func `K10 a listing is split at tabs alone, so a mount point may have spaces`() throws {
        let text = """
            tank/docker\ttype\tfilesystem
            tank/docker\tmountpoint\t/var/lib/my docker\tdir
            tank/docker\tused\t9223372036854775808
            tank/docker\tquota\t0
            tank/docker\torigin\t-
            tank/docker/a\ttype\tfilesystem
            tank/docker/a\torigin\ttank/docker/base@sw-a
            tank/docker/a\tmountpoint\tlegacy
            tank/docker/a\tldiff:layer\ta
            tank/docker/a@sw-b\ttype\tsnapshot
            tank/docker/a@sw-b\tmountpoint\t-
            tank/docker/a@sw-b\tdefer_destroy\ton

            """
        let found = try ZFSDataset.parse(Array(text.utf8))
        #expect(found.map(\.name) == ["tank/docker", "tank/docker/a", "tank/docker/a@sw-b"])
        #expect(found[0].mountpoint == PathBytes("/var/lib/my docker\tdir"))
        #expect(found[0].used == 1 << 63 && found[0].origin == nil && found[0].layer == nil)
        #expect(found[1].origin == "tank/docker/base@sw-a" && found[1].layer == "a")
        #expect(found[2].kind == .snapshot && found[2].isDeferred && found[2].mountpoint.bytes.isEmpty)
        #expect(throws: LayerError.self) { try ZFSDataset.parse(Array("tank/docker type filesystem\n".utf8)) }
    }

    @Test(
        arguments: [
            ("M\tF\t/m/a\n", [("M", "F", "/m/a", nil)]),
            ("+\tF\t/m/a\\0040b\n", [("+", "F", "/m/a b", nil)]),
            ("-\t/\t/m/\\0303\\0251\n", [("-", "/", "/m/é", nil)]),
            ("R\tF\t/m/old\t/m/n\\0134w\n", [("R", "F", "/m/old", "/m/n\\w")]),
            ("M\tF\t/m/linked\t(+2)\n", [("M", "F", "/m/linked", nil)]),
            ("M\t/\t/m/\nM\tP\t/m/sock\n", [("M", "/", "/m/", nil), ("M", "P", "/m/sock", nil)]),
        ] as [(String, [(String, String, String, String?)])])
    func `zfs diff's lines and escapes of four digits`(text: String, lines: [(String, String, String, String?)]) {
        let first = ZFSDifference.readings(of: Array(text.utf8)).first
        let expected = lines.map { line in
            ZFSDifference.Line(
                change: line.0.utf8.first ?? 0, type: line.1.utf8.first ?? 0, path: PathBytes(line.2),
                newPath: line.3.map { PathBytes($0) })
        }
        #expect(first?.lines == expected)
    }

    @Test func `escapes that can be read with three digits and with four are read both ways`() {
        let both = ZFSDifference.readings(of: Array("M\tF\t/m/a\\0040b\n".utf8))
        #expect(both.map { $0.lines[0].path } == [PathBytes("/m/a b"), PathBytes("/m/a\u{4}0b")])
        let three = ZFSDifference.readings(of: Array("M\tF\t/m/a\\040b\n".utf8))
        #expect(three.map { $0.lines[0].path } == [PathBytes("/m/a b")])
    }

    @Test(arguments: [
        "M\tF\n", "X\tF\t/m/a\n", "MM\tF\t/m/a\n", "R\tF\t/m/a\n", "M\tF\t/m/a\\9\n", "M\tF\t/m/a\\04\n",
        "M\tF\t/m/a\tsurprise\n", "Unable to diff\n",
    ])
    func `what cannot be understood is no list`(text: String) {
        #expect(ZFSDifference.readings(of: Array(text.utf8)).isEmpty)
    }

    @Test(arguments: [
        ("cannot open 'p/a': dataset does not exist", ZFSFailure.Kind.missing),
        ("cannot create 'p/a': dataset already exists", .exists),
        ("cannot create snapshot 'p/a@s': dataset already exists", .exists),
        ("cannot destroy 'p/a': dataset is busy", .busy), ("cannot destroy 'p/a': pool or dataset is busy", .busy),
        ("cannot rollback 'p/a': I/O error", .busy),
        (
            "cannot destroy 'p/a': filesystem has dependent clones\nuse '-R' to destroy the following:\np/b",
            .dependentClones
        ),
        ("cannot create 'p/a': out of space", .noSpace), ("cannot create 'p/a': bad numeric value 'much'", .badValue),
        ("unrecognized command 'diff'", .unknownToVersion),
        ("bad property list: invalid property 'x'", .unknownToVersion),
        ("internal error: failed to initialize ZFS library", .unavailable),
        ("The ZFS modules are not loaded.\nTry running '/sbin/modprobe zfs' as root to load them.", .unavailable),
        ("cannot create 'p/a': permission denied", .notPermitted), ("something new", .other),
    ])
    func `failures are told by their words`(said: String, kind: ZFSFailure.Kind) {
        let tool = ZFSTool(log: { _, _ in }) { (_) throws(LayerError) in
            CommandResult(
                ending: .exited(1), standardOutput: [], standardError: Array((said + "\n").utf8), isCut: false)
        }
        do throws(ZFSFailure) {
            try tool.zfs(["destroy", "-r", "p/a"])
            Issue.record("no failure")
        } catch {
            #expect(error.kind == kind)
            let words = said.split(separator: "\n").joined(separator: "\n")
            #expect(error.text == "exit status 1: \"zfs destroy -r p/a\" => \(words)")
        }
    }

    @Test(
        arguments: [
            ("noatime,nodev", MountFlags([.noAccessTimes, .noDevices]), ""), ("ro,rw,defaults", [], ""), ("", [], ""),
            ("nosuid,zfsutil,posixacl,noexec,x=1", [.noSetUser, .noExecute], "posixacl,x=1"),
        ] as [(String, MountFlags, String)])
    func `mount options are flags and data, and never read-only`(text: String, flags: MountFlags, data: String) {
        let found = ZFSOptions.mountOptions(text)
        #expect(found.0 == flags && found.1 == data)
    }

    @Test(
        arguments: [
            (["size": "50M"], "52428800"), (["SIZE": "1.5g"], "1610612736"), (["size": "0"], nil),
            (["size": "none"], nil),
            ([:], nil),
        ] as [([String: String], String?)])
    func `the size option is a quota`(options: [String: String], quota: String?) throws {
        #expect(try ZFSDriver.quota(LayerID("x"), options.map { StorageOption($0.key, $0.value) }) == quota)
    }

    @Test func `K10 every option of a layer is looked at, in whatever order`() {
        for options in [["size", "colour"], ["colour", "size"]] {
            #expect(throws: LayerError.self) {
                try ZFSDriver.quota(LayerID("x"), options.map { StorageOption($0, "1M") })
            }
        }
    }

    @Test(arguments: ["a\\b", "a%b", "é", "removing-x", "a@b", String(repeating: "x", count: 130)])
    func `ids that cannot be datasets are refused before anything is asked`(id: String) throws {
        let names = ZFSNames(root: "tank/docker")
        do throws(LayerError) {
            try names.validate(LayerID(id))
            Issue.record("accepted")
        } catch {
            #expect(error.code == .invalidArgument)
        }
    }

    @Test func `K10 names come from the ids, so they cannot collide, and lead back to them`() throws {
        let names = ZFSNames(root: "tank/docker")
        let (base, child) = (try LayerID("base"), try LayerID("child-init"))
        try names.validate(child)
        #expect(names.origin(of: child, in: base) == "tank/docker/base@sw-child-init")
        #expect(names.parent(origin: "tank/docker/base@sw-child-init") == base)
        #expect(names.layer("tank/docker/child-init") == child)
        for foreign in ["tank/docker", "tank/other/a", "tank/docker/a/b", "tank/docker/removing-a", "tank/dockers/a"] {
            #expect(names.layer(foreign) == nil)
        }
        let dockers = [String(repeating: "0a", count: 32), String(repeating: "0a", count: 32) + "-init"]
        for id in dockers + ["abcdefghijklmnopqrstuvwxy"] { #expect(try ZFSNames.isDockers(LayerID(id))) }
        for id in ["base", "home", dockers[0] + "-x", String(repeating: "0g", count: 32)] {
            #expect(try !ZFSNames.isDockers(LayerID(id)))
        }
    }
}
