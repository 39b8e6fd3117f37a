import ContainerdAPI
import Glibc
import LayerDrivers
import TestSupport
import Testing

@testable import ContainerdServices

/// A daemon whose root is a file system of its own that can fail, full of what others keep there, with three snapshots that are
/// there whatever happens: `base`, `child` upon it, and `active`, in which a container wrote.
final class FaultGround: @unchecked Sendable {
    let daemon: SnapshotDaemon
    let containerd: FakeContainerd
    private(set) var client: SnapshotClient
    private let strangers: ForeignThings
    private let disk: Mount
    private let layer: String
    private let namespace = "default"

    static let files = ["base": ["kept"], "child": ["child"], "active": ["own"]]

    /// A daemon in `place`, and a client for its first run.
    static func run(in place: String, _ body: (FaultGround) async throws -> Void) async throws {
        let containerd = FakeContainerd()
        mkdir(place + "/content", 0o755)
        containerd[\.root] = nil
        let digest = containerd.add(Tar.archive([D("d/"), F("d/one", "first"), F("d/two", "second")]).map { $0 })
        try await containerd.serve(at: place + "/containerd.sock") {
            let disk = try Mount("tmpfs", at: place + "/root", options: "size=64m")
            let daemon = try SnapshotDaemon(in: place, containerd: place + "/containerd.sock", isWatched: true)
            try await SnapshotClient.connected(to: daemon.socket) { client in
                _ = try await client.prepare("base-key")
                try write(daemon, 1, "kept")
                try await client.commit("base", "base-key")
                _ = try await client.prepare("child-key", "base")
                try write(daemon, 2, "child")
                try await client.commit("child", "child-key")
                _ = try await client.prepare("active", "child")
                try write(daemon, 3, "own")
            }
            let root = daemon.root
            let strangers = try ForeignThings(
                in: [
                    root, "\(root)/metadata", "\(root)/overlay2", "\(root)/overlay2/snapshots",
                    "\(root)/overlay2/spare",
                ])
            try await SnapshotClient.connected(to: daemon.socket) { client in
                let ground = FaultGround(daemon, containerd, client, strangers, disk, digest)
                try await body(ground)
            }
            strangers.leave()
            daemon.kill()
            try disk.unmount()
        }
    }

    private init(
        _ daemon: SnapshotDaemon, _ containerd: FakeContainerd, _ client: SnapshotClient, _ strangers: ForeignThings,
        _ disk: Mount, _ layer: String
    ) {
        self.daemon = daemon
        self.containerd = containerd
        self.client = client
        self.strangers = strangers
        self.disk = disk
        self.layer = layer
    }

    /// With a connection to the daemon that runs now.
    func connected(_ body: () async throws -> Void) async throws {
        try await SnapshotClient.connected(to: daemon.socket) { new in
            client = new
            try await body()
        }
    }

    private static func write(_ daemon: SnapshotDaemon, _ id: Int64, _ name: String) throws {
        try writeFile("\(daemon.root)/overlay2/snapshots/\(id)/fs/\(name)", Array(name.utf8))
    }

    /// Something that a container would have written.
    func write(_ key: String, _ name: String) throws {
        let id = try #require(try ids()[key], "\(key) is not there")
        try Self.write(daemon, id, name)
    }

    /// Has directories made ahead, as a daemon has that has been at work.
    func warmUp() async throws {
        _ = try await client.prepare("new-first")
        try await client.remove("new-first")
        try await client.cleanup()
    }

    func apply(_ key: String) async throws {
        let mounts = try await client.mounts(key)
        let target = mounts.map { MountSpec(type: $0.type, source: $0.source, options: $0.options) }
        _ = try await client.differ.apply(layer, to: target, namespace: namespace)
    }

    func diff(_ key: String, since parent: String) async throws -> String {
        let upper = try await client.mounts(key).map {
            MountSpec(type: $0.type, source: $0.source, options: $0.options)
        }
        let lower = try await client.view("new-view", parent).map {
            MountSpec(type: $0.type, source: $0.source, options: $0.options)
        }
        return try await client.differ.diff(lower, upper, namespace: namespace).digest
    }

    // MARK: looking

    /// What is there, as a caller sees it: a line a snapshot.
    func state() async throws -> Set<String> {
        let found = try await client.list()
        return Set(
            found.values.map { "\($0.name) \($0.kind) \($0.parent) \($0.labels.sorted { $0.key < $1.key })" })
    }

    /// Numbers by name, as the records on disk say.
    private func ids() throws -> [String: Int64] {
        let records = try SnapshotSalvage.whole(daemon.root + "/metadata/overlay2.db").records
        return Dictionary(records.values.map { ($0.name, $0.id) }) { $1 }
    }

    /// Whatever must hold of a daemon that was started after a failure, without one.
    func check(_ what: String) async throws {
        try await client.cleanup()
        let (records, snapshots) = (try ids(), daemon.root + "/overlay2/snapshots")
        let directories = Set(directoryNames(snapshots)).subtracting(strangers.names)
        #expect(directories == Set(records.values.map(String.init)), "\(what): records and directories")
        for (name, files) in Self.files {
            guard let id = records[name] else {
                Issue.record("\(what): \(name) is gone")
                continue
            }
            #expect(directoryNames("\(snapshots)/\(id)/fs") == files, "\(what): \(name)")
        }
        for (name, id) in records where !name.hasSuffix("key") {
            #expect(access("\(snapshots)/\(id)/fs", F_OK) == 0, "\(what): \(name)")
        }
        let findings = try SnapshotCheck.run(root: daemon.root, repairs: false)
        #expect(findings.isEmpty, "\(what): \(findings)")
        let changes = try strangers.changes()
        #expect(changes.isEmpty, "\(what): \(changes.prefix(4))")
        #expect(try await client.mounts("active").first?.type == "overlay", "\(what)")
        let mounts = try Leftovers.mounts(below: daemon.root).filter { !$0.hasSuffix("/photos/stick") }
        #expect(mounts.isEmpty || mounts == [daemon.root], "\(what): \(mounts)")
    }

    /// Takes away what an operation made.
    func clear() async throws {
        for round in 0..<3 {
            for (name, _) in try await client.list() where name.hasPrefix("new") {
                do { try await client.remove(name) } catch { if round == 2 { throw error } }
            }
        }
        try await client.cleanup()
    }
}
