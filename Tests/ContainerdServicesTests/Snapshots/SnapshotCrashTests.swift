import GRPCCore
import Glibc
import LayerModel
import LinuxIO
import TestSupport
import Testing

@testable import ContainerdServices

/// The daemon ends at any moment, and callers give up at any moment.
@Suite(.serialized) struct SnapshotCrashTests {
    @Test func `killed ten times in the midst of parallel calls, metadata and directories agree and nothing leaks`()
        async throws
    {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let containerd = try ContainerdDaemon(in: place.directory("c"))
        let layer = try Layer(in: containerd)
        let daemon = try SnapshotDaemon(
            settings: "[snapshot]\nupperdir_label = true\n", in: place.directory("l"), containerd: containerd.socket)
        let told = SnapshotPromises()
        for round in 0..<10 {
            try await SnapshotClient.connected(to: daemon.socket) { client in
                try await withThrowingTaskGroup { group in
                    for caller in 0..<200 {
                        let name = "r\(round)-c\(caller)"
                        let socket = daemon.socket
                        group.addTask {
                            if caller % 5 == 0 {
                                try await Self.giveUp(socket, name, told)
                            } else {
                                await Self.work(client, name, layer, told)
                            }
                        }
                    }
                    // In the first round not before some have come to their end.
                    for _ in 0..<3000 where round == 0 && !told.hasCommitted {
                        try await Task.sleep(for: .milliseconds(10))
                    }
                    try await Task.sleep(for: .milliseconds(Int.random(in: 5..<500)))
                    daemon.kill()
                    try await group.waitForAll()
                }
            }
            try daemon.start()
            try await SnapshotClient.connected(to: daemon.socket) { client in
                try await check(daemon, client, told, "round \(round)")
            }
        }
        #expect(told.hasCommitted)
        try await SnapshotClient.connected(to: daemon.socket) { client in
            // Nothing holds anything that could not be removed.
            for (name, info) in try await client.list() where info.kind != .committed { try await client.remove(name) }
            for name in try await client.list().keys { try await client.remove(name) }
            try await client.cleanup()
            #expect(directoryNames(daemon.root + "/overlay2/snapshots").isEmpty)
        }
        try daemon.stop()
        try containerd.stop()
        #expect(try Leftovers.mounts(below: place.path).isEmpty)
    }

    /// A layer of two hundred files in a containerd's content store.
    private struct Layer: Sendable {
        let digest: String
        let namespace: String
        static let fileCount = 200

        init(in containerd: ContainerdDaemon) throws {
            let tar = Tar.archive((0..<Self.fileCount).map { F("d\($0 % 10)/f\($0)", "text \($0)") })
            digest = Digest.of(tar.rawBytes).description
            namespace = containerd.namespace
            // Nothing refers to it, so garbage collection takes it unless the label is quicker.
            for attempt in 0..<20 {
                try containerd("content", "ingest", "--expected-digest", digest, "layer-\(attempt)", input: tar)
                let words = ["content", "label", digest, "containerd.io/gc.root=now"]
                if try containerd.run(words).status == 0 { return }
            }
            throw TestFailure("containerd did not keep the layer")
        }
    }

    /// Prepare, Apply, Commit, Remove of some, and what was promised by their answers. Ends with the first failure.
    private static func work(_ client: SnapshotClient, _ name: String, _ layer: Layer, _ told: SnapshotPromises) async {
        let key = name + "-key"
        told.set(key, .open)
        guard let mounts = try? await client.prepare(key) else { return }
        told.set(key, .present)
        guard Int.random(in: 0..<4) > 0 else { return }
        let target = mounts.map { MountSpec(type: $0.type, source: $0.source, options: $0.options) }
        guard (try? await client.differ.apply(layer.digest, to: target, namespace: layer.namespace)) != nil else {
            return
        }
        told.set(key, .open)
        told.set(name, .open)
        guard (try? await client.commit(name, key)) != nil else { return }
        told.set(key, .absent)
        told.set(name, .present)
        guard Bool.random() else { return }
        told.set(name, .open)
        guard (try? await client.remove(name)) != nil else { return }
        told.set(name, .absent)
    }

    /// A caller that goes away in the midst of a call. Another program: cancelling calls of gRPC's own client in a debug build
    /// trips an assertion of it (a stream that is closed before it was open).
    private static func giveUp(_ socket: String, _ name: String, _ told: SnapshotPromises) async throws {
        told.set(name + "-key", .open)
        let words = ["ctr", "--address", socket, "snapshots", "--snapshotter", "ldiff", "prepare", name + "-key"]
        let caller = try Daemon(words, log: "/dev/null")
        try await Task.sleep(for: .milliseconds(Int.random(in: 10..<120)))
        caller.kill()
    }

    private func check(
        _ daemon: SnapshotDaemon, _ client: SnapshotClient, _ told: SnapshotPromises, _ when: String
    ) async throws {
        let records = try await client.list()
        told.check(Set(records.keys), when)
        let snapshots = daemon.root + "/overlay2/snapshots"
        var directories: Set<String> = []
        for (name, info) in records {
            let path = info.labels["containerd.io/snapshot/overlay.upperdir"] ?? ""
            #expect(access(path, F_OK) == 0, "\(when): \(name) has no directory \(path)")
            if info.kind == .active { #expect(access(path.dropLast(2) + "work", F_OK) == 0) }
            if info.kind == .committed {
                let files = (0..<10).map { directoryNames("\(path)/d\($0)").count }.reduce(0, +)
                #expect(files == Layer.fileCount, "\(when): \(name) is not whole")
            }
            let id = path.dropFirst(snapshots.count + 1).prefix { $0 != "/" }
            #expect(directories.insert(String(id)).inserted, "\(when): \(name) shares a directory")
        }
        try await client.cleanup()
        #expect(Set(directoryNames(snapshots)) == directories, "\(when)")
    }

    /// Prepare moves directories that are on disk already, and syncs only the record.
    @Test func `directories whose move a power failure undid are moved again`() async throws {
        let daemon = try SnapshotDaemon(settings: "[snapshot]\nupperdir_label = true\n")
        let (snapshots, spares) = (daemon.root + "/overlay2/snapshots", daemon.root + "/overlay2/spare")
        let label = "containerd.io/snapshot/overlay.upperdir"
        let before = try await SnapshotClient.connected(to: daemon.socket) { client in
            _ = try await client.prepare("base-key")
            try writeFile(snapshots + "/1/fs/file", Array("kept".utf8))
            try await client.commit("base", "base-key")
            _ = try await client.prepare("active", "base")
            _ = try await client.prepare("gone", "base")
            try await client.remove("gone")
            return try await client.list()
        }
        daemon.kill()
        let unused = directoryNames(spares)
        #expect(!unused.isEmpty, "nothing was made ahead")
        for id in 1...3 { #expect(rename("\(snapshots)/\(id)", "\(spares)/\(id)") == 0) }
        // One that was being made.
        mkdir(spares + "/900", 0o700)
        try daemon.start()
        try await SnapshotClient.connected(to: daemon.socket) { client in
            #expect(try await client.list() == before)
            for (name, info) in before { #expect(access(info.labels[label] ?? "", F_OK) == 0, "\(name)") }
            #expect(Set(directoryNames(snapshots)) == ["1", "2"])
            #expect(directoryNames(spares).isEmpty)
            #expect(try readFile(snapshots + "/1/fs/file") == Array("kept".utf8))
            _ = try await client.prepare("next", "base")
            try await client.cleanup()
            #expect(directoryNames(snapshots).count == 3)
        }
        try daemon.stop()
    }

    @Test func `a full disk refuses what is new, keeps what was, and is mended by removing`() async throws {
        let place = try TemporaryDirectory()
        defer { withExtendedLifetime(place) {} }
        let disk = try Mount("tmpfs", at: place.directory("root"), options: "size=4m,nr_inodes=400")
        let daemon = try SnapshotDaemon(in: place.path)
        try await SnapshotClient.connected(to: daemon.socket) { client in
            let ballast = daemon.root + "/ballast"
            try writeFile(ballast, [])
            var made = 0
            var refused: (code: RPCError.Code, message: String)?
            while refused == nil, made < 1000 {
                refused = try await failure { try await client.prepare("k\(made)") }
                if refused == nil { made += 1 }
            }
            #expect(refused?.code == .resourceExhausted, "\(refused?.message ?? "")")
            #expect(made > 20)
            _ = try? shell("cat /dev/zero >\(ballast) 2>/dev/null || :", in: "/")
            // Not even a record fits now.
            let update = try await failure {
                for round in 0..<200 {
                    _ = try await client.update("k0", ["l": String(repeating: "\(round)", count: 900)])
                }
            }
            #expect(update?.code == .resourceExhausted, "\(update?.message ?? "")")
            #expect(try await client.list().count == made)
            unlink(ballast)
            for number in 0..<made { try await client.remove("k\(number)") }
            try await client.cleanup()
            #expect(directoryNames(daemon.root + "/overlay2/snapshots").isEmpty)
            _ = try await client.prepare("again")
        }
        try daemon.stop()
        try disk.unmount()
    }

    @Test func `a snapshot measured for a caller that gave up is measured no longer`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            _ = try await client.prepare("big")
            let upper = ground.daemon.root + "/overlay2/snapshots/1/fs"
            try shell("for d in $(seq 40); do mkdir d$d; (cd d$d; seq 500 | xargs touch); done", in: upper)
            let words = [
                "ctr", "--address", ground.daemon.socket, "snapshots", "--snapshotter", "ldiff", "usage", "big",
            ]
            for _ in 0..<20 {
                let caller = try Daemon(words, log: "/dev/null")
                try await Task.sleep(for: .milliseconds(Int.random(in: 15..<60)))
                caller.kill()
            }
            #expect(try await client.usage("big").inodes == 20_041)
            #expect(try await client.stat("big").kind == .active)
        }
    }
}
