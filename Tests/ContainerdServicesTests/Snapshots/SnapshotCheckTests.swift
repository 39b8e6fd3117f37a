import Glibc
import LayerModel
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

/// What `check` says is so.
@Suite(.serialized, .timeLimit(.minutes(3))) struct SnapshotCheckTests {
    @Test func `what the daemon cannot remove is not said to go`() async throws {
        let daemon = try SnapshotDaemon()
        let snapshots = daemon.root + "/overlay2/snapshots"
        try await SnapshotClient.connected(to: daemon.socket) { client in
            for name in ["locked", "mounted", "free"] { _ = try await client.prepare(name) }
            try shell("mkdir -p 1/fs/a/b 2/fs/m 3/fs/a; touch 1/fs/a/b/file 3/fs/a/file", in: snapshots)
            for name in ["locked", "mounted", "free"] { try await client.remove(name) }
        }
        daemon.kill()
        try shell("chattr +i 1/fs/a/b/file", in: snapshots)
        defer { _ = try? shell("chattr -i 1/fs/a/b/file", in: snapshots) }
        let mount = try Mount("tmpfs", at: snapshots + "/2/fs/m")
        try writeFile(mount.path + "/photo", Array("photo".utf8))
        let words = [SnapshotDaemon.program, "check", "--root", daemon.root]
        let before = try runProgram(words)
        #expect(before.status == 65)
        #expect(before.lines.count == 3, "\(before.lines)")
        #expect(before.lines.contains { $0.contains("snapshots/1/fs/a/b/file is immutable") }, "\(before.lines)")
        #expect(before.lines.contains { $0.contains("mounted on \(mount.path)") }, "\(before.lines)")
        #expect(before.lines.contains { $0.contains("snapshots/3 is of no snapshot: the daemon removes it") })
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in try? await client.cleanup() }
        #expect(Set(directoryNames(snapshots)) == ["1", "2"])
        #expect(try readFile(mount.path + "/photo") == Array("photo".utf8))
        try mount.unmount()
        try shell("chattr -i 1/fs/a/b/file", in: snapshots)
        try await SnapshotClient.connected(to: daemon.socket) { client in try await client.cleanup() }
        #expect(directoryNames(snapshots).isEmpty)
        try daemon.stop()
        #expect(try runProgram(words).lines == [])
    }

    @Test func `a new root may have new disks for its drivers, and nothing else`() throws {
        let place = try TemporaryDirectory()
        try shell("mkdir -p root/overlay2/lost+found root/zfs root/lost+found", in: place.path)
        let daemon = try SnapshotDaemon(in: place.path)
        try daemon.stop()
        try shell("mkdir -p other/overlay2/lost+found; echo letter >other/overlay2/letter", in: place.path)
        let words = [SnapshotDaemon.program, "--root", place.path + "/other", "--address", place.path + "/socket"]
        let result = try runProgram(words)
        #expect(result.status != 0 && result.errors.contains("no root of this daemon"), "\(result.errors)")
        #expect(directoryNames(place.path + "/other") == ["overlay2"])
    }
}
