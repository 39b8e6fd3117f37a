import Foundation
import LayerCompression
import LayerImages
import LayerModel
import LinuxIO
import TestSupport
import Testing

@Suite struct WritingTests {
    private func planned(_ ground: Ground, names: [String] = ["t:1"]) throws -> (PlannedImage, MadeImage) {
        let made = try MadeImage(["one", "two"], gzipped: true)
        // The blobs come from another image, in place.
        let source = try ImageArchive.open(ground.put("source.tar", tar(made.members))).image()
        let layers = try source.layers.map { layer in
            try ImageLayerSource(#require(layer.descriptor), diffID: layer.diffID, blob: layer.present())
        }
        var specification = ImageSpecification()
        specification.created = 1_700_000_000
        specification.platform = Platform(os: "linux", architecture: "amd64")
        specification.environment = ["PATH=/bin", "A=<&>"]
        specification.command = ["sh"]
        specification.labels = [ImageAnnotation("z", "1"), ImageAnnotation("a", "2")]
        specification.exposedPorts = ["80/tcp", "443/tcp"]
        let configuration = specification.bytes(diffIDs: layers.map(\.diffID))
        return (
            try PlannedImage(
                configuration: configuration, platform: specification.platform, layers: layers, names: names), made
        )
    }

    @Test func `a configuration has the bytes that Go would write`() throws {
        var specification = ImageSpecification()
        specification.created = 1_700_000_000
        specification.platform = Platform(os: "linux", architecture: "arm", variant: "v7")
        specification.environment = ["A=<&>"]
        specification.labels = [ImageAnnotation("z", "1"), ImageAnnotation("a", "2")]
        specification.volumes = ["/v"]
        let text = String(decoding: specification.bytes(diffIDs: [digest([])]), as: UTF8.self)
        #expect(
            text
                == #"{"created":"2023-11-14T22:13:20Z","architecture":"arm","os":"linux","variant":"v7","config":{"Env":["A=\u003c\u0026\u003e"],"Volumes":{"/v":{}},"Labels":{"a":"2","z":"1"}},"rootfs":{"type":"layers","diff_ids":["\#(digest([]))"]},"history":[{"created":"2023-11-14T22:13:20Z","created_by":"ldiff"}]}"#
        )
    }

    @Test(arguments: [0, -1, 951_782_399, 951_782_400, 253_402_300_799, -62_135_596_800, 4_107_542_400])
    func `times are those of the calendar`(seconds: Int64) throws {
        var specification = ImageSpecification()
        specification.created = seconds
        let text = String(decoding: specification.bytes(diffIDs: []), as: UTF8.self)
        let formatter = ISO8601DateFormatter()
        let found = try #require(text.split(separator: "\"").dropFirst(3).first)
        #expect(formatter.date(from: String(found)).map { Int64($0.timeIntervalSince1970) } == seconds || seconds < 0)
        if seconds == -1 { #expect(found == "1969-12-31T23:59:59Z") }
        if seconds == -62_135_596_800 { #expect(found == "0001-01-01T00:00:00Z") }
    }

    @Test func `an archive is a layout and a docker archive, the same each time`() throws {
        let ground = try Ground()
        let (image, made) = try planned(ground)
        var first = MemorySink()
        try image.writeArchive(to: &first)
        var second = MemorySink()
        try planned(ground).0.writeArchive(to: &second)
        #expect(first.bytes == second.bytes)
        let archive = try ImageArchive.open(ground.put("a.tar", first.bytes))
        #expect(archive.layout == .oci)
        let read = try archive.image(ImageSelection(reference: "t:1"))
        #expect(read.id == image.id && read.manifestDigest == image.manifestDigest)
        #expect(read.names == ["docker.io/library/t:1", "1"])
        for layer in read.layers { try layer.verify() }
        // Docker's own way into it.
        let members = try MadeImage().saved
        #expect(members.contains { $0.name == "manifest.json" })
        let saved = try JSONSerialization.jsonObject(with: Data(image.savedManifest)) as? [[String: Any]]
        #expect(saved?[0]["RepoTags"] as? [String] == ["t:1"])
        #expect(saved?[0]["Layers"] as? [String] == made.blobs.map { "blobs/sha256/" + digest($0).hexadecimal })
    }

    @Test func `a layout takes images one after the other, and names move`() throws {
        let ground = try Ground()
        let layout = PathBytes(ground.path + "/layout")
        let (image, _) = try planned(ground)
        try image.writeLayout(to: layout)
        try image.writeLayout(to: layout)
        let (other, _) = try planned(ground, names: ["t:1", "u:2"])
        try other.writeLayout(to: layout)
        let archive = try ImageArchive.open(layout)
        #expect(try archive.image(ImageSelection(reference: "u:2")).id == image.id)
        #expect(archive.candidates.filter { $0.names.contains("docker.io/library/t:1") }.count == 1)
        for layer in try archive.image(ImageSelection(reference: "t:1")).layers { try layer.verify() }
        let left = try FileManager.default.contentsOfDirectory(atPath: ground.path + "/layout/blobs/sha256")
        #expect(!left.contains { $0.hasPrefix(".") } && left.count == 4)
    }

    @Test(arguments: [
        ("oci-layout", "mine"), ("oci-layout", #"{"imageLayoutVersion":"2.0.0"}"#), ("index.json", "mine"),
        ("index.json", #"{"schemaVersion":2,"manifests":7}"#), ("index.json", ""),
    ])
    func `what others keep under a layout's names is no layout, and nothing is written beside it`(
        name: String, text: String
    ) throws {
        let (ground, place) = (try Ground(), try TemporaryDirectory())
        try writeFile(place.path + "/" + name, Array(text.utf8))
        let before = try TreeSnapshot(place.path)
        let (image, _) = try planned(ground)
        #expect(throws: LayerError.self) { try image.writeLayout(to: PathBytes(place.path)) }
        #expect(try TreeSnapshot(place.path) == before)
    }

    @Test func `a blob that is there and wrong is written anew`() throws {
        let ground = try Ground()
        let layout = PathBytes(ground.path + "/layout")
        let (image, made) = try planned(ground)
        try image.writeLayout(to: layout)
        _ = try ground.put("layout/blobs/sha256/" + digest(made.blobs[0]).hexadecimal, [1, 2, 3])
        try image.writeLayout(to: layout)
        for layer in try ImageArchive.open(layout).image().layers { try layer.verify() }
    }

    @Test func `a layer that is not what it is said to be is not written`() throws {
        let ground = try Ground()
        let (image, _) = try planned(ground)
        var layers = image.layers
        layers[0].descriptor.digest = layers[1].descriptor.digest
        layers[0].descriptor.size = Int64(layers[0].blob?.byteCount ?? 0)
        let wrong = try PlannedImage(
            configuration: image.configuration, platform: Platform(os: "linux", architecture: "amd64"), layers: layers)
        var sink = MemorySink()
        let first = failure { try wrong.writeArchive(to: &sink) }
        let second = failure { try wrong.writeLayout(to: PathBytes(ground.path + "/layout")) }
        #expect(first?.code == .digestMismatch && second?.code == .digestMismatch)
        #expect(!FileManager.default.fileExists(atPath: ground.path + "/layout/index.json"))
    }
}
