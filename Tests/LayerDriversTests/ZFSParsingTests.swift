import LayerModel
import TestSupport
import Testing

@testable import LayerDrivers
@testable import LayerMounts

/// What `zfs` prints, and what the driver makes of it.
@Suite struct ZFSParsingTests {
    @Test func `K10 a listing is split at tabs alone, so a mount point may have spaces`() throws {
        let text = """
            tank/docker\ttype\tfilesystem\t-
            tank/docker\tmountpoint\t/var/lib/my docker\tdir\tlocal
            tank/docker\tused\t9223372036854775808\t-
            tank/docker\tquota\t0\tdefault
            tank/docker\torigin\t-\t-
            tank/docker/a\ttype\tfilesystem\t-
            tank/docker/a\torigin\ttank/docker/base@sw-a\t-
            tank/docker/a\tmountpoint\tlegacy\tinherited from tank/docker
            tank/docker/a\tldiff:layer\ta\tlocal
            tank/docker/a@sw-b\ttype\tsnapshot\t-
            tank/docker/a@sw-b\tmountpoint\t-\t-
            tank/docker/a@sw-b\tdefer_destroy\ton\t-
            tank/docker/a@sw-b\tldiff:layer\ta\tinherited from tank/docker/a
            tank/docker/a@sw-b\tldiff:for\tclone\treceived

            """
        let found = try ZFSDataset.parse(Array(text.utf8))
        #expect(found.map(\.name) == ["tank/docker", "tank/docker/a", "tank/docker/a@sw-b"])
        #expect(found[0].mountpoint == PathBytes("/var/lib/my docker\tdir"))
        #expect(found[0].used == 1 << 63 && found[0].origin == nil && found[0].layer == nil)
        #expect(found[0].hasOwnMountpoint && !found[1].hasOwnMountpoint)
        #expect(found[1].origin == "tank/docker/base@sw-a" && found[1].layer == "a")
        #expect(found[2].layer == nil && found[2].purpose == .clone && found[2].isOurSnapshot, "inherited is not ours")
        #expect(found[2].kind == .snapshot && found[2].isDeferred && found[2].mountpoint.bytes.isEmpty)
        #expect(throws: LayerError.self) { try ZFSDataset.parse(Array("tank/docker\ttype\tfilesystem\n".utf8)) }
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

    @Test(arguments: ["a\\b", "a%b", "é", "removing-x", "ldiff-making-x", "a@b", String(repeating: "x", count: 230)])
    func `ids that cannot be datasets are refused before anything is asked`(id: String) throws {
        let names = ZFSNames(root: "tank/docker")
        do throws(LayerError) {
            try names.validate(LayerID(id))
            Issue.record("accepted")
        } catch {
            #expect(error.code == .invalidArgument)
        }
    }

    @Test func `K10 names lead back to the ids, and a snapshot's is nobody else's`() throws {
        let names = ZFSNames(root: "tank/docker")
        let (base, child) = (try LayerID("base"), try LayerID("child-init"))
        try names.validate(child)
        let origin = names.newOrigin(in: base)
        #expect(origin.hasPrefix("tank/docker/base@sw-") && origin != names.newOrigin(in: base))
        #expect(names.parent(origin: origin) == base)
        #expect(names.layer("tank/docker/child-init") == child)
        let foreign = [
            "tank/docker", "tank/other/a", "tank/docker/a/b", "tank/docker/removing-a", "tank/dockers/a",
            "tank/docker/ldiff-making-a", "tank/docker/a@b",
        ]
        for name in foreign { #expect(names.layer(name) == nil) }
    }

    /// Docker's own datasets have no mark, so all of their form must be Docker's.
    @Test func `a dataset is a layer by its mark, or by Docker's whole form`() throws {
        let view = ZFSView(
            root: "tank/docker", graph: PathBytes("/store/zfs/graph"),
            query: ZFSQuery(ZFSTool(log: { _, _ in }) { (_) throws(LayerError) in throw LayerError(.io, "none") }))
        func dataset(_ name: String, _ change: (inout ZFSDataset) -> Void = { _ in }) -> ZFSDataset {
            var dataset = ZFSDataset(name: "tank/docker/" + name)
            dataset.kind = .fileSystem
            dataset.mountpoint = PathBytes("legacy")
            dataset.hasOwnMountpoint = true
            change(&dataset)
            return dataset
        }
        let hex = String(repeating: "0a", count: 32)
        let buildKit = "backup2026beforetheupdate"
        let layers = [
            dataset("a") { ($0.layer, $0.mountpoint) = ("a", PathBytes("none")) }, dataset(hex), dataset(hex + "-init"),
            dataset(hex) { $0.origin = "tank/docker/\(hex)-init@123" },
            dataset(hex) { $0.mountpoint = PathBytes("/store/zfs/graph/\(hex)") },
            dataset(buildKit) { $0.origin = "tank/docker/\(hex)@123456789" },
        ]
        for layer in layers { #expect(try view.layer(layer) == LayerID(String(layer.name.dropFirst(12))), "\(layer)") }
        let others = [
            dataset("a"), dataset("a") { $0.layer = "b" }, dataset(hex) { $0.layer = "b" },
            dataset(hex) { $0.hasOwnMountpoint = false }, dataset(hex) { $0.mountpoint = PathBytes("none") },
            dataset(hex) { $0.kind = .other }, dataset(hex) { $0.origin = "tank/photos@123" },
            dataset(hex) { $0.origin = "tank/docker/a/b@123" }, dataset(hex + "-x"), dataset("removing-\(hex)"),
            dataset("removing-a") { $0.layer = "a" }, dataset(buildKit),
            dataset(buildKit) { $0.origin = "tank/docker/\(hex)@before-update" },
            dataset(buildKit) { $0.origin = "tank/docker/a@123" },
        ]
        for other in others { #expect(view.layer(other) == nil, "\(other)") }
    }

    @Test func `a maker is told from another by its boot, its namespace, its number and its start`() throws {
        let own = ZFSMaker.current.text.split(separator: ":").map(String.init)
        #expect(own.count == 4)
        func state(_ parts: [String]) -> ZFSMaker.State { ZFSMaker.state(parts.joined(separator: ":"), of: "x") }
        #expect(state(own) == .gone, "this process is not at work on it")
        ZFSMaker.begin("x")
        #expect(state(own) == .alive)
        ZFSMaker.end("x")
        #expect(state(["other"] + own[1...]) == .gone)
        #expect(state([own[0], "1"] + own[2...]) == .unknown)
        #expect(state(own[..<2] + ["1", own[3]]) == .gone, "another process has the number")
        for text in [nil, "", "1", "a:b:c:d:e"] { #expect(ZFSMaker.state(text, of: "x") == .unknown) }
        let stat = try readText("/proc/1/stat")
        let started = stat[stat.index(after: stat.lastIndex(of: ")") ?? stat.startIndex)...].split(separator: " ")[19]
        #expect(state(own[..<2] + ["1", String(started)]) == .alive)
    }
}
