import ContainerdAPI
import Glibc
import TestSupport
import Testing

@testable import ContainerdServices

/// Packed layers that come again: of another image, over another parent, in another namespace.
@Suite(.serialized, .timeLimit(.minutes(3))) struct SharedLayerTests {
    private typealias Rig = PackedSnapshotTests.Rig

    private static let other = Tar.archive([D("d/", 0o755), F("d/other", "o"), D("old/"), F("old/z", "z")])

    /// Inodes and numbers of names of what is kept of a snapshot.
    private static func kept(_ rig: Rig, _ id: Int) -> [[UInt64]] {
        ["layer.tar", "layer.erofs", "packed"].map { name in
            var found = stat()
            lstat("\(rig.snapshots)/\(id)/packed/\(name)", &found)
            return [UInt64(found.st_ino), UInt64(found.st_nlink)]
        }
    }

    private static func unpack(
        _ rig: Rig, _ client: SnapshotClient, _ blob: [UInt8], _ type: String, as name: String, on parent: String = ""
    ) async throws -> Int {
        let key = "default/1/extract-1-a \(name)"
        let mounts = try await client.prepare(key, parent)
        let applied = try await client.differ.apply(
            rig.containerd.add(blob), type, to: mounts.map(MountSpec.init))
        #expect(applied.mediaType == DiffClient.tar)
        #expect(applied.digest == rig.containerd.add(PackedSnapshotTests.top) || name == "other" || name == "base")
        #expect(applied.size == PackedSnapshotTests.top.count || name == "other" || name == "base")
        try await client.commit(name, key)
        return try rig.id(mounts)
    }

    @Test func `a layer that comes again is kept once, and what becomes of one does not touch the other`() async throws
    {
        let rig = try Rig(PackedSnapshotTests.packing)
        let zipped = try filtered("gzip", "-c", input: PackedSnapshotTests.top)
        var shown: [TreeSnapshot] = []
        try await rig.run { client in
            _ = try await Self.unpack(rig, client, PackedSnapshotTests.base, DiffClient.tar, as: "base")
            _ = try await Self.unpack(rig, client, Self.other, DiffClient.tar, as: "other")
            let first = try await Self.unpack(
                rig, client, zipped, DiffClient.tar + "+gzip", as: "first", on: "base")
            let own = Self.kept(rig, first)
            #expect(own.map { $0[1] } == [1, 1, 1])
            // Known by what it came from.
            let second = try await Self.unpack(
                rig, client, zipped, DiffClient.tar + "+gzip", as: "second", on: "other")
            // Known by its tar.
            let third = try await Self.unpack(
                rig, client, PackedSnapshotTests.top, DiffClient.tar, as: "third", on: "other")
            // As the lowest it has another index, since there is nothing that its deletions delete.
            let lowest = try await Self.unpack(
                rig, client, PackedSnapshotTests.top, DiffClient.tar, as: "lowest")
            #expect(Self.kept(rig, lowest).map { $0[1] } == [4, 1, 1])
            for id in [first, second, third] {
                let files = Self.kept(rig, id)
                #expect(files.map { $0[1] } == [4, 3, 1] && files[0] == [own[0][0], 4] && files[1] == [own[1][0], 3])
                #expect(rig.names(id) == ["fs", "packed", "work"])
            }
            for name in ["first", "second", "third"] { shown.append(try await rig.tree(client, name)) }
            #expect(shown[1].differences(from: shown[2]) == [] && shown[1]["d/other"]?.text == "o")
            #expect(shown[0]["d/one"]?.text == "first" && shown[1]["old/z"] == nil)
            // Whoever is removed first.
            try await client.remove("first")
            try await client.cleanup()
            #expect(Self.kept(rig, second).map { $0[1] } == [3, 2, 1])
            #expect(try await rig.diff(client, "second", on: "other") == PackedSnapshotTests.top)
            #expect(try await rig.tree(client, "third").differences(from: shown[2]) == [])
        }
        // What another run left is known, too.
        #expect(try rig.check().status == 0)
        try rig.daemon.start()
        try await rig.run { client in
            let fourth = try await Self.unpack(
                rig, client, zipped, DiffClient.tar + "+gzip", as: "fourth", on: "base")
            #expect(Self.kept(rig, fourth).map { $0[1] } == [4, 3, 1])
            #expect(try await rig.tree(client, "fourth").differences(from: shown[0]) == [])
            // One that is written to is none of them any more.
            let key = "default/1/extract-1-a fifth"
            let mounts = try await client.prepare(key, "base")
            _ = try await client.differ.apply(
                rig.containerd.add(zipped), DiffClient.tar + "+gzip", to: mounts.map(MountSpec.init))
            #expect(Self.kept(rig, fourth).map { $0[1] } == [5, 4, 1])
            #expect(try await client.mounts(key) == mounts)
            #expect(Self.kept(rig, fourth).map { $0[1] } == [4, 3, 1])
            try await rig.finish(client)
        }
    }

    @Test func `what is not whole is not taken for a layer that comes again, and check names all who have it`()
        async throws
    {
        let rig = try Rig(PackedSnapshotTests.packing)
        let zipped = try filtered("gzip", "-c", input: PackedSnapshotTests.top)
        func unpack(_ client: SnapshotClient, _ name: String) async throws -> Int {
            try await Self.unpack(rig, client, zipped, DiffClient.tar + "+gzip", as: name, on: "base")
        }
        var ids: [Int] = []
        try await rig.run { client in
            _ = try await Self.unpack(rig, client, PackedSnapshotTests.base, DiffClient.tar, as: "base")
            ids.append(try await unpack(client, "first"))
            ids.append(try await unpack(client, "second"))
        }
        try rig.daemon.unmountLayers()
        // One index, which both have.
        let index = "\(rig.snapshots)/\(ids[0])/packed/layer.erofs"
        let whole = try readFile(index)
        var damaged = whole
        damaged[whole.count - 100] ^= 1
        try writeFile(index, damaged)
        let found = try rig.check()
        #expect(found.status == 65 && found.lines.count == 2, "\(found)")
        for name in ["first", "second"] { #expect(found.lines.contains { $0.contains("\"\(name)\"") }, "\(found)") }
        let mended = try rig.check("--repair")
        #expect(mended.status == 0, "\(mended)")
        for id in ids { #expect(try readFile("\(rig.snapshots)/\(id)/packed/layer.erofs") == whole) }
        #expect(try rig.check().lines.isEmpty)
        // A tar that is shorter is neither's any more, and whoever comes has its own.
        try writeFile("\(rig.snapshots)/\(ids[1])/packed/layer.tar", Array(PackedSnapshotTests.top.dropLast(512)))
        try rig.daemon.start()
        try await rig.run { client in
            let third = try await unpack(client, "third")
            #expect(Self.kept(rig, third).map { $0[1] } == [1, 1, 1])
            #expect(try await rig.tree(client, "third")["old/new"]?.text == "n")
            let fourth = try await unpack(client, "fourth")
            #expect(Self.kept(rig, fourth).map { $0[1] } == [2, 2, 1])
            try await rig.finish(client)
        }
    }

    @Test func `many that come at once have one tar in the end, or some, and each is whole`() async throws {
        let rig = try Rig(PackedSnapshotTests.packing)
        let zipped = try filtered("gzip", "-c", input: PackedSnapshotTests.top)
        try await rig.run { client in
            _ = try await Self.unpack(rig, client, PackedSnapshotTests.base, DiffClient.tar, as: "base")
            try await withThrowingTaskGroup { group in
                for number in 0..<12 {
                    group.addTask {
                        for round in 0..<4 {
                            let name = "n-\(number)-\(round)"
                            _ = try await Self.unpack(
                                rig, client, zipped, DiffClient.tar + "+gzip", as: name, on: "base")
                            if round < 3 { try await client.remove(name) }
                            if number % 4 == 0 { try await client.cleanup() }
                        }
                    }
                }
                try await group.waitForAll()
            }
            for number in 0..<12 {
                #expect(try await rig.diff(client, "n-\(number)-3", on: "base") == PackedSnapshotTests.top)
            }
            #expect(try rig.check().status == 0)
            try await rig.finish(client)
        }
    }
}
