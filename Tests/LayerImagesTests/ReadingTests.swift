import Foundation
import LayerCompression
import LayerImages
import LayerModel
import TarCodec
import Testing

@Suite struct ReadingTests {
    /// Where an image of the same parts may lie.
    enum Way: CaseIterable {
        case layout, layoutArchive, saved, savedTree, savedGzip, dotted
    }

    private func open(_ image: MadeImage, _ way: Way, _ ground: Ground) throws -> ImageArchive {
        switch way {
        case .layout: try ImageArchive.open(ground.put(tree: image.members))
        case .layoutArchive: try ImageArchive.open(ground.put("a.tar", tar(image.members)))
        case .saved: try ImageArchive.open(ground.put("a.tar", tar(image.saved)))
        case .savedTree: try ImageArchive.open(ground.put(tree: image.saved))
        case .savedGzip: try ImageArchive.open(ground.put("a.tar.gz", gzip(tar(image.saved))))
        case .dotted:
            try ImageArchive.open(
                ground.put("a.tar", tar(image.members.reversed().map { Member("./" + $0.name, $0.bytes) })))
        }
    }

    @Test(arguments: Way.allCases, [false, true])
    func `an image reads the same wherever it lies`(way: Way, gzipped: Bool) throws {
        let ground = try Ground()
        var made = try MadeImage(["one", "two", "one"], gzipped: gzipped)
        made.blobs[2] = made.blobs[0]
        let image = try open(made, way, ground).image()
        #expect(image.id == digest(made.configuration))
        #expect(image.layers.map(\.diffID) == made.layers.map { digest($0) })
        #expect(image.warnings.isEmpty)
        var contents: [[UInt8]] = []
        for layer in image.layers {
            var bytes: [UInt8] = []
            try layer.verify { (piece) throws(LayerError) in bytes += piece.copied() }
            contents.append(bytes)
        }
        #expect(contents == made.layers)
        #expect(image.layers[0].chainID == image.layers[0].diffID)
        #expect(image.layers[1].chainID == digest(Array("\(image.layers[0].chainID) \(image.layers[1].diffID)".utf8)))
        #expect(image.manifestDigest == ([.saved, .savedTree, .savedGzip].contains(way) ? nil : digest(made.manifest)))
        if gzipped { #expect(image.layers[0].format == .gzip) }
    }

    @Test(arguments: ["t:1", "docker.io/library/t:1", "1", nil])
    func `an image is found by its name`(name: String?) throws {
        let ground = try Ground()
        let archive = try ImageArchive.open(ground.put("a.tar", tar(MadeImage().members)))
        #expect(try archive.image(ImageSelection(reference: name)).names == ["docker.io/library/t:1"])
    }

    @Test func `among several one must be named, by name or digest`() throws {
        let ground = try Ground()
        let (one, two) = (try MadeImage(["one"]), try MadeImage(["two"]))
        let index = MadeImage.index([one.entry(name: "a:1"), two.entry(name: "quay.io/b:2")])
        let archive = try ImageArchive.open(
            ground.put("a.tar", tar([MadeImage.layout, index] + one.blobMembers + two.blobMembers)))
        #expect(failure { _ = try archive.image() }?.code == .invalidArgument)
        for (name, made) in [
            ("a:1", one), ("quay.io/b:2", two), (digest(two.manifest).description, two),
            (String(digest(one.configuration).hexadecimal.prefix(7)), one), ("2", two),
        ] {
            #expect(try archive.image(ImageSelection(reference: name)).id == digest(made.configuration))
        }
        let missing = failure { _ = try archive.image(ImageSelection(reference: "c:3")) }
        #expect(missing?.code == .notFound && missing?.description.contains("quay.io/b:2") == true)
    }

    @Test func `of several platforms the best is taken`() throws {
        let ground = try Ground()
        let made = try ["amd64", "arm", "386"].map { try MadeImage([$0], architecture: $0) }
        let nested = Array(
            #"{"schemaVersion":2,"manifests":[\#(made.map { $0.entry("linux/\($0.layers[0].isEmpty ? "" : name($0))", name: "") }.joined(separator: ","))]}"#
                .utf8)
        let entry =
            #"{"mediaType":"\#(MediaType.index)","digest":"\#(digest(nested))","size":\#(nested.count),"annotations":{"\#(ImageAnnotation.referenceName)":"latest"}}"#
        let attestation =
            #"{"mediaType":"\#(MediaType.manifest)","digest":"\#(digest([1]))","size":1,"platform":{"os":"unknown","architecture":"unknown"}}"#
        let members =
            [
                MadeImage.layout, MadeImage.index([entry, attestation]),
                Member("blobs/sha256/" + digest(nested).hexadecimal, nested),
            ]
            + made.flatMap(\.blobMembers)
        let archive = try ImageArchive.open(ground.put("a.tar", tar(members)))
        for (platform, index) in [("linux/amd64", 0), ("linux/arm/v7", 1), ("linux/386", 2), ("linux/arm64", 1)] {
            let image = try archive.image(ImageSelection(reference: "latest", platform: Platform(parsing: platform)))
            #expect(image.id == digest(made[index].configuration), "\(platform)")
        }
        let missing = failure { _ = try archive.image(ImageSelection(platform: Platform(parsing: "linux/s390x"))) }
        #expect(missing?.code == .notFound && missing?.description.contains("linux/arm/v7") == true)
        // Only one platform's blobs need be there.
        let part = [
            MadeImage.layout, MadeImage.index([entry]), Member("blobs/sha256/" + digest(nested).hexadecimal, nested),
        ]
        let partial = try ImageArchive.open(ground.put("b.tar", tar(part + made[0].blobMembers)))
        #expect(
            try partial.image(ImageSelection(platform: Platform(parsing: "linux/amd64"))).id
                == digest(made[0].configuration))
        #expect(
            failure { _ = try partial.image(ImageSelection(platform: Platform(parsing: "linux/386"))) }?.code
                == .notFound)
    }

    private func name(_ image: MadeImage) -> String {
        String(decoding: image.configuration, as: UTF8.self).contains("\"386\"")
            ? "386" : String(decoding: image.configuration, as: UTF8.self).contains("\"arm\"") ? "arm" : "amd64"
    }

    @Test func `a lone image of another processor is taken, of another system not`() throws {
        let ground = try Ground()
        let strange = try ImageArchive.open(ground.put("a.tar", tar(MadeImage(architecture: "s390x").members))).image()
        #expect(strange.warnings.count == 1)
        var windows = try MadeImage()
        windows.configuration = Array(
            String(decoding: windows.configuration, as: UTF8.self).replacingOccurrences(of: "linux", with: "windows")
                .utf8)
        let archive = try ImageArchive.open(ground.put("b.tar", tar(windows.members)))
        #expect(failure { _ = try archive.image() }?.code == .unsupported)
    }

    @Test func `wrong labels of layers are told, and do no harm`() throws {
        let ground = try Ground()
        var made = try MadeImage(gzipped: true)
        made.layerType = MediaType.layer.name
        let image = try ImageArchive.open(ground.put("a.tar", tar(made.members))).image()
        #expect(image.warnings.count == 2 && image.layers.allSatisfy { $0.format == .gzip })
        for layer in image.layers { try layer.verify() }
    }

    @Test func `an image without layers is one`() throws {
        let ground = try Ground()
        for way in Way.allCases {
            #expect(try open(MadeImage([]), way, ground).image().layers.isEmpty)
        }
    }
}

/// What is refused, and how.
struct Spoilt: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var code: LayerError.Code
    var members: @Sendable () throws -> [Member]
    /// The fault shows when the layers are read.
    var isInLayers = false

    init(
        _ name: String, _ code: LayerError.Code, inLayers: Bool = false,
        _ members: @escaping @Sendable () throws -> [Member]
    ) {
        testDescription = name
        self.code = code
        isInLayers = inLayers
        self.members = members
    }

    init(_ name: String, _ code: LayerError.Code, manifest change: @escaping @Sendable (String) -> String) {
        self.init(name, code) {
            var image = try MadeImage()
            image.manifestChange = change
            return image.members
        }
    }

    init(_ name: String, _ code: LayerError.Code, configuration change: @escaping @Sendable (String) -> String) {
        self.init(name, code) {
            var image = try MadeImage()
            image.configuration = Array(change(String(decoding: image.configuration, as: UTF8.self)).utf8)
            return image.members
        }
    }

    init(_ name: String, _ code: LayerError.Code, index change: @escaping @Sendable (String) -> String) {
        self.init(name, code) {
            var image = try MadeImage()
            image.indexChange = change
            return image.members
        }
    }
}

private func replacing(_ one: String, _ other: String) -> @Sendable (String) -> String {
    { text in text.replacingOccurrences(of: one, with: other) }
}

@Suite struct BadImageTests {
    static let cases: [Spoilt] = [
        Spoilt("no image at all", .corruptLayer) { [Member("x", "y")] },
        Spoilt("no index", .corruptLayer) { try MadeImage().members.filter { $0.name != "index.json" } },
        Spoilt("an old layout", .unsupported) { [Member("oci-layout", #"{"imageLayoutVersion":"2.0.0"}"#)] },
        Spoilt("only repositories", .unsupported) { [Member("repositories", "{}")] },
        Spoilt("digest of a manifest", .digestMismatch) {
            try MadeImage().members.map {
                $0.name.hasPrefix("blobs") && $0.bytes.starts(with: Array("{\"schema".utf8))
                    ? Member($0.name, $0.bytes.dropLast() + [0x20]) : $0
            }
        },
        Spoilt(
            "length of a manifest", .digestMismatch,
            index: { text in
                text.replacingOccurrences(of: "\"size\":", with: "\"size\":1")
            }),
        Spoilt("manifest missing", .notFound) {
            let image = try MadeImage()
            return image.members.filter { !$0.name.hasSuffix(digest(image.manifest).hexadecimal) }
        },
        Spoilt("configuration missing", .notFound) {
            let image = try MadeImage()
            return image.members.filter { !$0.name.hasSuffix(digest(image.configuration).hexadecimal) }
        },
        Spoilt("layer missing", .notFound, inLayers: true) {
            let image = try MadeImage()
            return image.members.filter { !$0.name.hasSuffix(digest(image.blobs[1]).hexadecimal) }
        },
        Spoilt("layer changed", .digestMismatch, inLayers: true) {
            let image = try MadeImage()
            return image.members.map {
                $0.name.hasSuffix(digest(image.blobs[1]).hexadecimal)
                    ? Member($0.name, image.blobs[1].dropLast() + [1]) : $0
            }
        },
        Spoilt("layer shorter", .digestMismatch) {
            let image = try MadeImage()
            return image.members.map {
                $0.name.hasSuffix(digest(image.blobs[1]).hexadecimal) ? Member($0.name, image.blobs[1].dropLast()) : $0
            }
        },
        Spoilt("DiffID of another layer", .digestMismatch, inLayers: true) {
            var image = try MadeImage()
            image.blobs.swapAt(0, 1)
            return image.members
        },
        Spoilt("DiffID in a saved image", .digestMismatch, inLayers: true) {
            var image = try MadeImage()
            image.blobs.swapAt(0, 1)
            return image.saved
        },
        Spoilt("more DiffIDs than layers", .corruptLayer) {
            var image = try MadeImage()
            image.blobs.removeLast()
            return image.members
        },
        Spoilt("fewer DiffIDs than layers, saved", .corruptLayer) {
            var image = try MadeImage()
            image.blobs.append(image.blobs[0])
            return image.saved
        },
        Spoilt("no rootfs", .corruptLayer, configuration: replacing("rootfs", "rootfz")),
        Spoilt("rootfs of another type", .corruptLayer, configuration: replacing("\"layers\"", "\"trees\"")),
        Spoilt(
            "name twice", .corruptLayer, configuration: replacing("\"config\":{}", "\"config\":{},\"os\":\"linux\"")),
        Spoilt("configuration that is no JSON", .corruptLayer, configuration: { $0 + "}" }),
        Spoilt(
            "deep configuration", .corruptLayer,
            configuration: replacing(
                "\"config\":{}", "\"config\":" + String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
            )),
        Spoilt(
            "manifest that is an index too", .corruptLayer,
            manifest: replacing(
                "\"layers\":[",
                "\"manifests\":[{\"mediaType\":\"x\",\"digest\":\"\(digest([]))\",\"size\":0}],\"layers\":[")),
        Spoilt("manifest of another type", .corruptLayer, manifest: replacing("image.manifest.v1", "image.index.v1")),
        Spoilt("first schema", .unsupported, manifest: replacing("\"schemaVersion\":2", "\"schemaVersion\":1")),
        Spoilt("signed layers", .unsupported, manifest: replacing("\"layers\":[", "\"fsLayers\":[],\"layers\":[")),
        Spoilt("no configuration", .corruptLayer, manifest: replacing("\"config\"", "\"konfig\"")),
        Spoilt("negative length", .corruptLayer, manifest: replacing("\"size\":2048", "\"size\":-1")),
        Spoilt(
            "digest that leads out", .corruptLayer,
            manifest: replacing("\"digest\":\"sha256:", "\"digest\":\"../../sha256:")),
        Spoilt(
            "digest in capitals", .corruptLayer,
            manifest: { text in
                text.replacingOccurrences(of: "sha256:", with: "SHA256:")
            }),
        Spoilt("unknown layer", .unsupported, manifest: replacing(".layer.v1.tar\"", ".layer.v1.squashfs\"")),
        Spoilt(
            "encrypted layer", .unsupported, manifest: replacing(".layer.v1.tar\"", ".layer.v1.tar+gzip+encrypted\"")),
        Spoilt(
            "index that is a manifest too", .corruptLayer,
            index: replacing("\"manifests\":", "\"layers\":[],\"manifests\":")),
        Spoilt("index that differs from its double", .corruptLayer) {
            var image = try MadeImage()
            image.extra = [Member("index.json", #"{"schemaVersion":2,"manifests":[]}"#)]
            return image.members
        },
        Spoilt("links in a circle", .corruptLayer) {
            let id = digest(try MadeImage([]).configuration).hexadecimal
            return [
                Member("manifest.json", #"[{"Config":"\#(id).json","Layers":["a"]}]"#), Member("a", link: "b"),
                Member("b", link: "a"), Member("\(id).json", try MadeImage(["x"]).configuration),
            ]
        },
        Spoilt("link that leads out", .notFound) {
            [Member("manifest.json", #"[{"Config":"c","Layers":[]}]"#), Member("c", link: "../../etc/passwd")]
        },
        Spoilt("path that leads out", .corruptLayer) {
            [Member("manifest.json", #"[{"Config":"../../etc/passwd","Layers":[]}]"#)]
        },
        Spoilt("saved list that is none", .corruptLayer) { [Member("manifest.json", "{}")] },
        Spoilt(
            "document too long", .limitExceeded,
            configuration: { text in
                text.replacingOccurrences(
                    of: "\"config\":{}", with: "\"config\":\"" + String(repeating: "x", count: 5 << 20) + "\"")
            }),
    ]

    @Test(arguments: cases)
    func `bad images are refused in one line`(spoilt: Spoilt) throws {
        let ground = try Ground()
        let members = try spoilt.members()
        let path = try ground.put("a.tar", tar(members))
        let error = failure {
            let image = try ImageArchive.open(path).image()
            #expect(spoilt.isInLayers, "it was read")
            for layer in image.layers { try layer.verify() }
        }
        #expect(error?.code == spoilt.code, "\(error?.description ?? "taken")")
        #expect(error?.description.contains("\n") == false)
    }

    @Test(arguments: cases.filter { !$0.testDescription.contains("double") && !$0.testDescription.contains("link") })
    func `bad trees are refused alike`(spoilt: Spoilt) throws {
        let ground = try Ground()
        let path = try ground.put(tree: spoilt.members())
        let error = failure {
            for layer in try ImageArchive.open(path).image().layers { try layer.verify() }
        }
        #expect(error?.code == spoilt.code, "\(error?.description ?? "taken")")
    }

    @Test func `archives that are cut short are refused, wherever they are cut`() throws {
        let ground = try Ground()
        let image = try MadeImage()
        let bytes = try tar(image.members)
        // Behind the last member only the archive's end is missing, which is allowed.
        for end in stride(from: 256, to: bytes.count - 2048, by: 300) {
            let path = try ground.put("a.tar", Array(bytes[..<end]))
            let error = failure {
                for layer in try ImageArchive.open(path).image().layers { try layer.verify() }
            }
            #expect([.corruptLayer, .notFound].contains(error?.code), "\(end): \(error?.description ?? "taken")")
        }
    }

    @Test func `links out of a tree are refused`() throws {
        let ground = try Ground()
        let path = try ground.put(tree: [
            Member("manifest.json", #"[{"Config":"c","Layers":[]}]"#), Member("c", link: "/etc/passwd"),
        ])
        #expect(failure { _ = try ImageArchive.open(path).image() }?.code == .corruptLayer)
    }
}
