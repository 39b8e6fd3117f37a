import GRPCCore
import Glibc
import LayerModel
import Synchronization
import TestSupport
import Testing

@testable import ContainerdServices

/// The directories of a driver may be a disk of its own: not mounted, another one, or an older copy of it.
@Suite(.serialized, .timeLimit(.minutes(3))) struct StoreIdentityTests {
    private static func check(_ daemon: SnapshotDaemon, _ words: String...) throws -> (status: Int32, lines: [String]) {
        let result = try runProgram([SnapshotDaemon.program, "check", "--root", daemon.root] + words)
        #expect(result.errors.isEmpty, "\(result.errors)")
        return (result.status, result.lines)
    }

    /// A snapshot `name` of this number, with a file in it.
    private static func fill(_ client: SnapshotClient, _ name: String, _ daemon: SnapshotDaemon) async throws {
        let source = try await client.prepare(name + "-key")[0].source
        try writeFile(source + "/file", Array("precious".utf8))
        try await client.commit(name, name + "-key")
    }

    @Test(arguments: [false, true]) func `a disk that is not mounted costs nothing`(_ isAnother: Bool) async throws {
        let place = try TemporaryDirectory()
        let (disk, other) = (try place.directory("disk"), try place.directory("other"))
        mkdir(place.path + "/root", 0o755)
        let home = try place.directory("root/overlay2")
        mkdir(disk + "/lost+found", 0o700)
        var mount = try Mount(binding: disk, at: home)
        let daemon = try SnapshotDaemon(in: place.path)
        let before = try await SnapshotClient.connected(to: daemon.socket) { client in
            try await Self.fill(client, "base", daemon)
            try await Self.fill(client, "more", daemon)
            return try await client.list()
        }
        try daemon.stop()
        try mount.unmount()
        if isAnother {
            // Another daemon's, with the same numbers.
            let strange = try SnapshotDaemon()
            try await SnapshotClient.connected(to: strange.socket) { client in
                for number in 0..<3 { _ = try await client.prepare("k\(number)") }
            }
            try strange.stop()
            try shell("cp -a \(strange.root)/overlay2/. .", in: other)
            mount = try Mount(binding: other, at: home)
        }
        let tree = try TreeSnapshot(home, ignoring: [])
        let backup = try readFile(daemon.root + "/metadata/overlay2.db.backup")
        for words in [[], ["--repair"]] {
            let result = try runProgram([SnapshotDaemon.program, "check", "--root", daemon.root] + words)
            #expect(result.status == 65)
            #expect(result.lines.count == 1 && result.lines[0].contains("is a disk not mounted?"), "\(result.lines)")
        }
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            for _ in 0..<2 {
                let answer = try await failure { try await client.prepare("new") }
                #expect(answer?.code == .unavailable)
                #expect(answer?.message.contains("is a disk not mounted?") == true, "\(answer?.message ?? "none")")
                #expect(try await failure { try await client.cleanup() }?.code == .unavailable)
            }
        }
        try daemon.stop()
        // With a damaged database no more is known of them.
        try shell("cp -a metadata saved; dd if=/dev/urandom of=metadata/overlay2.db bs=4096 count=3", in: daemon.root)
        #expect(try Self.check(daemon, "--repair").status == 65)
        try shell("rm -r metadata; mv saved metadata", in: daemon.root)
        #expect(try TreeSnapshot(home, ignoring: []).differences(from: tree) == [])
        #expect(try readFile(daemon.root + "/metadata/overlay2.db.backup") == backup)
        if isAnother { try mount.unmount() }
        let back = try Mount(binding: disk, at: home)
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            let now = try await client.list()
            #expect(now == before)
            _ = try await client.prepare("new", "more")
            try await client.cleanup()
        }
        for id in [1, 2] { #expect(try readFile("\(home)/snapshots/\(id)/fs/file") == Array("precious".utf8)) }
        try daemon.stop()
        #expect(try Self.check(daemon) == (0, []))
        try back.unmount()
    }

    /// In it the directories of a snapshot are the spare that they were.
    @Test func `an older copy of the directories is not taken for what came later`() async throws {
        let daemon = try SnapshotDaemon()
        let home = daemon.root + "/overlay2"
        try await SnapshotClient.connected(to: daemon.socket) { client in try await Self.fill(client, "base", daemon) }
        try daemon.stop()
        try shell("cp -a overlay2 old", in: daemon.root)
        #expect(directoryNames(home + "/spare").contains("2"))
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            try await Self.fill(client, "later", daemon)
            let active = try await client.prepare("active")[0].source
            try writeFile(active + "/file", Array("written".utf8))
        }
        try daemon.stop()
        try shell("mv overlay2 new; mv old overlay2", in: daemon.root)
        for id in [2, 3] { #expect(access("\(home)/spare/\(id)", F_OK) == 0) }
        let (status, lines) = try Self.check(daemon)
        #expect(status == 65)
        for name in ["later", "active"] {
            #expect(lines.contains { $0.contains("\"\(name)\" has no directory") }, "\(lines)")
        }
        try daemon.start()
        for name in ["later", "active"] {
            #expect(daemon.log.contains("snapshot \"\(name)\" has no directory"), "\(daemon.log)")
        }
        #expect(Set(directoryNames(home + "/snapshots")) == ["1"])
        try daemon.stop()
        // The right ones again.
        try shell("rm -r overlay2; mv new overlay2", in: daemon.root)
        try daemon.start()
        #expect(try readFile("\(home)/snapshots/2/fs/file") == Array("precious".utf8))
        #expect(try readFile("\(home)/snapshots/3/fs/file") == Array("written".utf8))
        try daemon.stop()
        #expect(try Self.check(daemon) == (0, []))
    }

    /// The copy of the last clean end may be all that speaks of them.
    @Test func `a repair that forgets records leaves the copy that knows them`() async throws {
        let daemon = try SnapshotDaemon()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            try await Self.fill(client, "base", daemon)
            try await Self.fill(client, "gone", daemon)
        }
        try daemon.stop()
        try shell("mv overlay2/snapshots/2 .", in: daemon.root)
        for _ in 0..<2 { #expect(try Self.check(daemon, "--repair").status == 0) }
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in _ = try await client.prepare("later") }
        try daemon.stop()
        let copy = SnapshotDatabase.backup(of: daemon.root + "/metadata/overlay2.db")
        func names(_ path: String) throws -> [String] {
            try SnapshotSalvage.whole(path).records.values.map(\.name).sorted()
        }
        #expect(try names(copy) == ["base", "later"])
        #expect(try names(copy + ".before-repair") == ["base", "gone"])
        #expect(access(copy + ".before-repair-1", F_OK) != 0)
    }

    @Test func `records and directories of an earlier version are joined when they fit`() throws {
        let place = try TemporaryDirectory()
        let identity = StoreIdentity(home: PathBytes(place.path), database: "records.db")
        func record(_ id: Int64) -> SnapshotRecord {
            SnapshotRecord(
                id: id, name: "n\(id)", kind: .committed, parent: nil, created: 1, updated: 1, labels: [:],
                isRebased: false)
        }
        var index = SnapshotIndex([record(1), record(2)])
        func problem(_ present: Set<Int64>) throws -> String? { try identity.problem(index) { present.contains($0) } }
        #expect(try problem([]) != nil)
        #expect(try problem([2]) == nil)
        let made = try #require(try identity.establish(index))
        #expect(try identity.found() == made)
        #expect(directoryNames(place.path) == ["identity"])
        // A kill between the two.
        #expect(try identity.establish(index) == made)
        index.apply(.identify(made))
        #expect(try identity.establish(index) == nil)
        #expect(try problem([1]) == nil)
        #expect(try problem([]) != nil)
        // Copied without it.
        unlink(place.path + "/identity")
        #expect(try problem([1]) != nil)
        #expect(try problem([1, 2]) == nil)
        #expect(try identity.establish(index) == nil)
        #expect(try identity.found() == made)
        try writeFile(place.path + "/identity", Array("another\n".utf8))
        #expect(try problem([1, 2])?.contains(made) == true)
        // Without records what is new is no old disk's.
        unlink(place.path + "/identity")
        var none = SnapshotIndex()
        none.apply(.identify(made))
        #expect(try identity.problem(none) { _ in false } == nil)
        #expect(try identity.establish(none) != made)
    }

    @Test func `moves that are on disk are told from those that a power failure may undo`() throws {
        let place = try TemporaryDirectory()
        let directories = try SnapshotDirectories(PathBytes(place.path + "/store"))
        let asked = Mutex<[@Sendable () -> Void]>([])
        let spares = try SpareDirectories(directories) { body in asked.withLock { $0.append(body) } }
        let ids = SnapshotIDs(highest: 0)
        #expect(spares.settled == 0)
        let first = try (0..<6).map { _ in try spares.take(ids) }
        #expect(spares.settled == 0)
        for body in asked.withLock({ $0 }) { body() }
        #expect(spares.settled == first.max())
        _ = try spares.take(ids)
        #expect(spares.settled == first.max())
    }
}
