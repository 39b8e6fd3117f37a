import Foundation
import Glibc
import LayerCompression
import LayerDrivers
import LayerEngine
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO
import TestSupport
import Testing

/// Images that other programs load, and that they wrote.
@Suite(.serialized) struct PeerTests {
    /// A tree, and images of it in two layers: the second deletes, replaces and adds.
    private final class Ground {
        let scratch: TemporaryDirectory
        var path: String { scratch.path }
        var tree: String { path + "/upper" }

        init() throws {
            scratch = try TemporaryDirectory()
            let (lower, upper) = (try scratch.directory("lower"), try scratch.directory("upper"))
            let first: [TarPiece] = [
                D("d"), F("d/f", "one"), H("d/hard", "d/f"), S("d/sym", "f"), D("gone"), F("gone/x"),
                F("set", "s", 0o4755).ids(12, 34), F("noted", "n").xattr("user.note", "v"),
                F("big", bytes: [UInt8](repeating: 7, count: 300_000)),
            ]
            let second: [TarPiece] = [W(".wh.gone"), F("d/f", "two"), F("new", "n")]
            for (path, layers) in [(lower, [first]), (upper, [first, second])] {
                for pieces in layers {
                    var source = MemorySource(Tar.archive(pieces))
                    _ = try ApplyEngine.apply(&source, root: openPath(path), options: ApplyOptions())
                }
            }
        }

        func pack(_ compression: LayerFormat, isDocker: Bool = false, layout: Bool = false) throws -> PackedImage {
            var options = ImagePackOptions()
            options.compression = compression
            options.isDocker = isDocker
            options.names = ["peer:1"]
            options.change.command = ["/d/f"]
            options.scratch = PathBytes(path)
            var second = SourceOptions(upper: PathBytes(tree))
            second.lowers = [PathBytes(path + "/lower")]
            let sources = [PackSource.tree(SourceOptions(upper: PathBytes(path + "/lower"))), .tree(second)]
            if layout {
                return try ImagePack.write(
                    sources, on: nil, to: ImageLayoutOutput(PathBytes(path + "/layout")), options: options)
            }
            return try ImageFile.write(to: .file(at: PathBytes(path + "/image.tar")), options) {
                (output, options) throws(LayerError) in
                try ImagePack.write(sources, on: nil, to: output, options: options)
            }
        }

        /// What an archive or layout that somebody wrote unpacks to must be the tree.
        func check(_ name: String, id: Digest? = nil) throws {
            let image = try ImageArchive.open(PathBytes(path + "/" + name)).image()
            if let id { #expect(image.id == id, "\(name)") }
            let root = path + "/root"
            _ = try ImageUnpack.unpack(image, to: PathBytes(root))
            let differences = try TreeSnapshot(root, ignoring: [.root, .directoryTimes]).differences(
                from: TreeSnapshot(tree, ignoring: [.root, .directoryTimes]))
            #expect(differences == [], "\(name): \(differences.joined(separator: "\n"))")
            try TreeRemoval.remove(PathBytes(root))
        }
    }

    @Test(arguments: DockerRelease.allCases, [(LayerFormat.gzip, false), (.gzip, true), (.none, false), (.none, true)])
    func `docker loads what is packed, and what it saves is read`(release: DockerRelease, form: (LayerFormat, Bool))
        throws
    {
        let (compression, isDocker) = form
        let ground = try Ground()
        let docker = try DockerDaemon(in: ground.scratch.directory("docker"), release: release, driver: "overlay2")
        let packed = try ground.pack(compression, isDocker: isDocker)
        try docker("load", "--input", ground.path + "/image.tar")
        let id = try docker("image", "inspect", "--format", "{{.Id}}", "peer:1").output
        #expect(String(decoding: id, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines) == "\(packed.id)")
        try docker("save", "--output", ground.path + "/saved.tar", "peer:1")
        try ground.check("saved.tar", id: packed.id)
        try docker.stop()
    }

    @Test(arguments: DockerRelease.allCases)
    func `docker has what is registered without loading it`(release: DockerRelease) throws {
        let ground = try Ground()
        let directory = try ground.scratch.directory("docker")
        // A store that has another image already.
        let first = try DockerDaemon(in: directory, release: release, driver: "overlay2")
        let home = PathBytes(first.dataRoot + "/overlay2")
        _ = try ground.pack(.none)
        let image = try ImageArchive.open(PathBytes(ground.path + "/image.tar")).image()
        let driver = try DriverRegistry.open(.overlay2, DriverConfiguration(home: home))
        func register() throws {
            let records = try DockerRegister(image, in: driver, names: ["peer:1", "1"], options: ImageUnpackOptions())
            _ = try ImageUnpack.unpack(image, into: driver)
            try records.run()
        }
        #expect(failure { try register() }?.code == .inUse)
        #expect(try driver.layers().isEmpty)
        try first.stop()
        try register()
        try register()
        let docker = try DockerDaemon(in: directory, release: release, driver: "overlay2")
        let id = try docker("image", "inspect", "--format", "{{.Id}}", "peer:1").output
        #expect(String(decoding: id, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines) == "\(image.id)")
        // It rebuilds the layers from what was written for that.
        try docker("save", "--output", ground.path + "/saved.tar", "peer:1")
        try ground.check("saved.tar", id: image.id)
        try docker("create", "--name", "one", "peer:1")
        try docker("rm", "one")
        try docker("rmi", "peer:1")
        try docker.stop()
        #expect(try driver.layers().isEmpty)
    }

    @Test(arguments: [ContainerdRelease.installed, .trixie, .sid], [LayerFormat.gzip, .zstd])
    func `ctr imports what is packed, and what it exports is read`(
        release: ContainerdRelease, compression: LayerFormat
    ) throws {
        let ground = try Ground()
        let containerd = try ContainerdDaemon(in: ground.scratch.directory("containerd"), release: release)
        let packed = try ground.pack(compression)
        try containerd("images", "import", ground.path + "/image.tar")
        let list = String(decoding: try containerd("images", "list").output, as: UTF8.self)
        #expect(list.contains("docker.io/library/peer:1") && list.contains("\(packed.manifestDigest)"), "\(list)")
        try containerd("images", "export", ground.path + "/exported.tar", "docker.io/library/peer:1")
        try ground.check("exported.tar", id: packed.id)
        try containerd.stop()
    }

    @Test(arguments: [LayerFormat.gzip, .zstd, .none])
    func `skopeo, umoci and podman take what is packed`(compression: LayerFormat) throws {
        let ground = try Ground()
        let packed = try ground.pack(compression)
        let again = try ground.pack(compression, layout: true)
        #expect(packed.id == again.id && packed.manifestDigest == again.manifestDigest)
        // skopeo 1.9 sees no zstd in docker's archives, nor does umoci 0.4 anywhere.
        let sources =
            ["oci-archive:image.tar", "oci:layout:1"] + (compression == .zstd ? [] : ["docker-archive:image.tar"])
        for (number, source) in sources.enumerated() {
            let inspected = try ImageTools.run(
                "skopeo", ["inspect", "--config", "--raw", source], in: ground.path)
            #expect(Digest.of(Array(inspected.utf8).rawBytes) == packed.id, "\(source)")
            try ImageTools.run(
                "skopeo", ["copy", "--quiet", source, "oci-archive:copy\(number).tar:x:1"], in: ground.path)
            try ground.check("copy\(number).tar", id: source.hasPrefix("docker") ? nil : packed.id)
        }
        try ImageTools.run("podman", ["load", "--quiet", "--input", "image.tar"], in: ground.path)
        let ids = try ImageTools.run("podman", ["images", "--no-trunc", "--quiet"], in: ground.path)
        #expect(ids.contains("\(packed.id)"), "\(ids)")
        // Nor does podman 4.3 write it into docker's archives.
        for format in ["oci-archive"] + (compression == .zstd ? [] : ["docker-archive"]) {
            try ImageTools.run(
                "podman", ["save", "--quiet", "--format", format, "--output", format + ".tar", "peer:1"],
                in: ground.path)
            try ground.check(format + ".tar")
        }
        guard compression != .zstd else { return }
        try ImageTools.run("umoci", ["unpack", "--image", "layout:1", "bundle"], in: ground.path)
        let differences = try TreeSnapshot(ground.path + "/bundle/rootfs", ignoring: [.root, .directoryTimes])
            .differences(from: TreeSnapshot(ground.tree, ignoring: [.root, .directoryTimes]))
        #expect(differences == [], "\(differences.joined(separator: "\n"))")
        // And what it packs anew is read.
        try writeFile(ground.path + "/bundle/rootfs/added", Array("by umoci".utf8))
        try ImageTools.run("umoci", ["repack", "--image", "layout:2", "bundle"], in: ground.path)
        let repacked = try ImageArchive.open(PathBytes(ground.path + "/layout")).image(ImageSelection(reference: "2"))
        _ = try ImageUnpack.unpack(repacked, to: PathBytes(ground.path + "/repacked"))
        #expect(try readFile(ground.path + "/repacked/added") == Array("by umoci".utf8))
    }
}
