import Testing

/// The suite, a daemon a check.
@Suite(.serialized) struct SnapshotterSuiteTests {
    @Test(arguments: SnapshotterSuite.names)
    func `overlay2 passes the suite of snapshotters`(name: String) async throws {
        try await SnapshotterSuite.run(name, .overlay2)
    }

    @Test(arguments: SnapshotterSuite.names)
    func `fuse-overlayfs passes the suite of snapshotters`(name: String) async throws {
        try await SnapshotterSuite.run(name, .fuseOverlayFS)
    }

    @Test(arguments: SnapshotterSuite.names)
    func `erofs passes the suite of snapshotters`(name: String) async throws {
        try await SnapshotterSuite.run(name, .erofs)
    }

    @Test(arguments: SnapshotterSuite.names)
    func `erofs passes the suite of snapshotters with each layer packed`(name: String) async throws {
        try await SnapshotterSuite.run(name, .erofsPacked)
    }
}

/// With zfs-fuse, which is slow.
@Suite(.serialized) struct ZFSSnapshotterSuiteTests {
    @Test(arguments: SnapshotterSuite.names)
    func `zfs passes the suite of snapshotters`(name: String) async throws {
        try await SnapshotterSuite.run(name, .zfs)
    }
}
