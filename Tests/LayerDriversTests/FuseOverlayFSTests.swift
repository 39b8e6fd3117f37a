import Glibc
import LayerCompression
import LayerEngine
import LayerModel
import LayerMounts
import TestSupport
import Testing

@testable import LayerDrivers

/// A store of fuse-overlayfs, unmounted and gone with the test.
private final class FuseStore {
    let scratch: TemporaryDirectory
    let home: PathBytes
    let driver: FuseOverlayFSDriver

    init(_ name: String = "fuse-overlayfs", options: [String] = []) throws {
        scratch = try TemporaryDirectory(in: "/var/tmp")
        home = PathBytes(scratch.path + "/" + name)
        driver = try FuseOverlayFSDriver(DriverConfiguration(home: home, options: options))
    }

    deinit { try? driver.cleanup() }

    func id(_ text: String) throws -> LayerID { try LayerID(text) }
    func path(_ name: String) -> String { String(decoding: home.bytes, as: UTF8.self) + "/" + name }

    func create(_ name: String, on parent: String? = nil) throws {
        try driver.create(try id(name), parent: try parent.map(id), options: CreateOptions())
    }

    /// Runs `body` with the mounted layer's path.
    func mounted<Result>(_ name: String, _ options: MountOptions = MountOptions(), _ body: (String) throws -> Result)
        throws -> Result
    {
        let layer = try driver.mount(try id(name), options: options)
        return try body(String(decoding: layer.path.bytes, as: UTF8.self))
    }

    func changes(_ name: String, since parent: String?) throws -> [String] {
        try listed { (body) throws(LayerError) in
            try driver.changes(
                LayerID(name), since: parent.map { (text) throws(LayerError) in try LayerID(text) }, body)
        }
    }

    /// The same by comparing the two mounted trees.
    func compared(_ name: String, since parent: String?) throws -> [String] {
        let source = try driver.comparedTrees(try id(name), try parent.map(id))
        return try listed { (body) throws(LayerError) in
            try DiffEngine.changes(source.trees, contentCheck: true, skipUnreadable: false, body)
        }
    }
}

private func listed(_ run: ((ChangeKind, RawSpan) throws(LayerError) -> Void) throws(LayerError) -> ChangesReport)
    throws -> [String]
{
    var found: [String] = []
    _ = try run { (kind, path) throws(LayerError) in
        found.append("\(Character(UnicodeScalar(kind.letter))) \(String(decoding: path.copied(), as: UTF8.self))")
    }
    return found
}

private func make(_ path: String, _ text: String = "") throws {
    try writeFile(path, Array(text.utf8))
}

private func directory(_ path: String) throws {
    guard mkdir(path, 0o755) == 0 else { throw SystemCallError("mkdir", errno: errno) }
}

@Suite struct FuseOverlayFSTests {
    private static let marks: [[(String, String)]] = [
        [("trusted.overlay.opaque", "y")], [("user.overlay.opaque", "y")], [("user.fuseoverlayfs.opaque", "y")],
        [("trusted.fuseoverlayfs.opaque", "y")], [("user.overlay.opaque", "yyyy")], [("user.overlay.opaque", "ny")],
        [("trusted.overlay.opaque", "yes")], [("user.fuseoverlayfs.opaque", String(repeating: "y", count: 16))],
        [("trusted.overlay.opaque", "n"), ("user.overlay.opaque", "y")],
        [("user.overlay.opaque", "n"), ("user.fuseoverlayfs.opaque", "y")],
        [("trusted.overlay.opaque", "y"), ("user.overlay.opaque", "n")],
    ]

    @Test(arguments: marks.indices) func `a directory is opaque for us where it is for the helper`(_ index: Int) throws
    {
        let store = try FuseStore()
        try store.create("base")
        try store.mounted("base") { path in
            try directory("\(path)/d")
            try make("\(path)/d/old")
        }
        try store.create("top", on: "base")
        let own = store.path("top/diff/d")
        try directory(own)
        for (name, value) in Self.marks[index] { try TreeBuilder(own).attribute(".", name, value) }
        let shown = try store.mounted("top") { directoryNames("\($0)/d") }
        let changes = try store.changes("top", since: "base")
        #expect(changes.contains("D /d/old") == shown.isEmpty, "\(changes)")
        #expect(changes == (try store.compared("top", since: "base")))
    }

    @Test func `a deletion too long for a file is hidden by the helper`() throws {
        let store = try FuseStore()
        let long = String(repeating: "n", count: 255)
        try store.create("base")
        try store.mounted("base") { path in
            try make("\(path)/\(long)")
            try make("\(path)/kept")
        }
        try store.create("top", on: "base")
        var stream = MemorySource(Tar.archive([W(".wh." + long)]))
        _ = try store.driver.applyDiff(LayerID("top"), onto: LayerID("base"), from: &stream)
        #expect(try store.mounted("top") { directoryNames($0) } == ["kept"])
        #expect(try store.changes("top", since: "base") == ["D /" + long])
    }

    @Test func `every form of deletion and opaque directory is read from the layer's own directory`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.mounted("base") { path in
            for name in ["d1", "d2", "d3", "d4", "d5"] {
                try directory("\(path)/\(name)")
                try make("\(path)/\(name)/old", name)
                try make("\(path)/\(name)/same", name)
            }
            for name in ["f1", "f2", "kept", "changed"] { try make("\(path)/\(name)", "1") }
        }
        try store.create("top", on: "base")
        try store.mounted("top") { path in
            #expect(unlink("\(path)/f1") == 0)
            try rewrite("\(path)/changed", "2")
            // Removed and made again: opaque.
            for name in ["old", "same"] { unlink("\(path)/d1/\(name)") }
            #expect(rmdir("\(path)/d1") == 0)
            try directory("\(path)/d1")
            try make("\(path)/d1/new", "n")
        }
        // The forms that other versions, ApplyDiff and Docker leave.
        let upper = store.path("top/diff")
        try make("\(upper)/.wh.f2")
        try directory("\(upper)/d2")
        try make("\(upper)/d2/.wh..wh..opq")
        try make("\(upper)/d2/fresh", "x")
        #expect(mknod("\(upper)/d2/.wh..opq", S_IFCHR, 0) == 0)  // the bogus one
        for (name, attribute) in [("d3", "trusted.overlay.opaque"), ("d4", "trusted.overlay.opaque")] {
            try directory("\(upper)/\(name)")
            #expect(try runProgram(["setfattr", "-n", attribute, "-v", "y", "\(upper)/\(name)"]).status == 0)
        }
        try directory("\(upper)/d5")
        try make("\(upper)/d5/.wh.old")
        let native = try store.changes("top", since: "base")
        #expect(
            native == [
                "C /changed", "C /d1", "A /d1/new", "D /d1/old", "D /d1/same", "C /d2", "A /d2/fresh", "D /d2/old",
                "D /d2/same", "C /d3", "D /d3/old", "D /d3/same", "C /d4", "D /d4/old", "D /d4/same", "C /d5",
                "D /d5/old", "D /f1", "D /f2",
            ])
        #expect(try store.compared("top", since: "base") == native, "the mount shows the same")
    }

    @Test func `what a container still has open counts`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.create("top", on: "base")
        let layer = try store.driver.mount(try store.id("top"))
        let file = open(layer.path.description + "/log", O_CREAT | O_WRONLY, 0o644)
        defer { close(file) }
        let text = [UInt8](repeating: UInt8(ascii: "x"), count: 100_000)
        #expect(write(file, text, text.count) == text.count)
        #expect(try store.changes("top", since: "base") == ["A /log"])
        #expect(try store.driver.diffSize(try store.id("top"), since: try store.id("base")) == 100_000)
        var sink = MemorySink()
        _ = try store.driver.diff(try store.id("top"), since: try store.id("base"), into: &sink)
        #expect(sink.bytes.count > 100_000)
        try layer.release()
    }

    @Test func `K11 a dead helper's mount is replaced, and its reference not lost`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.mounted("base") { try make("\($0)/file", "text") }
        try store.create("top", on: "base")
        let path = try store.driver.get(try store.id("top"), options: MountOptions()).description
        let helper = try runProgram(["pgrep", "-f", "fuse-overlayfs.*\(path)"])
        let process = try #require(helper.lines.first.flatMap { Int32($0) })
        kill(process, SIGKILL)
        var waited = 0
        while waited < 500, access("\(path)/file", F_OK) == 0 || errno != ENOTCONN {
            usleep(10_000)
            waited += 1
        }
        let found = try store.driver.check(repair: false)
        #expect(found.map(\.kind) == [.staleMount])
        #expect(try store.driver.get(try store.id("top"), options: MountOptions()).description == path)
        #expect(try readFile("\(path)/file") == Array("text".utf8))
        #expect(try store.driver.check(repair: false).isEmpty)
        try store.driver.put(try store.id("top"))
        try store.driver.put(try store.id("top"))
        #expect(try !MountTable.isMountPoint(PathBytes(store.path("top"))))
        #expect(access(path, F_OK) != 0, "the mount point is gone")
    }

    @Test func `a dead mount is mended by check`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.create("top", on: "base")
        let path = try store.driver.get(try store.id("top"), options: MountOptions()).description
        let helper = try runProgram(["pgrep", "-f", "fuse-overlayfs.*\(path)"])
        kill(try #require(helper.lines.first.flatMap { Int32($0) }), SIGKILL)
        for _ in 0..<500 where access("\(path)/x", F_OK) == 0 || errno != ENOTCONN { usleep(10_000) }
        let mended = try store.driver.check(repair: true)
        #expect(mended.map(\.kind) == [.staleMount] && mended.map(\.state) == [.repaired])
        #expect(try store.driver.check(repair: false).isEmpty)
        try store.driver.remove(try store.id("top"))
    }

    @Test(arguments: [
        ("fuse-overlayfs.no_such=1", "unknown option no_such"), ("no_such=1", "unknown option no_such"),
        ("fuse-overlayfs.mountopt=lowerdir=/x", "the driver itself names"), ("mount_program=", "name a program"),
        ("fuse-overlayfs.mount_program=/no/such/program", "driver not supported"), ("nonsense", "Unable to parse"),
        ("fuse-overlayfs.mount_program=/bin/true", "it ended without a mount"),
        ("fuse-overlayfs.mountopt=no_such_option_at_all=1", "fuse-overlayfs does not know it"),
    ])
    func `K11 options are read, and wrong ones refused before anything is made`(option: String, text: String) throws {
        let scratch = try TemporaryDirectory(in: "/var/tmp")
        let home = PathBytes(scratch.path + "/home")
        let error = #expect(throws: LayerError.self) {
            try FuseOverlayFSDriver(DriverConfiguration(home: home, options: [option]))
        }
        #expect(error?.description.contains(text) == true, "\(error?.description ?? "")")
        #expect(directoryNames(scratch.path).isEmpty)
        #expect(try Leftovers.mounts(below: scratch.path).isEmpty)
    }

    @Test func `other drivers' options are no concern of this one`() throws {
        _ = try FuseStore(options: ["overlay2.size=1G", "zfs.fsname=tank/x"])
    }

    @Test func `a helper that fails is quoted`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.create("top", on: "base")
        let script = store.scratch.path + "/helper"
        try writeFile(script, Array("#!/bin/sh\necho 'no luck today' >&2\nexit 7\n".utf8), mode: 0o755)
        let other = try FuseOverlayFSDriver(
            DriverConfiguration(home: store.home, options: ["mount_program=\(script)"]))
        let error = #expect(throws: LayerError.self) { try other.get(LayerID("top"), options: MountOptions()) }
        #expect(
            error?.description
                == "using mount program helper for \(store.path("top/merged")): no luck today: exit status 7")
        #expect(access(store.path("top/merged"), F_OK) != 0)
        #expect(other.layered.mounts.references.inUse.isEmpty)
        let silent = try FuseOverlayFSDriver(
            DriverConfiguration(home: store.home, options: ["mount_program=/bin/false"]))
        let empty = #expect(throws: LayerError.self) { try silent.get(LayerID("top"), options: MountOptions()) }
        #expect(empty?.description.hasSuffix("<stderr empty>: exit status 1") == true)
    }

    @Test func `without the helper an old store can still be read`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.mounted("base") { try make("\($0)/file", "text") }
        try store.create("top", on: "base")
        try make(store.path("top/diff/.wh.file"))
        var configuration = DriverConfiguration(home: store.home, options: ["no_such=1"])
        #expect(throws: LayerError.self) { try DriverRegistry.read(.fuseOverlayFS, configuration) }
        configuration.options = ["mount_program=/no/such"]
        let error = #expect(throws: LayerError.self) { try FuseOverlayFSDriver(configuration) }
        #expect(error?.meansNotSupported == true)
        let reader = try DriverRegistry.read(.fuseOverlayFS, configuration)
        var sink = MemorySink()
        _ = try reader.diff(LayerID("top"), since: LayerID("base"), into: &sink)
        #expect(sink.bytes.count >= 1024)
        // Also the whole tree, which a mount would show.
        var whole = MemorySink()
        _ = try reader.diff(LayerID("top"), since: nil, into: &whole)
        #expect(whole.bytes.count == 1024)
        #expect(reader.status().contains(StatusRow("Mount Program", "<missing>")))
    }

    @Test func `status says what mounts`() throws {
        let store = try FuseStore()
        let rows = store.driver.status()
        #expect(rows.map(\.name) == ["Backing Filesystem", "Mount Program", "Version"])
        #expect(rows[0].value == (try FileSystemKind.of(store.home).name))
        #expect(rows[1].value.hasSuffix("/fuse-overlayfs"))
        #expect(rows[2].value.first?.isNumber == true)
    }

    @Test func `ids are shifted by the mount where that is asked for`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.mounted("base") { path in
            try make("\(path)/root", "r")
            try make("\(path)/user", "u")
            chown("\(path)/user", 33, 34)
        }
        try store.create("top", on: "base")
        var options = MountOptions()
        options.uidMap = IDMap([IDMap.Range(container: 0, host: 200_000, count: 65536)])
        options.gidMap = IDMap([IDMap.Range(container: 0, host: 300_000, count: 65536)])
        try store.mounted("top", options) { path in
            let (root, user) = (try owner("\(path)/root"), try owner("\(path)/user"))
            #expect(root == [200_000, 300_000] && user == [200_033, 300_034])
        }
        options.uidMap = IDMap([IDMap.Range(container: 0, host: 5000, count: 1)])
        options.gidMap = IDMap([IDMap.Range(container: 0, host: 6000, count: 1)])
        try store.mounted("top", options) { path in
            let user = try owner("\(path)/user")
            #expect(user == [5000, 6000], "everything is squashed to one id")
        }
        options.uidMap = IDMap([
            IDMap.Range(container: 0, host: 1000, count: 10), IDMap.Range(container: 20, host: 2000, count: 10),
        ])
        let error = #expect(throws: LayerError.self) { try store.driver.get(LayerID("top"), options: options) }
        #expect(error?.description.contains("hole") == true)
        #expect(try owner(store.path("base/diff/user")) == [33, 34])
    }

    @Test(arguments: [#"a,b\d"#, "sp ace\"'=\u{1}"])
    func `homes and ids with every odd byte`(name: String) throws {
        let store = try FuseStore(name)
        try store.create("base" + name)
        try store.mounted("base" + name) { try make("\($0)/file", "1") }
        try store.create("middle" + name, on: "base" + name)
        try store.mounted("middle" + name) { try rewrite("\($0)/file", "2") }
        try store.create("top", on: "middle" + name)
        let seen = try store.mounted("top") { try readFile("\($0)/file") }
        #expect(seen == Array("2".utf8))
        // Committed by its child: the layer itself is among the lower directories now.
        try store.mounted("middle" + name) { path in
            let seen = try readFile("\(path)/file")
            #expect(seen == Array("2".utf8))
            #expect(open("\(path)/new", O_CREAT | O_WRONLY, 0o600) < 0 && errno == EROFS)
        }
        #expect(try store.changes("middle" + name, since: "base" + name) == ["C /file"])
        for name in ["top", "middle" + name, "base" + name] { try store.driver.remove(LayerID(name)) }
        #expect(directoryNames(store.path("l")).isEmpty)
    }

    @Test func `a colon in a path, which the program cannot take, is refused early`() throws {
        let error = #expect(throws: LayerError.self) { try FuseStore("a:b") }
        #expect(error?.meansNotSupported == true && error?.description.contains("colon") == true)
        let store = try FuseStore()
        #expect(throws: LayerError.self) { try store.create("a:b") }
        #expect(try store.driver.layers().isEmpty)
    }

    @Test func `a layer is unpacked in the form that needs no privilege, as Docker does`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.mounted("base") { path in
            try directory("\(path)/d")
            try make("\(path)/d/old", "o")
            try make("\(path)/gone", "g")
        }
        try store.create("top", on: "base")
        let layer = Tar.archive([D("d/"), F("d/.wh..wh..opq"), F("d/new", "n"), F(".wh.gone")])
        var source = MemorySource(layer)
        let applied = try store.driver.applyDiff(LayerID("top"), onto: LayerID("base"), from: &source)
        #expect(applied.size == 1)
        #expect(directoryNames(store.path("top/diff")).sorted() == [".wh.gone", "d"])
        #expect(directoryNames(store.path("top/diff/d")).sorted() == [".wh..wh..opq", "new"])
        #expect(store.driver.recordedSize(of: try LayerID("top"), since: try LayerID("base"))?.byteCount == 1)
        #expect(try store.changes("top", since: "base") == ["C /d", "A /d/new", "D /d/old", "D /gone"])
        #expect(try store.compared("top", since: "base") == ["C /d", "A /d/new", "D /d/old", "D /gone"])
        #expect(try store.driver.diffSize(LayerID("top"), since: LayerID("base")) == 1)
        #expect(store.driver.recordedSize(of: try LayerID("top"), since: try LayerID("base")) == nil, "mounted since")
    }

    @Test func `modes and owners of the store are Docker's`() throws {
        let store = try FuseStore()
        try store.create("base")
        try store.create("top", on: "base")
        let found = try ["", "/l", "/base", "/base/diff", "/top/work", "/top/lower", "/base/committed"].map {
            try mode(String(decoding: store.home.bytes, as: UTF8.self) + $0)
        }
        #expect(found == [0o710, 0o700, 0o710, 0o755, 0o710, 0o644, 0o600])
        #expect(throws: LayerError.self) {
            try store.driver.createReadWrite(
                LayerID("limited"), parent: nil, options: CreateOptions(storage: [StorageOption("size", "1G")]))
        }
        #expect(directoryNames(store.path("")).sorted() == ["base", "l", "tempdirs", "top"])
    }
}

private func owner(_ path: String) throws -> [UInt32] {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw SystemCallError("lstat", errno: errno) }
    return [status.st_uid, status.st_gid]
}

private func mode(_ path: String) throws -> UInt32 {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw SystemCallError("lstat", errno: errno) }
    return status.st_mode & 0o7777
}
