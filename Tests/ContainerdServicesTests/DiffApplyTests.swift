import ContainerdAPI
import Foundation
import GRPCCore
import Glibc
import LayerModel
import LayerPipeline
import TestSupport
import Testing

@testable import ContainerdServices

/// Diff.Apply through the socket, with the content store as files or through its API.
@Suite(.serialized, .timeLimit(.minutes(2))) struct DiffApplyTests {
    private static let pieces = [
        D("d/", 0o750), F("d/file", "text", 0o4755).ids(12, 34), S("link", "d/file"), H("hard", "d/file"), P("pipe"),
        C("null", 1, 3), F("implied/deep/file", "i"), F("noted", "n").xattr("user.note", "v"),
        F("long/" + String(repeating: "n", count: 200), "l"),
    ]

    @Test(arguments: [
        ("application/vnd.oci.image.layer.v1.tar", "none"), ("application/vnd.oci.image.layer.v1.tar+gzip", "gzip"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "zstd"),
        // Labels that do not match.
        ("application/vnd.oci.image.layer.v1.tar+gzip", "zstd"),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "none"),
        ("application/vnd.docker.image.rootfs.diff.tar", "gzip"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "two members"),
    ])
    func `a layer is unpacked whatever its compression is called`(type: String, compression: String) async throws {
        let rig = try DiffRig()
        // Bytes behind the archive belong to the layer's digest.
        let tar = Tar.archive(Self.pieces) + [UInt8](repeating: 0, count: 5000)
        let blob =
            switch compression {
            case "gzip": try filtered("gzip", "-nc", input: tar)
            case "zstd": try filtered("zstd", "-qc", input: tar)
            case "two members":
                try filtered("gzip", "-nc", input: Array(tar[..<3000]))
                    + filtered("gzip", "-nc", input: Array(tar[3000...]))
            default: tar
            }
        let digest = try rig.addFile(blob)
        let target = try rig.directory.directory("target")
        let expected = try rig.directory.directory("expected")
        try writeFile(rig.path + "/layer.tar", tar)
        _ = try LayerImport.apply(.file(PathBytes(rig.path + "/layer.tar")), to: PathBytes(expected))
        let applied = try await rig.run { try await $0.apply(digest, type, to: bind(target), syncs: true) }
        #expect(applied.mediaType == "application/vnd.oci.image.layer.v1.tar")
        #expect(applied.digest == Digest.of(tar.rawBytes).description && applied.size == tar.count)
        // Parents that are only implied get the present time.
        let ignored: TreeSnapshot.Ignored = [.root, .directoryTimes]
        let (found, wanted) = (
            try TreeSnapshot(target, ignoring: ignored), try TreeSnapshot(expected, ignoring: ignored)
        )
        #expect(found.differences(from: wanted) == [] && found.entries.count == 12)
        #expect(rig.containerd[\.calls] == ["Plugins"])
    }

    @Test func `an upper directory gets markers, and parents as the lower ones have them`() async throws {
        let rig = try DiffRig()
        let (lower, upper) = (try rig.directory.directory("lower"), try rig.directory.directory("upper"))
        _ = try rig.directory.directory("lower/kept", mode: 0o2770)
        try writeFile(lower + "/gone", [])
        try writeFile(lower + "/kept/old", [])
        let digest = try rig.addFile(
            Tar.archive([W(".wh.gone"), F("kept/new", "n"), D("o/"), W("o/.wh..wh..opq"), F("../../outside", "x")]))
        _ = try await rig.run {
            try await $0.apply(digest, to: overlay("lowerdir=\(lower)", "upperdir=\(upper)", "workdir=/nowhere"))
        }
        let tree = try TreeSnapshot(upper)
        #expect(tree.paths == ["gone", "kept/", "kept/new", "o/", "outside"])
        #expect(tree["gone"]?.kind == .characterDevice && tree["gone"]?.major == 0 && tree["gone"]?.minor == 0)
        #expect(tree["kept"]?.mode == 0o2770)
        #expect(tree["o"]?.attributes["trusted.overlay.opaque"] == [UInt8(ascii: "y")])
    }

    @Test func `fuse-overlayfs's upper directory gets its own markers, without any mount`() async throws {
        let rig = try DiffRig()
        let (lower, upper) = (try rig.directory.directory("lower"), try rig.directory.directory("upper"))
        try writeFile(lower + "/gone", [])
        let digest = try rig.addFile(Tar.archive([W(".wh.gone"), F("new", "n").ids(1, 2)]))
        _ = try await rig.run {
            try await $0.apply(
                digest,
                to: overlay(
                    "lowerdir=\(lower)", "upperdir=\(upper)", "workdir=/w", "uidmapping=0:1000:10",
                    type: "fuse3.fuse-overlayfs"))
        }
        #expect(try TreeSnapshot(upper).paths == [".wh.gone", "new"])
        #expect(try TreeSnapshot(upper)["new"]?.uid == 1001)
    }

    @Test func `several mounts are mounted where nobody sees them, and nothing of them stays`() async throws {
        let rig = try DiffRig()
        let (one, two) = (try rig.directory.directory("one"), try rig.directory.directory("two"))
        _ = try rig.directory.directory("one/sub")
        try writeFile(two + "/gone", [])
        let digest = try rig.addFile(Tar.archive([F("top", "t"), F("sub/below", "b"), W("sub/.wh.gone")]))
        let mounts = bind(one) + [MountSpec(type: "bind", source: two, target: "sub", options: ["rw", "rbind"])]
        _ = try await rig.run { try await $0.apply(digest, to: mounts) }
        #expect(try TreeSnapshot(one).paths == ["sub/", "top"])
        #expect(try TreeSnapshot(two).paths == ["below"])
    }

    @Test func `a blob that is no file here is read through the API, from whichever namespace has it`() async throws {
        let rig = try DiffRig()
        let tar = Tar.archive([F("file", String(repeating: "text", count: 1 << 19))])
        let digest = rig.containerd.add(tar, namespace: "other")
        let target = try rig.directory.directory("target")
        rig.containerd[\.root] = nil
        let applied = try await rig.run { try await $0.apply(digest, to: bind(target), namespace: nil) }
        #expect(applied.digest == digest && applied.size == tar.count)
        #expect(rig.containerd[\.calls] == ["Plugins", "Namespaces", "Info", "Info", "Read"])
        // Where the request names a namespace, that one decides.
        let missing = await refusal { _ = try await rig.run { try await $0.apply(digest, to: bind(target)) } }
        #expect(missing?.code == .notFound, "\(missing as Any)")
    }

    @Test func `what is wrong is told by its code, and others are asked only for what is not ours`() async throws {
        let rig = try DiffRig()
        let target = try rig.directory.directory("target")
        let tar = Tar.archive([F("file", String(repeating: "x", count: 9000))])
        let zipped = try filtered("gzip", "-nc", input: tar)
        let good = try rig.addFile(tar)
        let cut = try rig.addFile(Array(zipped.dropLast(20)))
        let garbage = try rig.addFile([UInt8](repeating: 0x41, count: 2000))
        let false1 = "sha256:" + String(repeating: "1", count: 64)
        try writeFile(rig.path + "/content/blobs/sha256/" + String(repeating: "1", count: 64), tar)
        let absent = "sha256:" + String(repeating: "2", count: 64)
        let gzip = DiffClient.tar + "+gzip"
        try await rig.run { client in
            let cases: [(String, String, [MountSpec], RPCError.Code)] = [
                (absent, DiffClient.tar, bind(target), .notFound), (cut, gzip, bind(target), .dataLoss),
                (garbage, DiffClient.tar, bind(target), .dataLoss), (false1, DiffClient.tar, bind(target), .dataLoss),
                (good, DiffClient.tar, bind(target, "ro"), .invalidArgument),
                (good, DiffClient.tar, [], .invalidArgument),
                (good, DiffClient.tar, bind("relative"), .invalidArgument),
                (good, DiffClient.tar, bind(rig.path + "/missing"), .failedPrecondition),
                (good, DiffClient.tar, overlay("lowerdir=/usr"), .invalidArgument),
                ("sha256:xyz", DiffClient.tar, bind(target), .invalidArgument),
                ("../../etc", DiffClient.tar, bind(target), .invalidArgument),
                ("sha512:" + String(repeating: "1", count: 128), DiffClient.tar, bind(target), .unimplemented),
                (good, gzip + "+encrypted", bind(target), .unimplemented),
                (good, "text/plain", bind(target), .unimplemented),
                (good, DiffClient.tar, overlay("lowerdir=/a", type: "format/overlay"), .unimplemented),
                (good, DiffClient.tar, [MountSpec(type: "nosuchfs", source: "x")], .internalError),
            ]
            for (digest, type, mounts, code) in cases {
                let found = await refusal { _ = try await client.apply(digest, type, to: mounts) }
                #expect(found?.code == code, "\(digest) \(type) \(mounts): \(found as Any)")
                #expect(found?.message.contains("failed to apply layer") == true)
            }
        }
    }

    @Test func `without containerd blobs are found where the configuration says, others are unavailable`() async throws
    {
        let rig = try DiffRig()
        let digest = try rig.addFile(Tar.archive([F("file", "f")]))
        let target = try rig.directory.directory("target")
        var options = rig.options()
        options.contentRoot = PathBytes(rig.path + "/content")
        _ = try await rig.runAlone(options) { try await $0.apply(digest, to: bind(target)) }
        #expect(try TreeSnapshot(target).paths == ["file"])
        let absent = "sha256:" + String(repeating: "2", count: 64)
        try await rig.runAlone(options) { client in
            let found = await refusal { _ = try await client.apply(absent, to: bind(target)) }
            #expect(
                found?.code == .unavailable && found?.message.contains(rig.containerdSocket) == true, "\(found as Any)")
            // It comes back: the next call works.
            let tar = Tar.archive([F("later", "l")])
            let later = rig.containerd.add(tar)
            _ = try await rig.containerd.serve(at: rig.containerdSocket) {
                try await client.apply(later, to: bind(target))
            }
        }
        #expect(try TreeSnapshot(target).paths == ["file", "later"])
    }

    @Test func `a client that gives up ends the work`() async throws {
        let rig = try DiffRig()
        let pieces = (0..<30_000).map { F("directory-\($0 % 100)/file-\($0)", "text \($0)") }
        let digest = try rig.addFile(Tar.archive(pieces))
        let target = try rig.directory.directory("target")
        // `run` fails where work goes on after the servers have ended.
        try await rig.run { client in
            let calling = Task { try await client.apply(digest, to: bind(target)) }
            while directoryNames(target).isEmpty { try await Task.sleep(for: .milliseconds(1)) }
            calling.cancel()
            await #expect(throws: (any Error).self) { try await calling.value }
            while rig.bridge.longCount > 0 { try await Task.sleep(for: .milliseconds(1)) }
        }
        let made = (0..<100).map { directoryNames("\(target)/directory-\($0)").count }.reduce(0, +)
        #expect(made < pieces.count, "the work ended before the layer did")
    }
}
