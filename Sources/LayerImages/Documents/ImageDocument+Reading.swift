import LayerCompression
import LayerModel
import PlainJSON

extension ImageDocuments {
    /// What a document says it is, before anybody takes it for something else.
    enum Document {
        case index(ImageIndex)
        case manifest(ImageManifest)
    }

    /// Reads a list or a manifest, whichever it is; `expected` is what pointed to it says that it is.
    ///
    /// A document that could be read as both is refused, and one that contradicts what pointed to it.
    static func document(_ bytes: [UInt8], expected: MediaType?) throws(LayerError) -> Document {
        let what = expected.map { $0.isIndex ? "index" : "manifest" } ?? "index"
        var parts = try reading(what, bytes) { (reader) throws(JSONError) in try Parts(&reader) }
        if let said = parts.mediaType, let expected, said != expected {
            throw ImageFault.malformed(what, "it says that it is \(said), and what points to it \(expected)")
        }
        if parts.schemaVersion == 1 || parts.hasSignedLayers {
            throw ImageFault.unsupported(
                what, "it has Docker's first schema", hint: "push the image anew with any newer Docker")
        }
        guard parts.schemaVersion == 2 else { throw ImageFault.malformed(what, "its schema version is not 2") }
        let looksLikeIndex = parts.manifests != nil
        let looksLikeManifest = parts.configuration != nil || parts.layers != nil
        let kind = parts.mediaType ?? expected
        if let kind, !kind.isIndex, !kind.isManifest { throw ImageFault.unsupported(what, "it is of the type \(kind)") }
        let isIndex = kind.map(\.isIndex) ?? looksLikeIndex
        if isIndex ? looksLikeManifest : looksLikeIndex && parts.manifests?.isEmpty == false {
            throw ImageFault.malformed(what, "it is an index and a manifest at once")
        }
        if isIndex {
            var index = ImageIndex()
            index.mediaType = parts.mediaType
            index.manifests = parts.manifests ?? []
            index.annotations = parts.annotations
            guard index.manifests.count <= 10_000 else {
                throw LayerError(.limitExceeded, "read the index", cause: .reason("it has more than 10000 entries"))
            }
            return .index(index)
        }
        guard let configuration = parts.configuration.take() else {
            throw ImageFault.malformed(what, "it names no configuration")
        }
        var manifest = ImageManifest(configuration: configuration)
        manifest.mediaType = parts.mediaType
        manifest.layers = parts.layers ?? []
        manifest.annotations = parts.annotations
        return .manifest(manifest)
    }

    private struct Parts {
        var schemaVersion: Int64 = 0
        var mediaType: MediaType?
        var manifests: [ImageDescriptor]?
        var configuration: ImageDescriptor?
        var layers: [ImageDescriptor]?
        var annotations: [ImageAnnotation] = []
        var hasSignedLayers = false

        init(_ reader: inout JSONReader) throws(JSONError) {
            try reader.beginObject()
            while try reader.nextMember() {
                if try reader.takeNull() { continue }
                if reader.isMember("schemaVersion") {
                    schemaVersion = try reader.int64()
                } else if reader.isMember("mediaType") {
                    let text = try reader.string().string
                    mediaType = text.isEmpty ? nil : MediaType(text)
                } else if reader.isMember("manifests") {
                    manifests = try ImageDocuments.descriptors(&reader)
                } else if reader.isMember("config") {
                    configuration = try ImageDocuments.descriptor(&reader)
                } else if reader.isMember("layers") {
                    layers = try ImageDocuments.descriptors(&reader)
                } else if reader.isMember("annotations") {
                    annotations = try ImageDocuments.annotations(&reader)
                } else {
                    if reader.isMember("fsLayers") { hasSignedLayers = true }
                    try reader.skip()
                }
            }
        }
    }

    // MARK: Configurations

    static func configuration(_ bytes: [UInt8]) throws(LayerError) -> ImageConfiguration {
        let parts = try reading("configuration", bytes) { (reader) throws(JSONError) in try Configuration(&reader) }
        guard let root = parts.root else { throw ImageFault.malformed("configuration", "it has no rootfs") }
        guard root.type == "layers" else {
            throw ImageFault.malformed(
                "configuration", "its rootfs is of the type \"\(escapedText(Array(root.type.utf8)))\"")
        }
        return ImageConfiguration(
            bytes: bytes, platform: parts.platform, diffIDs: root.diffIDs, layersInHistory: parts.layersInHistory,
            created: parts.created)
    }

    private struct Root {
        var type = ""
        var diffIDs: [Digest] = []
    }

    private struct Configuration {
        var platform = Platform(os: "", architecture: "")
        var root: Root?
        var layersInHistory: Int?
        var created: String?

        init(_ reader: inout JSONReader) throws(JSONError) {
            try reader.beginObject()
            while try reader.nextMember() {
                if try reader.takeNull() { continue }
                if try platform.take(&reader) { continue }
                if reader.isMember("created") {
                    created = try reader.string().string
                } else if reader.isMember("rootfs") {
                    root = try Self.root(&reader)
                } else if reader.isMember("history") {
                    layersInHistory = try Self.layersInHistory(&reader)
                } else {
                    try reader.skip()
                }
            }
        }

        private static func root(_ reader: inout JSONReader) throws(JSONError) -> Root {
            var root = Root()
            try reader.beginObject()
            while try reader.nextMember() {
                if try reader.takeNull() { continue }
                if reader.isMember("type") {
                    root.type = try reader.string().string
                } else if reader.isMember("diff_ids") {
                    try reader.beginArray()
                    while try reader.nextElement() { root.diffIDs.append(try ImageDocuments.digest(&reader)) }
                } else {
                    try reader.skip()
                }
            }
            return root
        }

        private static func layersInHistory(_ reader: inout JSONReader) throws(JSONError) -> Int {
            var count = 0
            try reader.beginArray()
            while try reader.nextElement() {
                var isEmpty = false
                try reader.beginObject()
                while try reader.nextMember() {
                    if reader.isMember("empty_layer"), try reader.kind() == .bool {
                        isEmpty = try reader.bool()
                    } else {
                        try reader.skip()
                    }
                }
                if !isEmpty { count += 1 }
            }
            return count
        }
    }

    // MARK: Docker's archives

    /// One image of `manifest.json`.
    struct SavedImage {
        var configuration = ""
        var tags: [String] = []
        var layers: [String] = []
    }

    static func savedImages(_ bytes: [UInt8]) throws(LayerError) -> [SavedImage] {
        try reading("manifest.json", bytes) { (reader) throws(JSONError) in
            var images: [SavedImage] = []
            try reader.beginArray()
            while try reader.nextElement() {
                var image = SavedImage()
                try reader.beginObject()
                while try reader.nextMember() {
                    if try reader.takeNull() { continue }
                    if reader.isMember("Config") {
                        image.configuration = try reader.string().string
                    } else if reader.isMember("RepoTags") {
                        image.tags = try reader.strings()
                    } else if reader.isMember("Layers") {
                        image.layers = try reader.strings()
                    } else {
                        try reader.skip()
                    }
                }
                images.append(image)
            }
            return images
        }
    }

    /// The version that `oci-layout` says.
    static func layoutVersion(_ bytes: [UInt8]) throws(LayerError) -> String {
        try reading("oci-layout", bytes) { (reader) throws(JSONError) in
            var version: String?
            try reader.beginObject()
            while try reader.nextMember() {
                if reader.isMember("imageLayoutVersion") {
                    version = try reader.string().string
                } else {
                    try reader.skip()
                }
            }
            guard let version else { throw reader.error(.endOfText) }
            return version
        }
    }
}
