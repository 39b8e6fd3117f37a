import Glibc
import LayerModel
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

/// What `check` says is so.
@Suite(.serialized, .timeLimit(.minutes(3))) struct SnapshotCheckTests {
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
