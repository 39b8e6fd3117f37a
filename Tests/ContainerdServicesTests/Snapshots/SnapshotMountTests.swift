import ContainerdAPI
import Glibc
import TestSupport
import Testing

/// The mounts that are handed out, and roots that nothing can leave.
@Suite(.serialized) struct SnapshotMountTests {
    private static func text(_ mounts: Mounts, _ root: String) -> [String] {
        mounts.map { mount in
            ([mount.type, mount.source] + mount.options.map { $0.replacing(root, with: "ROOT") }).joined(separator: " ")
        }.map { $0.replacing(root, with: "ROOT") }
    }

    private static func replaced(_ text: String, _ root: String) -> String { text.replacing(root, with: "ROOT") }

    @Test func `each driver tells the mounts that containerd's own drivers tell`() async throws {
        let extras =
            try readText("/proc/self/uid_map").isEmpty
            ? "" : access("/sys/module/overlay/parameters/index", F_OK) == 0 ? " index=off" : ""
        for kind in [SnapshotterKind.overlay2, .fuseOverlayFS] {
            let type = kind == .overlay2 ? "overlay" : "fuse3.fuse-overlayfs"
            let extra = kind == .overlay2 ? extras : ""
            try await kind.run { ground in
                let client = ground.client
                let root = ground.daemon.root + "/\(kind.rawValue)/snapshots"
                #expect(Self.text(try await client.prepare("k1"), root) == ["bind ROOT/1/fs rw rbind"])
                #expect(Self.text(try await client.view("v0"), root) == ["bind ROOT/2/fs ro rbind"])
                try await client.commit("c1", "k1")
                let one = "\(type) overlay workdir=ROOT/3/work upperdir=ROOT/3/fs lowerdir=ROOT/1/fs\(extra)"
                #expect(Self.text(try await client.prepare("k2", "c1"), root) == [one])
                #expect(Self.text(try await client.mounts("k2"), root) == [one])
                #expect(Self.text(try await client.view("v1", "c1"), root) == ["bind ROOT/1/fs ro rbind"])
                try await client.commit("c2", "k2")
                let two = "\(type) overlay workdir=ROOT/5/work upperdir=ROOT/5/fs lowerdir=ROOT/3/fs:ROOT/1/fs\(extra)"
                #expect(Self.text(try await client.prepare("k3", "c2"), root) == [two])
                let view = "\(type) overlay lowerdir=ROOT/3/fs:ROOT/1/fs\(extra)"
                #expect(Self.text(try await client.view("v2", "c2"), root) == [view])
                #expect(Self.text(try await client.mounts("v2"), root) == [view])
            }
        }
    }

    @Test func `a root directory belongs to whom its parent's belongs, or to the mapped root`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            let snapshots = ground.daemon.root + "/overlay2/snapshots"
            func owner(_ path: String) -> [UInt32] {
                var status = stat()
                guard stat(path, &status) == 0 else { return [] }
                return [status.st_uid, status.st_gid, status.st_mode & 0o7777]
            }
            _ = try await client.prepare("k1")
            #expect(owner(snapshots + "/1/fs") == [0, 0, 0o755])
            Glibc.chown(snapshots + "/1/fs", 7, 8)
            try await client.commit("c1", "k1")
            _ = try await client.prepare("k2", "c1")
            #expect(owner(snapshots + "/2/fs") == [7, 8, 0o755])
            let maps = [
                "containerd.io/snapshot/uidmapping": "1:200000:100,0:100000:1",
                "containerd.io/snapshot/gidmapping": "0:300000:65536",
            ]
            let mapped = try await client.prepare("k3", "c1", labels: maps)
            #expect(owner(snapshots + "/3/fs") == [100_000, 300_000, 0o755])
            // Nobody said that containerd does not shift them itself.
            #expect(!mapped[0].options.contains { $0.contains("map=") })
        }
    }

    @Test func `ids are mapped where containerd was told of it`() async throws {
        try await SnapshotterKind.overlay2.run(settings: "[snapshot]\nremap_ids = true\n") { ground in
            let client = ground.client
            _ = try await client.prepare("k1")
            try await client.commit("c1", "k1")
            let labels = [
                "containerd.io/snapshot/uidmapping": "1:200000:100,0:100000:1",
                "containerd.io/snapshot/gidmapping": "0:300000:65536",
            ]
            let maps = ["uidmap=1:200000:100,0:100000:1", "gidmap=0:300000:65536"]
            #expect(try await client.prepare("k2", "c1", labels: labels)[0].options.starts(with: maps))
            let view = try await client.view("v", "c1", labels: labels)
            #expect(view[0].options == maps + ["ro", "rbind"])
            // A directory of its own has the ids already.
            #expect(try await client.prepare("k3", labels: labels)[0].options == ["rw", "rbind"])
        }
    }

    @Test func `a layer whose parent comes with commit is mounted over an empty directory`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            let base = try await ground.layer("base") {
                try shell("mkdir d; printf 1 >d/lower; printf 2 >gone", in: $0)
            }
            let key = "default/9/extract-1-x sha256:top"
            let mounts = try await client.prepare(
                key, labels: ["containerd.io/snapshot/parent-chain-id": "sha256:base"])
            #expect(mounts[0].type == "overlay")
            #expect(mounts[0].options.contains("lowerdir=\(ground.daemon.root)/overlay2/empty"))
            #expect(try await client.mounts(key) == mounts)
            // What an unpacker writes for a whiteout.
            let mounted = try MountedSnapshot(mounts, at: ground.path("m"))
            let upper = ground.daemon.root + "/overlay2/snapshots/2/fs"
            try shell("printf 3 >new", in: mounted.path)
            try mounted.unmount()
            try shell("mknod gone c 0 0", in: upper)
            try await client.commit("top", key, parent: base)
            #expect(try await client.stat("top").parent == base)
            #expect(try await ground.tree(of: "top").paths.sorted() == ["d/", "d/lower", "new"])
            #expect(try await failure { try await client.remove(base) }?.code == .failedPrecondition)
        }
    }

    @Test func `the directory of a snapshot's own changes is told where that is switched on`() async throws {
        try await SnapshotterKind.overlay2.run(settings: "[snapshot]\nupperdir_label = true\n") { ground in
            _ = try await ground.client.prepare("k")
            let label = "containerd.io/snapshot/overlay.upperdir"
            let info = try await ground.client.stat("k")
            #expect(info.labels[label] == ground.daemon.root + "/overlay2/snapshots/1/fs")
            // Sent back, it is not kept.
            let again = try await ground.client.update("k", info.labels.merging([label: "/etc"]) { $1 })
            #expect(again.labels == info.labels)
        }
    }

    @Test func `keys, labels and names of every kind stay inside the root`() async throws {
        try await SnapshotterKind.overlay2.run { ground in
            let client = ground.client
            let outside = try TreeSnapshot(ground.daemon.directory, ignoring: [.times, .root])
                .paths.filter { !$0.hasPrefix("root/") && !$0.hasPrefix("work") }
            let names = [
                "../../../../etc/passwd", "/etc/shadow", "..", ".", "a/../..", "new-1", "1", "-rf", "$(touch x)",
                "x:y,upperdir=/etc", "line\nbreak", "\u{202e}", String(repeating: "../", count: 4000),
                "'; DROP TABLE snapshot; --",
                "e\u{301}", "\u{e9}",
            ]
            for (number, name) in names.enumerated() {
                let labels = [name: name].filter { $0.key.utf8.count < 2000 }
                let mounts = try await client.prepare(name, labels: labels)
                #expect(mounts[0].source == "\(ground.daemon.root)/overlay2/snapshots/\(number + 1)/fs")
                #expect(try await client.stat(name).labels == labels)
            }
            #expect(try await client.list().count == names.count - 1)
            for name in names { try await client.remove(name) }
            try await client.cleanup()
            #expect(directoryNames(ground.daemon.root + "/overlay2/snapshots").isEmpty)
            let now = try TreeSnapshot(ground.daemon.directory, ignoring: [.times, .root])
                .paths.filter { !$0.hasPrefix("root/") && !$0.hasPrefix("work") }
            #expect(now == outside)
        }
    }
}
