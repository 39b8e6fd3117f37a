import ContainerdAPI
import Glibc
import TestSupport
import Testing

/// Labels, usage, restarts, sharing, races.
@Suite(.serialized) struct SnapshotRecordTests {
    @Test func `update changes what its mask names`() async throws {
        let table: [(paths: [String], labels: [String: String], result: [String: String])] = [
            ([], ["x": "y"], ["x": "y"]), ([], ["x": "y", "e": ""], ["x": "y"]), ([], [:], [:]),
            (["labels"], ["x": "y"], ["x": "y"]), (["labels"], [:], [:]),
            (["labels.a"], ["a": "new"], ["a": "new", "b.c/d": "2"]), (["labels.a"], [:], ["b.c/d": "2"]),
            (["labels.a"], ["a": ""], ["b.c/d": "2"]), (["labels.b.c/d"], ["b.c/d": "3"], ["a": "1", "b.c/d": "3"]),
            (["labels.b"], ["b": "4"], ["a": "1", "b.c/d": "2", "b": "4"]),
            (["labels.n"], ["n": "5", "a": "ignored"], ["a": "1", "b.c/d": "2", "n": "5"]),
            (["labels.a", "labels.b.c/d"], ["a": "6"], ["a": "6"]),
            (["labels", "labels.a"], ["z": "7"], ["z": "7"]),
        ]
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            _ = try await client.prepare("s")
            let made = try await client.stat("s")
            for (paths, labels, result) in table {
                _ = try await client.update("s", ["a": "1", "b.c/d": "2"])
                let answer = try await client.update("s", labels, paths: paths)
                #expect(answer.labels == result, "\(paths) \(labels)")
                #expect(try await client.stat("s") == answer)
                #expect(answer.createdAt == made.createdAt)
            }
        }
    }

    @Test func `labels of commit replace those of prepare, empty ones are not kept`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            _ = try await ground.client.prepare("key", labels: ["a": "1", "empty": ""])
            #expect(try await ground.client.stat("key").labels == ["a": "1"])
            try await ground.client.commit("name", "key", labels: ["b": "2"])
            #expect(try await ground.client.stat("name").labels == ["b": "2"])
        }
    }

    @Test func `usage of an active snapshot is measured, that of a committed one kept`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            let mounted = try MountedSnapshot(try await client.prepare("key"), at: ground.path("m"))
            try shell("head -c 1048576 /dev/zero | tr '\\0' x >file; sync -f .", in: mounted.path)
            #expect(try await client.usage("key") == (1_048_576 + 4096, 2))
            try shell("ln file second; mkdir d", in: mounted.path)
            #expect(try await client.usage("key") == (1_048_576 + 2 * 4096, 3))
            try mounted.unmount()
            try await client.commit("name", "key")
            #expect(try await client.usage("name") == (1_048_576 + 2 * 4096, 3))
            _ = try await client.view("view", "name")
            #expect(try await client.usage("view") == (0, 0))
            _ = try await client.prepare("empty", "name")
            #expect(try await client.usage("empty") == (4096, 1))
        }
    }

    /// More than there are threads, and than directories that were made ahead.
    @Test(.timeLimit(.minutes(2))) func `four hundred callers at once are all served`() async throws {
        let daemon = try SnapshotDaemon()
        try await withThrowingTaskGroup { connections in
            for connection in 0..<4 {
                let socket = daemon.socket
                connections.addTask {
                    try await SnapshotClient.connected(to: socket) { client in
                        try await withThrowingTaskGroup { calls in
                            for call in 0..<100 {
                                calls.addTask { _ = try await client.prepare("\(connection)-\(call)") }
                            }
                            try await calls.waitForAll()
                        }
                    }
                }
            }
            try await connections.waitForAll()
        }
        let made = try await SnapshotClient.connected(to: daemon.socket) { client in try await client.list() }
        #expect(made.count == 400)
        #expect(directoryNames(daemon.root + "/overlay2/snapshots").count == 400)
        try daemon.stop()
    }

    @Test func `of sixteen racers for one key one wins`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            for round in 0..<10 {
                let outcomes = try await withThrowingTaskGroup(of: Bool.self) { group in
                    for _ in 0..<16 {
                        let client = ground.client
                        group.addTask {
                            let refused = try await failure { try await client.prepare("race-\(round)") }
                            if let refused { #expect(refused.code == .alreadyExists) }
                            return refused == nil
                        }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(outcomes.filter { $0 }.count == 1)
            }
            #expect(try await ground.client.list().count == 10)
            #expect(directoryNames(ground.daemon.root + "/overlay2/snapshots").count == 10)
        }
    }

    @Test func `everything is there after a restart, and no id is given out twice`() async throws {
        let daemon = try SnapshotDaemon()
        let (before, mounts) = try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare("base-key", labels: ["a": "é ü", "b": "c"])
            try await client.commit("base", "base-key", labels: ["x": "y"])
            _ = try await client.prepare("child", "base")
            _ = try await client.view("view", "base")
            _ = try await client.prepare("gone", "base")
            try await client.remove("gone")
            return (try await client.list(), try await client.mounts("child"))
        }
        let names = directoryNames(daemon.root + "/overlay2/snapshots")
        try daemon.stop()
        // What a crash may leave.
        mkdir(daemon.root + "/overlay2/snapshots/900", 0o700)
        mkdir(daemon.root + "/overlay2/snapshots/900/fs", 0o700)
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            #expect(try await client.list() == before)
            #expect(try await client.mounts("child") == mounts)
            #expect(try await client.usage("base") == (4096, 1))
            try await client.cleanup()
            let kept = directoryNames(daemon.root + "/overlay2/snapshots")
            #expect(kept.count == 3)
            #expect(Set(kept).isSubset(of: names))
            let new = try await client.prepare("new")[0].source
            #expect(new == "\(daemon.root)/overlay2/snapshots/901/fs")
        }
        try daemon.stop()
    }

    @Test func `a removed snapshot's data goes with cleanup, or at once if so configured`() async throws {
        for settings in ["", "[snapshot]\nsync_remove = true\n"] {
            try await SnapshotterKind.overlay2.run(settings: settings) { ground in
                let name = try await ground.layer("one") {
                    try shell("mkdir -p a/b; touch a/b/c; chattr +i a 2>/dev/null || :; chattr -i a", in: $0)
                }
                try await ground.client.remove(name)
                let snapshots = ground.daemon.root + "/overlay2/snapshots"
                #expect(directoryNames(snapshots).count == (settings.isEmpty ? 1 : 0))
                try await ground.client.cleanup()
                #expect(directoryNames(snapshots).isEmpty)
            }
        }
    }

    @Test func `a layer unpacked in one namespace is taken over by another, where that is switched on`() async throws {
        let label = ["containerd.io/snapshot.ref": "sha256:chain"]
        for isOn in [false, true] {
            try await SnapshotterKind.overlay2.run(settings: "[snapshot]\nshare_layers = \(isOn)\n") { ground in
                let client = ground.client
                _ = try await client.prepare("moby/1/extract-1 sha256:chain", labels: label)
                try await client.commit("moby/2/sha256:chain", "moby/1/extract-1 sha256:chain", labels: label)
                let again = try await failure {
                    try await client.prepare("k8s.io/1/extract-2 sha256:chain", labels: label)
                }
                #expect(again?.code == (isOn ? .alreadyExists : nil))
                let found = try await client.list(
                    "labels.\"containerd.io/snapshot.ref\"==sha256:chain,parent==\"\"", "name==nothing")
                #expect(found.values.contains { $0.kind == .committed && $0.name == "moby/2/sha256:chain" })
                // On another parent it is another layer.
                _ = try await client.prepare("k8s.io/3/extract-3 sha256:chain", "moby/2/sha256:chain", labels: label)
            }
        }
    }
}
