import Foundation
import LayerDrivers
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO
import TestSupport
import Testing

/// Layers that nobody made for a test: the archives of more than fifty of Debian's packages, as dpkg-deb wrote them.
@Suite(.serialized) struct RealLayerTests {
    /// The archives by the names of their packages. Fetches them the first time.
    private static func layers() throws -> [(name: String, tar: [UInt8])] {
        let folder = try FetchedFolder.path("fetch-layers")
        let names = directoryNames(folder).filter { $0.hasSuffix(".tar") }.sorted()
        try #require(names.count >= 50, "layers of \(folder)")
        return try names.map { ($0, try readFile("\(folder)/\($0)")) }
    }

    /// An archive of an image of all of them, as old Dockers save one.
    private static func image(in directory: TemporaryDirectory) throws -> (image: MadeImage, path: String) {
        let image = try MadeImage(tars: layers().map(\.tar), gzipped: false)
        let path = directory.path + "/image.tar"
        try writeFile(path, try tar(image.saved))
        return (image, path)
    }

    /// The layers of an archive that docker saved, in their order.
    private static func saved(_ path: String, in directory: String) throws -> [Digest] {
        _ = try runProgram(["/bin/mkdir", directory])
        let unpacked = try runProgram(["/bin/tar", "-xf", path, "-C", directory])
        try #require(unpacked.status == 0, "\(unpacked.errors)")
        let list = try JSONSerialization.jsonObject(with: Data(try readFile(directory + "/manifest.json")))
        let layers = try #require((list as? [[String: Any]])?.first?["Layers"] as? [String])
        return try layers.map { digest(try readFile("\(directory)/\($0)")) }
    }

    @Test func `what Docker keeps of fifty layers is put together to the byte`() throws {
        let directory = try TemporaryDirectory()
        let (image, path) = try Self.image(in: directory)
        let docker = try DockerDaemon(in: directory.directory("docker"), driver: "overlay2")
        try docker("load", "--input", path)
        try docker.stop()
        let records = docker.dataRoot + "/image/overlay2/layerdb/sha256"
        var found: Set<Digest> = []
        for name in directoryNames(records) {
            let record = "\(records)/\(name)"
            let place = String(decoding: try readFile(record + "/cache-id"), as: UTF8.self)
            let (expected, output) = (String(decoding: try readFile(record + "/diff"), as: UTF8.self), path + ".again")
            _ = try LayerAssembly.assemble(
                .file(PathBytes(record + "/tar-split.json.gz")),
                root: PathBytes("\(docker.dataRoot)/overlay2/\(place)/diff"),
                to: OutputFile.file(at: PathBytes(output), mode: 0o600))
            let again = digest(try readFile(output))
            #expect("\(again)" == expected)
            found.insert(again)
        }
        #expect(found == Set(image.layers.map(digest)))
    }

    @Test func `what ldiff keeps of fifty layers Docker puts together to the byte`() throws {
        let directory = try TemporaryDirectory()
        let (image, path) = try Self.image(in: directory)
        let root = try directory.directory("docker")
        // A root that Docker made.
        let first = try DockerDaemon(in: root, driver: "overlay2")
        try first.stop()
        let opened = try ImageArchive.open(PathBytes(path)).image()
        let driver = try DriverRegistry.open(
            .overlay2, DriverConfiguration(home: PathBytes(first.dataRoot + "/overlay2")))
        func register() throws {
            // Keeps dockerd from starting as long as it lives.
            let records = try DockerRegister(opened, in: driver, names: ["t:1"], options: ImageUnpackOptions())
            _ = try ImageUnpack.unpack(opened, into: driver)
            try records.run()
        }
        try register()
        let docker = try DockerDaemon(in: root, driver: "overlay2")
        // It compares each layer with its digest.
        try docker("save", "--output", directory.path + "/saved.tar", "t:1")
        #expect(
            try Self.saved(directory.path + "/saved.tar", in: directory.path + "/saved") == image.layers.map(digest))
        try docker.stop()
    }
}
