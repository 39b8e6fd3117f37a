import GRPCCore
import Glibc
import TestSupport
import Testing

@testable import ContainerdServices

/// Records that are gone, as a whole or in part: nothing that holds something goes with them.
@Suite(.serialized, .timeLimit(.minutes(5))) struct LostRecordsTests {
    struct Loss: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let script: String
        /// Whether the copy of the last clean end is still there.
        var hasCopy = true
    }

    static let losses = [
        Loss(testDescription: "no database", script: "rm metadata/overlay2.db metadata/overlay2.db-wal"),
        Loss(testDescription: "an empty one", script: ": >metadata/overlay2.db; rm metadata/overlay2.db-wal"),
        Loss(testDescription: "an empty one with its log", script: ": >metadata/overlay2.db"),
        Loss(testDescription: "no database, no copy", script: "rm metadata/overlay2.db*", hasCopy: false),
        Loss(testDescription: "no metadata", script: "rm -r metadata", hasCopy: false),
        Loss(
            testDescription: "one that never held a record",
            script: "rm metadata/overlay2.db*; cp ../fresh.db metadata/overlay2.db", hasCopy: false),
        Loss(
            testDescription: "one that never held a record, and a copy",
            script: "rm metadata/overlay2.db-wal; cp ../fresh.db metadata/overlay2.db"),
    ]

    private struct Ground {
        let daemon: SnapshotDaemon

        init() throws { daemon = try SnapshotDaemon() }

        var snapshots: String { daemon.root + "/overlay2/snapshots" }
        var lost: String { daemon.root + "/overlay2/lost" }
        var files: [String] { [1, 2].map { "\(snapshots)/\($0)/fs/file" } }

        func check(_ words: String...) throws -> (status: Int32, lines: [String]) {
            let result = try runProgram([SnapshotDaemon.program, "check", "--root", daemon.root] + words)
            #expect(result.errors.isEmpty, "\(result.errors)")
            return (result.status, result.lines)
        }

        func connected(_ body: (SnapshotClient) async throws -> Void) async throws {
            try await SnapshotClient.connected(to: daemon.socket, body)
        }

        /// `base`, and `active` upon it, in each a file.
        func fill(_ client: SnapshotClient) async throws {
            _ = try await client.prepare("base-key")
            try await client.commit("base", "base-key")
            _ = try await client.prepare("active", "base")
            for file in files { try writeFile(file, Array("precious".utf8)) }
        }
    }

    @Test(arguments: losses) func `a database that lost all its records is a damaged one`(_ loss: Loss) async throws {
        let ground = try Ground()
        // As it is before the first snapshot.
        try ground.daemon.stop()
        try shell("cp metadata/overlay2.db ../fresh.db", in: ground.daemon.root)
        try ground.daemon.start()
        var before: [String: Info] = [:]
        try await ground.connected { client in
            try await ground.fill(client)
            before = try await client.list()
        }
        try ground.daemon.stop()
        try shell(loss.script, in: ground.daemon.root)
        let tree = try TreeSnapshot(ground.snapshots, ignoring: [])
        let (status, lines) = try ground.check()
        #expect(status == 65)
        #expect(lines.count == 1 && lines[0].contains("though there are snapshots"), "\(lines)")
        try ground.daemon.start()
        try await ground.connected { client in
            for _ in 0..<2 {
                let answer = try await failure { try await client.prepare("new") }
                #expect(answer?.code == .unavailable)
                #expect(answer?.message.contains("check --repair") == true, "\(answer?.message ?? "none")")
                #expect(try await failure { try await client.cleanup() }?.code == .unavailable)
            }
        }
        #expect(ground.daemon.log.contains("though there are snapshots"))
        try ground.daemon.stop()
        #expect(try TreeSnapshot(ground.snapshots, ignoring: []).differences(from: tree) == [])
        #expect(try ground.check("--repair").status == 0)
        #expect(try ground.check() == (0, []))
        try ground.daemon.start()
        try await ground.connected { client in
            let now = try await client.list()
            #expect(now == (loss.hasCopy ? before : [:]))
            try await client.cleanup()
            _ = try await client.prepare("new", loss.hasCopy ? "base" : "")
        }
        let kept = loss.hasCopy ? ground.files : [1, 2].map { "\(ground.lost)/\($0)/fs/file" }
        for file in kept { #expect(try readFile(file) == Array("precious".utf8)) }
        try ground.daemon.stop()
    }

    /// What an administrator copies back is whole, and knows nothing of what came later.
    @Test func `an older database costs nothing that it does not know`() async throws {
        let ground = try Ground()
        try await ground.connected { client in try await ground.fill(client) }
        try ground.daemon.stop()
        try shell("cp metadata/overlay2.db.backup ../old.db", in: ground.daemon.root)
        try ground.daemon.start()
        var later = ""
        try await ground.connected { client in
            let source = try await client.prepare("later")[0].source
            try writeFile(source + "/file", Array("later".utf8))
            later = source
        }
        try ground.daemon.stop()
        try shell("rm metadata/overlay2.db-wal; cp ../old.db metadata/overlay2.db", in: ground.daemon.root)
        try ground.daemon.start()
        try await ground.connected { client in
            #expect(try await client.list().count == 2)
            try await client.cleanup()
            let new = try await client.prepare("new")[0].source
            #expect(new != later)
            #expect(try readFile(later + "/file") == Array("later".utf8))
        }
        #expect(ground.daemon.log.contains("no record speaks of it"))
        try ground.daemon.stop()
        let (status, lines) = try ground.check()
        #expect(status == 65)
        #expect(lines.count == 1 && lines[0].contains("no record speaks of it"), "\(lines)")
        #expect(try ground.check("--repair").status == 0)
        #expect(try ground.check() == (0, []))
        let id = later.dropFirst(ground.snapshots.count + 1).prefix { $0 != "/" }
        #expect(try readFile("\(ground.lost)/\(id)/fs/file") == Array("later".utf8))
    }

    /// Only what is written down as removed goes with all that is in it.
    @Test func `what was removed goes after a kill, whatever is in it`() async throws {
        let ground = try Ground()
        try await ground.connected { client in
            try await ground.fill(client)
            try await client.remove("active")
        }
        ground.daemon.kill()
        #expect(try readFile(ground.files[1]) == Array("precious".utf8))
        let (status, lines) = try ground.check()
        #expect(status == 0)
        #expect(lines.count == 1 && lines[0].contains("the daemon removes it"), "\(lines)")
        try ground.daemon.start()
        try await ground.connected { client in try await client.cleanup() }
        #expect(directoryNames(ground.snapshots) == ["1"])
        try ground.daemon.stop()
        #expect(try ground.check() == (0, []))
        let left = try SnapshotSalvage.whole(ground.daemon.root + "/metadata/overlay2.db").condemned
        #expect(left.isEmpty)
    }

    /// A spare that holds something is somebody's, or a snapshot's whose move was undone.
    @Test func `spares that hold something stay, and keep nobody from making others`() async throws {
        let ground = try Ground()
        let spares = ground.daemon.root + "/overlay2/spare"
        try await ground.connected { client in try await ground.fill(client) }
        try ground.daemon.stop()
        try shell("mkdir -m 700 9 90; mkdir 9/fs 9/work 90/fs 90/work; echo photo >9/fs/photo", in: spares)
        try ground.daemon.start()
        try await ground.connected { client in for number in 0..<100 { _ = try await client.prepare("n\(number)") } }
        #expect(try readFile(spares + "/9/fs/photo") == Array("photo\n".utf8))
        #expect(ground.daemon.log.contains("spare/9 holds something"))
        try ground.daemon.stop()
        #expect(access(spares + "/90", F_OK) != 0)
        #expect(try ground.check().status == 65)
        #expect(try ground.check("--repair").status == 0)
        #expect(try ground.check() == (0, []))
        #expect(try readFile(ground.lost + "/9/fs/photo") == Array("photo\n".utf8))
    }

    @Test func `datasets stay whose records are lost`() async throws {
        let pool = try SnapshotPool.dataset()
        let daemon = try SnapshotDaemon(settings: "[zfs]\ndataset = \"\(pool.name)\"\n")
        try await SnapshotClient.connected(to: daemon.socket, named: "ldiff-zfs") { client in
            _ = try await client.prepare("kept")
            _ = try await client.prepare("removed")
            try await client.remove("removed")
        }
        daemon.kill()
        try daemon.start()
        func datasets() throws -> [String] {
            try runProgram(["zfs", "list", "-rHo", "name", pool.name]).lines.filter { $0 != pool.name }.sorted()
        }
        for _ in 0..<500 where try datasets().count != 1 { usleep(10_000) }
        #expect(try datasets() == [pool.name + "/1"])
        try daemon.stop()
        try shell("rm zfs.db*", in: daemon.root + "/metadata")
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket, named: "ldiff-zfs") { client in
            let answer = try await failure { try await client.cleanup() }
            #expect(answer?.code == .unavailable)
        }
        try daemon.stop()
        let words = [SnapshotDaemon.program, "check", "--root", daemon.root]
        #expect(try runProgram(words).status == 65)
        #expect(try runProgram(words + ["--repair"]).status == 0)
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket, named: "ldiff-zfs") { client in
            let source = try await client.prepare("new")[0].source
            #expect(source != pool.name + "/1")
            try await client.cleanup()
        }
        #expect(try datasets().first == pool.name + "/1")
        try daemon.stop()
        try pool.destroy()
    }
}
