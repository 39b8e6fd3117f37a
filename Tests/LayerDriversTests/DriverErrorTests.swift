import Glibc
import LayerDrivers
import LayerModel
import TestSupport
import Testing

/// The drivers' errors with their words and classes, and which driver is chosen.
@Suite struct DriverErrorTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var error: @Sendable () throws -> LayerError
        var words: String
        var meansNotSupported: Bool
    }

    static let rows: [Row] = [
        Row(
            testDescription: "ErrNotSupported", error: { DriverErrors.notSupported(.overlay2, why: "no overlay") },
            words: "driver not supported", meansNotSupported: true),
        Row(
            testDescription: "ErrPrerequisites", error: { DriverErrors.prerequisites(.zfs, why: "no /dev/zfs") },
            words: "prerequisites for driver not satisfied (wrong filesystem?)", meansNotSupported: true),
        Row(
            testDescription: "ErrIncompatibleFS",
            error: { DriverErrors.incompatibleFileSystem(.aufs, home: PathBytes("/x/aufs"), found: "btrfs") },
            words: "backing file system is unsupported for this graph driver", meansNotSupported: true),
        Row(
            testDescription: "d_type, xfs",
            error: { DriverErrors.noFileTypes(.overlay2, home: PathBytes("/x/overlay2"), fileSystem: "xfs") },
            words: "overlay2: the backing xfs filesystem is formatted without d_type support, which leads to incorrect "
                + "behavior. Reformat the filesystem with ftype=1 to enable d_type support. Backing filesystems without "
                + "d_type support are not supported.", meansNotSupported: true),
        Row(
            testDescription: "d_type, another file system",
            error: { DriverErrors.noFileTypes(.overlay, home: PathBytes("/x/overlay"), fileSystem: "jfs") },
            words: "overlay: the backing jfs filesystem is formatted without d_type support, which leads to incorrect "
                + "behavior. Backing filesystems without d_type support are not supported.", meansNotSupported: true),
        Row(
            testDescription: "ErrLayerUnknown", error: { try DriverErrors.unknownLayer("mount", LayerID("x")) },
            words: "unknown layer", meansNotSupported: false),
    ]

    @Test(arguments: rows) func `errors have Docker's words and classes`(_ row: Row) throws {
        let error = try row.error()
        #expect(error.description.contains(row.words), "\(error)")
        #expect(error.meansNotSupported == row.meansNotSupported)
    }

    @Test(arguments: [DriverFacts.overlay2]) func `a file system without d_type is refused`(_ facts: DriverFacts) throws
    {
        let ground = try DriverGround.loop(["mkfs.ext4", "-q", "-F", "-O", "^filetype"], megabytes: 64)
        let words =
            "Reformat the filesystem (or use tune2fs) with -O filetype flag to enable d_type support."
        expectFailure(.driverUnavailable, words) {
            try DriverStore(facts, on: DriverGround(root: ground.root, takeDown: {}))
        }
        #expect(try names(in: ground.root) == [], "nothing was made")
        try ground.takeDown()
    }

    @Test(arguments: [DriverFacts.overlay2])
    func `a file system that cannot be an upper directory is refused`(_ facts: DriverFacts) throws {
        let scratch = try TemporaryDirectory()
        // An overlay is no upper directory of another.
        for name in ["lower", "upper", "work", "merged"] { _ = try scratch.directory(name) }
        let mount = try Mount.overlay(
            OverlayOptions(), lowers: [scratch.path + "/lower"], upper: scratch.path + "/upper",
            work: scratch.path + "/work", at: scratch.path + "/merged")
        expectFailure(.driverUnavailable, "driver not supported") {
            try DriverStore(facts, on: DriverGround(root: mount.path, takeDown: {}))
        }
        #expect(try names(in: mount.path) == [])
        try mount.unmount()
    }

    @Test func `quotas and their option say what they need`() throws {
        expectFailure(.unsupported, "Storage Option overlay2.size only supported for backingFS XFS. Found extfs") {
            try DriverStore(.overlay2, options: ["overlay2.size=1G"])
        }
        let plain = try DriverGround.loop(["mkfs.xfs", "-q", "-f"], megabytes: 320)
        let words = "Storage option overlay2.size not supported. Filesystem does not support Project Quota"
        expectFailure(.unsupported, words) {
            try DriverStore(.overlay2, on: DriverGround(root: plain.root, takeDown: {}), options: ["overlay2.size=1G"])
        }
        let store = try DriverStore(.overlay2, on: DriverGround(root: plain.root, takeDown: {}))
        expectFailure(.unsupported, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option") {
            try store.create("x", storage: [StorageOption("size", "1G")])
        }
        expectFailure(.invalidArgument, "--storage-opt size is only supported for ReadWrite Layers") {
            try store.create("x", readWrite: false, storage: [StorageOption("size", "1G")])
        }
        // No limit is no limit: it needs no quota.
        try store.create("x", storage: [StorageOption("size", "0")])
        try store.remove("x")
        store.close()
        try plain.takeDown()
    }

    @Test(
        arguments: [
            ("12", 12), ("1.5g", 1_610_612_736), ("20 MiB", 20_971_520), ("10k", 10240), ("1T", 1_099_511_627_776),
            ("7B", 7), ("3kB", 3072), ("-1", nil), ("", nil), ("1 x", nil), ("k", nil), ("1.", nil), ("0x10", nil),
            ("1e3", nil),
        ] as [(String, UInt64?)])
    func `sizes are read as Docker reads them`(_ text: String, _ bytes: UInt64?) throws {
        let option = try DriverOption(parsing: "size=\(text)")
        if let bytes {
            #expect(try option.byteCount() == bytes)
        } else {
            expectFailure(.invalidArgument, "invalid size: '\(text)'") { try option.byteCount() }
        }
    }

    @Test func `the default size is an option, and a layer's own wins`() throws {
        guard let ground = try DriverGround.xfsWithQuota() else { return }
        let store = try DriverStore(
            .overlay2, on: DriverGround(root: ground.root, takeDown: {}), options: ["overlay2.size=8M"])
        try store.createBase("base")
        try store.create("default", on: "base")
        try store.create("own", on: "base", storage: [StorageOption("SIZE", "40M")])
        for (id, room) in [("default", 8), ("own", 40)] {
            try store.inside(id) { path in
                #expect(QuotaTests.fill(path + "/fits", (room - 4) << 20) == 0, "\(id)")
                #expect(QuotaTests.fill(path + "/too-much", 12 << 20) != 0, "\(id)")
            }
        }
        // The kernel is asked by descriptor. Docker asks by a device node, which it makes when it starts.
        #expect(status(store.home + "/backingFsBlockDev").mode == 0)
        try store.removeAll()
        store.close()
        try ground.takeDown()
    }

    @Test func `the driver with a store is chosen, and two are one too many`() throws {
        let scratch = try TemporaryDirectory()
        let configuration = DriverConfiguration(home: PathBytes("/unused"))
        // Nothing there: the first in the list that works here and is not deprecated.
        let first = try DriverRegistry.select(
            below: PathBytes(scratch.path), configuration, priority: [.aufs, .overlay, .overlay2])
        #expect(first.name == .overlay2)
        #expect(first.configuration.home == PathBytes(scratch.path + "/overlay2"))
        // Its directory counts as a store from now on, whatever comes first in the list.
        try first.create(LayerID("x"), parent: nil, options: CreateOptions())
        #expect(try DriverRegistry.select(below: PathBytes(scratch.path), configuration).name == .overlay2)
        try TreeBuilder.make(scratch.path + "/aufs") { try $0.directory("layers") }
        expectFailure(
            .invalidArgument,
            "\(scratch.path) contains several valid graphdrivers: overlay2, aufs; Please cleanup or explicitly choose "
                + "storage driver (-s <DRIVER>)"
        ) { try DriverRegistry.select(below: PathBytes(scratch.path), configuration) }
        #expect(
            try DriverRegistry.open(.overlay2, DriverConfiguration(home: PathBytes(scratch.path + "/overlay2"))).exists(
                LayerID("x")))
    }

    @Test func `a driver with a store that fails is not passed over`() throws {
        let scratch = try TemporaryDirectory()
        // A store of overlay2 on a file system that cannot have it: another driver would show no images.
        let memory = try DriverGround.loop(["mkfs.ext4", "-q", "-F", "-O", "^filetype"], megabytes: 64)
        try TreeBuilder.make(memory.root + "/zfs") { try $0.directory("graph") }
        do {
            _ = try DriverRegistry.select(
                below: PathBytes(memory.root), DriverConfiguration(home: PathBytes("/unused")))
            Issue.record("another driver was taken")
        } catch {
            #expect(error.meansNotSupported, "\(error)")
        }
        expectFailure(.driverUnavailable, "No supported storage backend found") {
            try DriverRegistry.select(
                below: PathBytes(scratch.path), DriverConfiguration(home: PathBytes("/unused")), priority: [.aufs])
        }
        expectFailure(.invalidArgument, "absolute") {
            try DriverRegistry.open(.overlay2, DriverConfiguration(home: PathBytes("relative/overlay2")))
        }
        try memory.takeDown()
    }
}
