import LayerCompression
package import LayerModel
import PlainJSON

/// What is wrong with an image, and where.
enum ImageFault {
    static func malformed(_ what: String, _ reason: String) -> LayerError {
        LayerError(.corruptLayer, "read the \(what)", cause: .reason(reason))
    }

    static func unsupported(_ what: String, _ reason: String, hint: String? = nil) -> LayerError {
        LayerError(.unsupported, "read the \(what)", cause: .reason(reason), hint: hint)
    }
}

/// Points to a part of an image: what it is, how long, and its digest.
package struct ImageDescriptor: Sendable, Equatable {
    package var mediaType: MediaType
    package var digest: Digest
    package var size: Int64
    package var urls: [String] = []
    /// By their keys' bytes, as they are written: the order in a document says nothing.
    package var annotations: [ImageAnnotation] = []
    package var platform: Platform?
    package var artifactType: String?

    package init(_ mediaType: MediaType, _ digest: Digest, size: Int64) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
    }

    package func annotation(_ key: String) -> String? { annotations.first { $0.key == key }?.value }
}

/// A note on a part of an image.
package struct ImageAnnotation: Sendable, Equatable {
    package var key: String
    package var value: String

    package init(_ key: String, _ value: String) {
        self.key = key
        self.value = value
    }

    package static let referenceName = "org.opencontainers.image.ref.name"
    package static let imageName = "io.containerd.image.name"
    package static let appleImageName = "com.apple.containerization.image.name"
    static let referenceType = "vnd.docker.reference.type"
}

/// A list of manifests, or of lists.
package struct ImageIndex: Sendable, Equatable {
    package var mediaType: MediaType?
    package var manifests: [ImageDescriptor] = []
    package var annotations: [ImageAnnotation] = []

    package init() {}
}

/// What an image is made of.
package struct ImageManifest: Sendable, Equatable {
    package var mediaType: MediaType?
    package var configuration: ImageDescriptor
    package var layers: [ImageDescriptor] = []
    package var annotations: [ImageAnnotation] = []

    package init(configuration: ImageDescriptor) { self.configuration = configuration }
}

/// What a program is told of an image, as far as its files need it; the bytes are kept, for they have the image's id.
package struct ImageConfiguration: Sendable, Equatable {
    /// As they are stored.
    package var bytes: [UInt8]
    package var platform: Platform
    package var diffIDs: [Digest]
    /// Entries of the history that stand for a layer; nil where there is no history.
    package var layersInHistory: Int?
    package var created: String?

    /// The digest of the stored bytes.
    package var id: Digest { Digest.of(bytes.rawBytes) }
}

/// Reads the documents of images. Each is refused as a whole where a rule is broken: names twice, numbers out of range,
/// digests of another form, one document that is two.
enum ImageDocuments {
    /// The most bytes of a document.
    static let longest: Int64 = 4 << 20
    private static let limits = JSONLimits(depth: 64, refusesRepeatedNames: true)

    static func reading<Result>(
        _ what: String, _ bytes: [UInt8], _ body: (inout JSONReader) throws(JSONError) -> Result
    ) throws(LayerError) -> Result {
        do throws(JSONError) {
            var reader = JSONReader(bytes.rawBytes, limits: limits)
            let result = try body(&reader)
            try reader.end()
            return result
        } catch {
            throw LayerError(error, .corruptLayer, "read the \(what)")
        }
    }

    // MARK: Descriptors

    static func descriptor(_ reader: inout JSONReader) throws(JSONError) -> ImageDescriptor {
        var (mediaType, digest, size): (String?, Digest?, Int64?)
        var result = ImageDescriptor(MediaType(""), Digest.of([UInt8]().rawBytes), size: 0)
        try reader.beginObject()
        while try reader.nextMember() {
            if try reader.takeNull() { continue }
            if reader.isMember("mediaType") {
                mediaType = try reader.string().string
            } else if reader.isMember("digest") {
                digest = try Self.digest(&reader)
            } else if reader.isMember("size") {
                size = try reader.int64()
                guard (size ?? 0) >= 0 else { throw reader.error(.outOfRange) }
            } else if reader.isMember("urls") {
                result.urls = try reader.strings()
            } else if reader.isMember("annotations") {
                result.annotations = try annotations(&reader)
            } else if reader.isMember("platform") {
                result.platform = try platform(&reader)
            } else if reader.isMember("artifactType") {
                result.artifactType = try reader.string().string
            } else {
                try reader.skip()
            }
        }
        guard let mediaType, let digest, let size else { throw reader.error(.endOfText) }
        result.mediaType = MediaType(mediaType)
        result.digest = digest
        result.size = size
        return result
    }

    /// A digest of the one kind that is supported.
    static func digest(_ reader: inout JSONReader) throws(JSONError) -> Digest {
        guard let digest = Digest(parsing: try reader.string().string) else { throw reader.error(.wanted(.string)) }
        return digest
    }

    /// Notes by their keys' bytes, in whichever order they stand.
    static func annotations(_ reader: inout JSONReader) throws(JSONError) -> [ImageAnnotation] {
        var result: [ImageAnnotation] = []
        try reader.beginObject()
        while try reader.nextMember() {
            let key = reader.memberName.string
            if try reader.takeNull() { continue }
            result.append(ImageAnnotation(key, try reader.string().string))
        }
        return result.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
    }

    static func platform(_ reader: inout JSONReader) throws(JSONError) -> Platform {
        var platform = Platform(os: "", architecture: "")
        try reader.beginObject()
        while try reader.nextMember() {
            if try reader.takeNull() { continue }
            if try !platform.take(&reader) { try reader.skip() }
        }
        return platform
    }

    static func descriptors(_ reader: inout JSONReader) throws(JSONError) -> [ImageDescriptor] {
        var result: [ImageDescriptor] = []
        try reader.beginArray()
        while try reader.nextElement() { result.append(try descriptor(&reader)) }
        return result
    }
}
