import Glibc
import TestSupport
import Testing

/// The end of the daemon, whatever is at work.
@Suite(.serialized, .timeLimit(.minutes(2))) struct DaemonEndTests {
    /// A program that hangs kept the daemon from ending for as long as it hung.
    @Test func `a call that never ends keeps the daemon up for less than ten seconds`() async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let programs = try place.directory("bin")
        let helper = """
            #!/bin/sh
            [ "$1" = --version ] && exec /usr/bin/fuse-overlayfs --version
            echo >\(place.path)/called
            exec sleep 20
            """
        try writeFile(programs + "/fuse-overlayfs", Array(helper.utf8))
        chmod(programs + "/fuse-overlayfs", 0o755)
        let daemon = try SnapshotDaemon(
            in: place.directory("d"), environment: ["PATH": programs + ":/usr/bin:/bin"])
        try await SnapshotClient.connected(to: daemon.socket, named: "ldiff-fuse-overlayfs") { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<20 { group.addTask { _ = try? await client.prepare("k\(number)") } }
                for _ in 0..<500 where access(place.path + "/called", F_OK) != 0 {
                    try await Task.sleep(for: .milliseconds(10))
                }
                #expect(access(place.path + "/called", F_OK) == 0)
                let start = ContinuousClock.now
                try daemon.stop()
                #expect(ContinuousClock.now - start < .seconds(10))
                group.cancelAll()
            }
        }
        #expect(directoryNames(daemon.directory + "/run").isEmpty)
    }
}
