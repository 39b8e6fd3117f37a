import GRPCCore
import Glibc
import TestSupport
import Testing

/// Full disks and damaged files: what they keep the daemon from, and what they must not.
@Suite(.serialized, .timeLimit(.minutes(3))) struct SnapshotDamageTests {
    /// SQLite wanted to make files when it opened the records, for which there was no room: the daemon did not start, so
    /// nothing could be removed to make some.
    @Test func `on a disk that is full the daemon starts, answers and removes`() async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let root = try place.directory("root")
        try shell(
            "truncate -s 64M disk; mkfs.ext4 -q -m 0 -N 4096 disk; mount -o loop disk root", in: place.path)
        defer { umount2(root, Int32(MNT_DETACH)) }
        let daemon = try SnapshotDaemon(in: place.path)
        try await SnapshotClient.connected(to: daemon.socket) { client in
            for number in 0..<30 { _ = try await client.prepare("k\(number)") }
            try await client.commit("base", "k0")
            _ = try await client.prepare("child", "base")
        }
        try daemon.stop()
        _ = try? shell("cat /dev/zero >ballast || :; for n in $(seq 5000); do echo x >f$n || break; done", in: root)
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            #expect(try await client.list().count == 31)
            #expect(try await client.stat("base").kind == .committed)
            #expect(try await client.mounts("child").first?.type == "overlay")
            let refused = try await failure {
                for number in 0..<1000 { _ = try await client.prepare("more-\(number)") }
            }
            #expect(refused?.code == .resourceExhausted, "\(refused?.message ?? "none")")
            #expect(refused?.message.contains(root) == true, "\(refused?.message ?? "none")")
            for number in 1..<30 { try await client.remove("k\(number)") }
            try await client.cleanup()
            try await client.remove("child")
            try await client.remove("base")
            try await client.cleanup()
        }
        daemon.kill()
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            #expect(try await client.list().keys.allSatisfy { $0.hasPrefix("more-") })
            unlink(root + "/ballast")
            _ = try await client.prepare("again")
        }
        try daemon.stop()
        #expect(umount2(root, 0) == 0)
    }

    /// One that nobody used ended the daemon.
    @Test func `a damaged database is the trouble of its driver alone`() async throws {
        let daemon = try SnapshotDaemon()
        try await SnapshotClient.connected(to: daemon.socket) { client in _ = try await client.prepare("here") }
        try daemon.stop()
        let damaged = daemon.root + "/metadata/fuse-overlayfs.db"
        try writeFile(
            damaged,
            Array(
                "this is no database, and longer than the head of one, which has 100 bytes in all, so here are some more"
                    .utf8))
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            let kind = try await client.stat("here").kind
            #expect(kind == .active)
        }
        try await SnapshotClient.connected(to: daemon.socket, named: "ldiff-fuse-overlayfs") { client in
            for _ in 0..<2 {
                let answer = try await failure { try await client.stat("here") }
                #expect(answer?.code == .unavailable)
                #expect(answer?.message.contains(damaged) == true, "\(answer?.message ?? "none")")
                #expect(answer?.message.contains("check --repair") == true)
            }
        }
        let (status, lines) = try check(daemon)
        #expect(status == 65)
        #expect(lines.count == 1 && lines[0].contains(damaged), "\(lines)")
        try daemon.stop()
        #expect(try check(daemon, "--repair").status == 0)
        #expect(try check(daemon).lines == [])
        #expect(try readFile(damaged + ".damaged").starts(with: Array("this is".utf8)))
    }

    private func check(_ daemon: SnapshotDaemon, _ words: String...) throws -> (status: Int32, lines: [String]) {
        let result = try runProgram([SnapshotDaemon.program, "check", "--root", daemon.root] + words)
        #expect(result.errors.isEmpty, "\(result.errors)")
        return (result.status, result.lines)
    }

    @Test func `a directory that others use is no root`() throws {
        let place = try TemporaryDirectory()
        try shell("mkdir root root/snapshots; echo letter >root/letter", in: place.path)
        let before = try TreeSnapshot(place.path + "/root", ignoring: [])
        let words = [SnapshotDaemon.program, "--root", place.path + "/root", "--address", place.path + "/socket"]
        let result = try runProgram(words)
        #expect(result.status != 0)
        #expect(result.errors.contains("no root of this daemon"), "\(result.errors)")
        #expect(try TreeSnapshot(place.path + "/root", ignoring: []).differences(from: before) == [])
    }

    /// What lies in a record's place must be a snapshot's.
    @Test func `what is no snapshot's directory is not taken for one`() async throws {
        let daemon = try SnapshotDaemon()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            for number in 1...4 { _ = try await client.prepare("k\(number)") }
        }
        try daemon.stop()
        try shell(
            "rm -r 1 2 3; mkdir -m 700 1; ln -s /etc 2; echo notes >3; mkdir -m 700 90 91; chattr +i 90 91",
            in: daemon.root + "/overlay2/snapshots")
        defer { _ = try? shell("chattr -i 90 91", in: daemon.root + "/overlay2/snapshots") }
        let (status, lines) = try check(daemon)
        #expect(status == 65)
        #expect(lines.count == 5, "\(lines)")
        for number in 1...3 { #expect(lines.contains { $0.contains("\"k\(number)\"") }, "\(lines)") }
        #expect(lines.filter { $0.contains("is immutable") }.count == 2, "\(lines)")
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in try? await client.cleanup() }
        for id in [90, 91] { #expect(daemon.log.contains("snapshots/\(id)"), "\(daemon.log)") }
        try daemon.stop()
        let mended = try check(daemon, "--repair")
        #expect(mended.status == 65)
        #expect(mended.lines.filter { $0.contains("(mended)") }.count == 1, "\(mended.lines)")
        #expect(try readFile(daemon.root + "/overlay2/snapshots/3") == Array("notes\n".utf8))
    }

    @Test func `records are compared with directories beside a running daemon, and mended without one`() async throws {
        let daemon = try SnapshotDaemon()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            for name in ["a", "b", "c"] { _ = try await client.prepare(name + "-key") }
            try await client.commit("a", "a-key")
            _ = try await client.prepare("child", "a")
            #expect(try check(daemon) == (0, []))
            // Of "b", of "a" and of the child of that.
            for id in [1, 2, 4] { try shell("rm -r \(id)", in: daemon.root + "/overlay2/snapshots") }
            let before = try TreeSnapshot(daemon.root + "/metadata", ignoring: [])
            let (status, lines) = try check(daemon)
            #expect(status == 65)
            #expect(lines.count == 3, "\(lines)")
            #expect(try TreeSnapshot(daemon.root + "/metadata", ignoring: []).differences(from: before) == [])
            let refused = try runProgram([SnapshotDaemon.program, "check", "--root", daemon.root, "--repair"])
            #expect(refused.status == 1)
            #expect(refused.errors.contains("another daemon"), "\(refused.errors)")
        }
        try daemon.stop()
        let (status, lines) = try check(daemon, "--repair")
        #expect(status == 0, "\(lines)")
        #expect(try check(daemon) == (0, []))
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            let left = try await client.list().keys.sorted()
            #expect(left == ["c-key"])
        }
        try daemon.stop()
    }

    @Test func `records of a damaged database come back from the copy of the last clean end`() async throws {
        let daemon = try SnapshotDaemon()
        let database = daemon.root + "/metadata/overlay2.db"
        let before = try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare("base-key")
            try await client.commit("base", "base-key", labels: ["l": "v"])
            _ = try await client.prepare("active", "base")
            return try await client.list()
        }
        try daemon.stop()
        #expect(try readFile(database + ".backup").starts(with: Array("SQLite format 3".utf8)))
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare("later")
            try writeFile(daemon.root + "/overlay2/snapshots/3/fs/file", Array("precious".utf8))
        }
        daemon.kill()
        try shell(
            "for f in overlay2.db overlay2.db-wal; do dd if=/dev/urandom of=$f bs=4096 count=3 conv=notrunc; done",
            in: daemon.root + "/metadata")
        let (status, lines) = try check(daemon, "--repair")
        #expect(status == 0, "\(lines)")
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            #expect(try await client.list() == before)
            _ = try await client.prepare("new", "base")
            try await client.cleanup()
        }
        #expect(try readFile(daemon.root + "/overlay2/lost/3/fs/file") == Array("precious".utf8))
        // Its id is not given out again.
        #expect(directoryNames(daemon.root + "/overlay2/snapshots").allSatisfy { $0 != "3" })
        try daemon.stop()
    }
}
