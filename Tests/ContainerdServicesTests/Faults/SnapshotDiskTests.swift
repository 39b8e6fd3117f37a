import GRPCCore
import Glibc
import TestSupport
import Testing

@testable import ContainerdServices

/// A disk that really ends in the midst of parallel calls: the power fails, its file system gives up, it is full.
@Suite(.serialized, .timeLimit(.minutes(5))) struct SnapshotDiskTests {
    enum End: String, CaseIterable, Sendable {
        /// What the journal did not hold yet is lost (EXT4_IOC_SHUTDOWN without a flush of the log).
        case powerFailure
        /// As after an error of the disk: nothing can be written any more.
        case abort
        /// Not a block is left.
        case full
    }

    @Test(arguments: End.allCases)
    func `what was answered is there when the disk is there again`(_ end: End) async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let root = try place.directory("root")
        try shell("truncate -s 96M disk; mkfs.ext4 -q -m 0 disk; mount -o loop disk root", in: place.path)
        defer { umount2(root, Int32(MNT_DETACH)) }
        let daemon = try SnapshotDaemon(in: place.path)
        let told = SnapshotPromises()
        for round in 0..<4 {
            try await SnapshotClient.connected(to: daemon.socket) { client in
                try await withThrowingTaskGroup { group in
                    for worker in 0..<8 {
                        group.addTask { await Self.work(client, "r\(round)-w\(worker)", told, end) }
                    }
                    try await Task.sleep(for: .milliseconds(Int.random(in: 100..<500)))
                    try Self.stop(end, place.path)
                    if end == .full { try await Task.sleep(for: .milliseconds(200)) }
                    daemon.kill()
                    try await group.waitForAll()
                }
            }
            if end == .full {
                // It starts without any room.
                try daemon.start()
                try await SnapshotClient.connected(to: daemon.socket) { client in
                    told.check(Set(try await client.list().keys), "round \(round), full")
                }
                daemon.kill()
                unlink(root + "/ballast")
            } else {
                try shell(
                    "umount root; e2fsck -p disk >fsck.log || [ $? = 1 ]; mount -o loop disk root", in: place.path)
            }
            try daemon.start()
            try await SnapshotClient.connected(to: daemon.socket) { client in
                let found = try await client.list()
                told.check(Set(found.keys), "round \(round)")
                for name in found.keys where told.all[name] == .removed { try await client.remove(name) }
                let records = try await client.list()
                try await client.cleanup()
                #expect(directoryNames(root + "/overlay2/snapshots").count == records.count, "round \(round)")
                #expect(try SnapshotCheck.run(root: root, repairs: false) == [], "round \(round)")
                for (name, info) in records where info.kind == .active { _ = try await client.mounts(name) }
            }
        }
        #expect(told.hasCommitted)
        try daemon.stop()
        try shell("umount root; e2fsck -fn disk >fsck.log", in: place.path)
    }

    /// Ends the disk.
    private static func stop(_ end: End, _ place: String) throws {
        switch end {
        case .powerFailure:
            let program = """
                import fcntl, os, struct
                fcntl.ioctl(os.open("root", os.O_RDONLY), 0x8004587d, struct.pack("I", 2))
                """
            try shell("python3 -c '\(program)'", in: place)
        case .abort: try shell("mount -o remount,abort root || :", in: place)
        case .full: try shell("cat /dev/zero >root/ballast 2>/dev/null || :", in: place)
        }
    }

    /// Snapshots one upon the other, some removed again, until the first failure.
    private static func work(_ client: SnapshotClient, _ prefix: String, _ told: SnapshotPromises, _ end: End) async {
        var parent = ""
        for number in 0..<10_000 {
            let (key, name) = ("\(prefix)-\(number)-key", "\(prefix)-\(number)")
            told.set(key, .open)
            guard (try? await client.prepare(key, parent)) != nil else { return }
            told.set(key, .present)
            if number % 5 == 4 { continue }
            told.set(key, .open)
            told.set(name, .open)
            guard (try? await client.commit(name, key)) != nil else { return }
            told.set(key, .absent)
            told.set(name, .present)
            if number % 3 == 1 {
                told.set(name, .open)
                guard (try? await client.remove(name)) != nil else { return }
                // A full disk takes nothing back.
                told.set(name, end == .full ? .absent : .removed)
            } else if number % 7 < 3 {
                parent = name
            } else {
                parent = ""
            }
        }
    }
}
