import LayerCompression
import LayerFormats

/// The media types of layers: what a differ reads and writes.
struct LayerMediaType: Sendable, Equatable {
    /// How a layer to unpack is compressed.
    enum Reading: Sendable, Equatable {
        /// Not at all, whatever it looks like.
        case plain
        /// Told by its first bytes: of compressed types the suffix says that it is, not how, and Docker's oldest type
        /// says nothing. Labels that do not match occur.
        case sniffed
    }

    /// The type of every answer to Apply: what the layer is once it is uncompressed.
    static let plainTar = "application/vnd.oci.image.layer.v1.tar"

    /// How to read a layer of `mediaType`; nil where that is somebody else's: encrypted, EROFS, unknown.
    static func reading(_ mediaType: String) -> Reading? {
        switch Array(mediaType.utf8) {
        case Array(plainTar.utf8), Array("application/vnd.oci.image.layer.nondistributable.v1.tar".utf8): .plain
        case let type where compressed.contains(type): .sniffed
        default: nil
        }
    }

    private static let compressed: Set<[UInt8]> = {
        let oci = [plainTar, "application/vnd.oci.image.layer.nondistributable.v1.tar"]
        let docker = [
            "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ]
        let types =
            oci.flatMap { [$0 + "+gzip", $0 + "+zstd"] } + docker + docker.flatMap { [$0 + ".gzip", $0 + ".zstd"] }
        return Set(types.map { Array($0.utf8) })
    }()

    /// The label of a request that asks for a layer of which parts can be read alone: such layers have no types of their own.
    static let indexLabel = "io.github.ldiff.compression"

    /// What the labels of a request ask for, where that is a layer in `format`; nil for an ordinary one.
    static func indexed(_ labels: [String: String], _ format: LayerFormat) -> IndexedFormat? {
        guard let wanted = labels[indexLabel].flatMap(IndexedFormat.init), wanted.plain == format else { return nil }
        return wanted
    }

    /// What a layer is written as; nil where that is not ours.
    ///
    /// Nothing asked for means gzip: Docker gives the result of `docker commit` that type without looking.
    static func writing(_ mediaType: String) -> (format: LayerFormat, mediaType: String)? {
        let wanted = mediaType.isEmpty ? plainTar + "+gzip" : mediaType
        for format in [LayerFormat.none, .gzip, .zstd] {
            guard let type = format.mediaType, Array(type.utf8) == Array(wanted.utf8) else { continue }
            return (format, type)
        }
        return nil
    }
}
