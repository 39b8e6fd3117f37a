import ContainerdAPI
import Foundation
import GRPCCore
import Glibc
import LayerModel
import TestSupport
import Testing

@testable import ContainerdServices

/// Layers that the differ keeps packed, as snapshots of ldiff-erofs.
@Suite(.serialized, .timeLimit(.minutes(3))) struct PackedSnapshotTests {
    static let base = Tar.archive([
        D("d/", 0o700), F("d/one", "first", 0o4755).ids(7, 9), F("gone", "g"), H("hard", "d/one"), S("s", "d/one"),
        D("old/"), F("old/x", "x"), C("null", 1, 3),
    ])
    static let top = Tar.archive([
        W(".wh.gone"), D("old/", 0o711), W("old/.wh..wh..opq"), F("old/new", "n"),
        F("big", String(repeating: "b", count: 70_000)),
        F("hard", "own"),
    ])

    /// A daemon with packed layers, and what its client and the tests need of it.
    final class Rig: @unchecked Sendable {
        let place: TemporaryDirectory
        let daemon: SnapshotDaemon
        let containerd = FakeContainerd()

        init(_ settings: String) throws {
            place = try TemporaryDirectory()
            containerd[\.root] = nil
            daemon = try SnapshotDaemon(settings: settings, in: place.path, containerd: place.path + "/containerd.sock")
        }

        var snapshots: String { daemon.root + "/erofs/snapshots" }

        /// What `fs` of a snapshot leads to; nil where it is a directory.
        func link(_ id: Int) -> String? {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "\(snapshots)/\(id)/fs")
        }

        /// The id of an active snapshot, by its mounts.
        func id(_ mounts: Mounts) throws -> Int {
            let upper = mounts[0].options.first { $0.hasPrefix("upperdir=") } ?? mounts[0].source
            return try #require(upper.split(separator: "/").dropLast().last.flatMap { Int($0) })
        }

        func names(_ id: Int) -> [String] { directoryNames("\(snapshots)/\(id)").sorted() }

        func connected(_ body: (SnapshotClient) async throws -> Void) async throws {
            try await SnapshotClient.connected(to: daemon.socket, named: "ldiff-erofs", body)
        }

        /// As containerd unpacks a layer.
        func unpack(
            _ client: SnapshotClient, _ tar: [UInt8], as name: String, on parent: String = "", key: String? = nil
        ) async throws {
            let key = key ?? "default/1/extract-1-a \(name)"
            let mounts = try await client.prepare(key, parent)
            try await apply(client, tar, mounts)
            try await client.commit(name, key)
        }

        func apply(_ client: SnapshotClient, _ tar: [UInt8], _ mounts: Mounts) async throws {
            let digest = containerd.add(tar)
            let applied = try await client.differ.apply(digest, to: mounts.map(MountSpec.init))
            #expect(applied.digest == digest && applied.size == tar.count)
        }

        /// What a view of a committed snapshot shows.
        func tree(_ client: SnapshotClient, _ name: String) async throws -> TreeSnapshot {
            let mounted = try MountedSnapshot(try await client.view("look", name), at: place.path + "/look")
            let tree = try TreeSnapshot(mounted.path, ignoring: [.root, .overlayAttributes])
            try mounted.unmount()
            try await client.remove("look")
            return tree
        }

        /// The bytes that the differ writes of a snapshot and the one below it.
        func diff(
            _ client: SnapshotClient, _ name: String, on parent: String, _ type: String = DiffClient.tar
        ) async throws -> [UInt8] {
            let (left, right) = (try await client.view("left", parent), try await client.view("right", name))
            let written = try await client.differ.diff(left.map(MountSpec.init), right.map(MountSpec.init), type)
            for key in ["left", "right"] { try await client.remove(key) }
            return try #require(containerd.blob(written.digest)).bytes
        }

        /// Ends the daemon when everything is removed; nothing may be left.
        func finish(_ client: SnapshotClient) async throws {
            while case let all = try await client.list(), !all.isEmpty {
                let parents = Set(all.values.map(\.parent))
                for name in all.keys where !parents.contains(name) { try await client.remove(name) }
            }
            try await client.cleanup()
            #expect(directoryNames(snapshots) == [])
            #expect(try daemon.layerMounts() == [])
        }

        func run(_ body: (SnapshotClient) async throws -> Void) async throws {
            try await containerd.serve(at: place.path + "/containerd.sock") {
                do { try await connected(body) } catch { throw TestFailure("\(error)\n\(daemon.log)") }
            }
            try daemon.stop()
        }

        func check(_ words: String...) throws -> (status: Int32, lines: [String]) {
            let result = try runProgram([SnapshotDaemon.program, "check", "--root", daemon.root] + words)
            return (result.status, result.lines)
        }
    }

    static let packing = "[erofs]\nform = \"packed\"\n"

    @Test func `what is unpacked is kept as it came, shown as overlay2 shows it, and written as it came`() async throws
    {
        var trees: [[TreeSnapshot]] = []
        for form in ["packed", "directory"] {
            let rig = try Rig("[erofs]\nform = \"\(form)\"\n")
            try await rig.run { client in
                try await rig.unpack(client, Self.base, as: "base")
                try await rig.unpack(client, Self.top, as: "top", on: "base")
                trees.append([try await rig.tree(client, "base"), try await rig.tree(client, "top")])
                guard form == "packed" else {
                    #expect(rig.link(1) == nil && rig.link(2) == nil)
                    return try await rig.finish(client)
                }
                #expect(rig.link(1) != nil && rig.link(2) != nil)
                #expect(rig.names(1) == ["fs", "packed", "work"])
                let usage = try await client.usage("top")
                #expect(usage.inodes == 4 && usage.size >= Self.top.count && usage.size < Self.top.count + 65_536)
                // Ordinary mounts, of paths below the root.
                let mount = try await client.prepare("container", "top")[0]
                #expect(mount.type == "overlay")
                #expect(mount.options.contains("lowerdir=\(rig.snapshots)/2/fs:\(rig.snapshots)/1/fs"))
                #expect(try await rig.diff(client, "base", on: "") == Self.base)
                #expect(try await rig.diff(client, "top", on: "base") == Self.top)
                let zipped = try await rig.diff(client, "top", on: "base", DiffClient.tar + "+gzip")
                #expect(try filtered("gzip", "-dc", input: zipped) == Self.top)
                // Since another layer, and with a time that is asked for, it is compared.
                #expect(try await rig.diff(client, "top", on: "") != Self.top)
                try await rig.finish(client)
            }
        }
        for (packed, plain) in zip(trees[0], trees[1]) { #expect(packed.differences(from: plain) == []) }
    }

    @Test func `a layer that containers write over is a lower one as any other, and their layers are packed if asked`()
        async throws
    {
        for packs in [false, true] {
            let rig = try Rig(Self.packing + "pack_on_commit = \(packs)\n")
            try await rig.run { client in
                try await rig.unpack(client, Self.base, as: "base")
                let mounted = try MountedSnapshot(try await client.prepare("c", "base"), at: rig.place.path + "/m")
                try shell(
                    "printf 2 >>d/one; rm gone; rm -r old; mkdir old; printf o >old/y; mkfifo p; chmod 640 hard",
                    in: mounted.path)
                let seen = try TreeSnapshot(mounted.path, ignoring: [.root, .overlayAttributes])
                try mounted.unmount()
                try await client.commit("committed", "c")
                #expect((rig.link(2) != nil) == packs, "\(rig.daemon.log)")
                let differences = try await rig.tree(client, "committed").differences(from: seen)
                #expect(differences == [])
                let names = try entries(try await rig.diff(client, "committed", on: "base")).map {
                    $0.prefix { $0 != " " }
                }
                #expect(names.contains("d/one") && names.contains(".wh.gone") && names.contains("old/y"), "\(names)")
                try await rig.finish(client)
            }
        }
    }

    @Test func `what may be written to is a directory: one more layer, or mounts that are asked for, unpack it`()
        async throws
    {
        let rig = try Rig(Self.packing)
        try await rig.run { client in
            try await rig.unpack(client, Self.base, as: "base")
            // One more layer.
            let key = "default/2/extract-2-b sha256:two"
            let mounts = try await client.prepare(key, "base")
            try await rig.apply(client, Self.top, mounts)
            #expect(rig.link(2) != nil)
            try await rig.apply(client, Tar.archive([F("later", "l"), W(".wh.big")]), mounts)
            #expect(rig.link(2) == nil && rig.names(2) == ["fs", "work"])
            try await client.commit("two", key)
            let two = try await rig.tree(client, "two")
            #expect(two["later"]?.text == "l" && two["old/new"]?.text == "n" && two["big"] == nil && two["gone"] == nil)
            // Mounts that are asked for again.
            let other = "default/3/extract-3-c sha256:three"
            let first = try await client.prepare(other, "base")
            try await rig.apply(client, Self.top, first)
            let three = try rig.id(first)
            #expect(rig.link(three) != nil)
            #expect(try await client.mounts(other) == first)
            #expect(rig.link(three) == nil)
            let mounted = try MountedSnapshot(first, at: rig.place.path + "/m")
            #expect(try readText(mounted.path + "/old/new") == "n")
            try shell("printf w >written", in: mounted.path)
            try mounted.unmount()
            try await client.commit("three", other)
            #expect(try await rig.tree(client, "three")["written"]?.text == "w")
            // By a key under which somebody may have mounted it before.
            try await rig.unpack(client, Self.top, as: "four", on: "base", key: "buildkit")
            #expect(directoryNames(rig.snapshots).filter { rig.link(Int($0) ?? 0) != nil } == ["1"])
            #expect(try await rig.tree(client, "four")["old/new"]?.text == "n")
            try await rig.finish(client)
        }
    }

    @Test func `after a restart of the machine what was told fails until it is asked for again`() async throws {
        let rig = try Rig(Self.packing)
        try await rig.run { client in
            try await rig.unpack(client, Self.base, as: "base")
            try await rig.unpack(client, Self.top, as: "top", on: "base")
            let mounts = try await client.prepare("c", "top")
            try rig.daemon.unmountLayers()
            #expect(throws: (any Error).self) { try MountedSnapshot(mounts, at: rig.place.path + "/m") }
            #expect(try await client.mounts("c") == mounts)
            let mounted = try MountedSnapshot(mounts, at: rig.place.path + "/m")
            #expect(try readText(mounted.path + "/old/new") == "n" && readText(mounted.path + "/d/one") == "first")
            // A removal takes nothing from who uses it.
            #expect(try rig.daemon.layerMounts().count == 2)
            try mounted.unmount()
            try await rig.finish(client)
        }
    }

    @Test func `what a kill left half made is ended at the start, and whatever else is mounted stays`() async throws {
        let rig = try Rig(Self.packing)
        try await rig.run { client in
            try await rig.unpack(client, Self.base, as: "base")
            _ = try await client.prepare("default/2/extract-2-b top", "base")
        }
        let mounts = try #require(rig.link(1)).split(separator: "/").dropLast().map { "/" + $0 }.joined()
        // Before the link, and behind it: what was built is no layer yet, and what was replaced none any more.
        let (active, base) = ("\(rig.snapshots)/2", "\(rig.snapshots)/1")
        try shell(
            "mkdir \(active)/packing; echo half >\(active)/packing/layer.tar; cp -a \(base)/packed \(active)/packed",
            in: "/")
        try shell("ln -s \(mounts)/2-0123456789abcdef \(active)/link; mkdir \(base)/link \(base)/packing", in: "/")
        try shell("mkdir \(mounts)/2-0123456789abcdef \(mounts)/foreign", in: "/")
        let stranger = try Mount("tmpfs", at: mounts + "/foreign")
        #expect(try rig.check().status == 0)
        try rig.daemon.start()
        #expect(rig.names(2) == ["fs", "work"] && rig.names(1) == ["fs", "packed", "work"])
        #expect(directoryNames(mounts).sorted().map { $0.prefix(2) } == ["1-", "fo"])
        try stranger.unmount()
        rmdir(mounts + "/foreign")
        try await rig.run { client in
            #expect(try await client.list().count == 2)
            try await rig.finish(client)
        }
        #expect(access(mounts, F_OK) != 0)
    }

    @Test func `killed while it unpacks, it has the layer or it has none`() async throws {
        let rig = try Rig(Self.packing)
        let many = Tar.archive((0..<4000).map { F("d\($0 % 50)/f\($0)", "file \($0)") })
        try await rig.containerd.serve(at: rig.place.path + "/containerd.sock") {
            for round in 0..<12 {
                let key = "default/1/extract-\(round)-a many"
                try? await rig.connected { client in
                    let mounts = try await client.prepare(key)
                    let killer = Task {
                        try? await Task.sleep(for: .milliseconds(round * 8))
                        rig.daemon.kill()
                    }
                    try? await rig.apply(client, many, mounts)
                    await killer.value
                }
                rig.daemon.kill()
                try rig.daemon.start()
                try await rig.connected { client in
                    // Where it was answered before the kill, it is there; else the snapshot is empty.
                    if try await client.list()[key] != nil {
                        let mounted = try MountedSnapshot(try await client.mounts(key), at: rig.place.path + "/m")
                        let count = try TreeSnapshot(mounted.path).paths.count
                        #expect(count == 0 || count == 4050, "\(count)")
                        try mounted.unmount()
                        try await client.remove(key)
                    }
                    try await client.cleanup()
                }
                #expect(directoryNames(rig.snapshots) == [])
                #expect(try rig.daemon.layerMounts() == [])
            }
        }
        try rig.daemon.stop()
    }

    @Test func `check knows packed layers, and makes an index again`() async throws {
        let rig = try Rig(Self.packing)
        try await rig.run { client in
            try await rig.unpack(client, Self.base, as: "base")
            try await rig.unpack(client, Self.top, as: "top", on: "base")
        }
        try rig.daemon.unmountLayers()
        #expect(try rig.check().status == 0)
        let index = rig.snapshots + "/1/packed/layer.erofs"
        let whole = try readFile(index)
        var damaged = whole
        damaged[whole.count - 100] ^= 1
        try writeFile(index, damaged)
        let found = try rig.check()
        #expect(found.status == 65 && found.lines.count == 1 && found.lines[0].contains("\"base\""), "\(found)")
        #expect(try readFile(index) == damaged)
        let mended = try rig.check("--repair")
        #expect(mended.status == 0 && mended.lines.count == 1 && mended.lines[0].hasSuffix("(mended)"), "\(mended)")
        #expect(try readFile(index) == whole)
        // A tar of another length nobody can make again, and it is never mounted.
        let tar = rig.snapshots + "/2/packed/layer.tar"
        try writeFile(tar, Array(Self.top.dropLast(512)))
        let short = try rig.check("--repair")
        #expect(short.status == 65 && short.lines.count == 1 && short.lines[0].contains("\"top\""), "\(short)")
        try rig.daemon.start()
        try await rig.run { client in
            let refused = try await failure { try await client.prepare("c", "top") }
            #expect(refused?.message.contains("layer.tar") == true, "\(refused?.message ?? "none")")
            #expect(try await rig.tree(client, "base")["gone"]?.text == "g")
            try await rig.finish(client)
        }
    }

    @Test func `a tar that was changed is not written as the layer`() async throws {
        let rig = try Rig(Self.packing)
        try await rig.run { client in
            try await rig.unpack(client, Self.base, as: "base")
            var bytes = Self.base
            bytes[600] ^= 1
            try shell("chattr -i packed 2>/dev/null || :", in: rig.snapshots + "/1")
            try writeFile(rig.snapshots + "/1/packed/layer.tar", bytes)
            let refused = try await failure { try await rig.diff(client, "base", on: "") }
            #expect(refused?.message.contains("another digest") == true, "\(refused?.message ?? "none")")
            for key in ["left", "right"] { try await client.remove(key) }
            try await rig.finish(client)
        }
    }

    @Test func `ids that are mapped and packed layers exclude each other`() async throws {
        let rig = try Rig("[snapshot]\nremap_ids = true\n")
        try await rig.run { client in
            let refused = try await failure { try await client.prepare("k") }
            #expect(refused?.code == .unavailable && refused?.message.contains("remap_ids") == true)
        }
    }
}
