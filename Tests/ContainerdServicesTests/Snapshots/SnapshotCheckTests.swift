import Glibc
import LayerModel
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

/// What `check` says is so.
@Suite(.serialized, .timeLimit(.minutes(3))) struct SnapshotCheckTests {
    /// The log may go into the database between the copies of the two, and is in neither then.
    @Test func `records that change while they are copied are not called damaged`() async throws {
        let place = try TemporaryDirectory()
        let path = place.path + "/records.db"
        let database = try SnapshotDatabase(path: path) { _ in true }
        let count = 400
        func put(_ id: Int64, _ round: Int) -> SnapshotChange {
            let text = String(repeating: "\(round % 10) ", count: 20 + round * 37 % 100)
            return .put(
                SnapshotRecord(
                    id: id, name: "n\(id)", kind: .committed, parent: nil, created: 1, updated: 1, labels: ["l": text],
                    isRebased: false))
        }
        try database.write((1...Int64(count)).map { put($0, 0) })
        let isOver = Atomic<Bool>(false)
        let writer = Task.detached {
            var round = 0
            while !isOver.load(ordering: .relaxed) {
                round += 1
                // They grow and shrink, so that pages are split and joined.
                try database.write((1000..<1050).map { put($0, round) })
                try database.settle()
                usleep(15_000)
            }
            database.close()
        }
        var read = 0
        for _ in 0..<8 {
            do {
                let index = try SnapshotSalvage.whole(path)
                #expect(index.records.count >= count)
                read += 1
            } catch let failure as ServiceFailure {
                #expect(failure.class == .unavailable && failure.text.contains("a daemon is at work"), "\(failure)")
            }
        }
        isOver.store(true, ordering: .relaxed)
        try await writer.value
        #expect(read > 0)
        #expect(try SnapshotSalvage.whole(path).records.count >= count)
    }

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

    /// A damaged database only says so; whoever follows the parents would never come back.
    @Test(arguments: [[(3, 3)], [(2, 3), (3, 2)]])
    func `snapshots that lie upon themselves are damage, and mended`(_ edges: [(id: Int, parent: Int)]) async throws {
        let daemon = try SnapshotDaemon()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare("one")
            try await client.commit("first", "one")
            _ = try await client.prepare("two", "first")
            try await client.commit("second", "two")
            _ = try await client.prepare("box", "second")
        }
        try shell("echo kept > 3/fs/file", in: daemon.root + "/overlay2/snapshots")
        try daemon.stop()
        for suffix in ["", ".backup"] {
            let path = daemon.root + "/metadata/overlay2.db" + suffix
            guard access(path, F_OK) == 0 else { continue }
            let changes = edges.map { "UPDATE snapshot SET parent = \($0.parent) WHERE id = \($0.id)" }
            let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
            let edited = try runProgram(["python3", "-c", script, path, changes.joined(separator: ";")])
            try #require(edited.status == 0, "\(edited.errors)")
        }
        let words = [SnapshotDaemon.program, "check", "--root", daemon.root]
        let found = try runProgram(words)
        #expect(
            found.status == 65 && found.lines.contains { $0.contains("themselves among their parents") }, "\(found)")
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            let refused = await refusal { _ = try await client.mounts("box") }
            #expect(refused?.message.contains("themselves among their parents") == true, "\(refused as Any)")
        }
        try daemon.stop()
        _ = try runProgram(words + ["--repair"])
        #expect(try runProgram(words).lines == [])
        #expect(try readText(daemon.root + "/overlay2/lost/3/fs/file") == "kept")
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare("new", "first")
        }
        try daemon.stop()
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
