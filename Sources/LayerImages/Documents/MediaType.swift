package import LayerCompression

/// The type of something that an image is made of.
package struct MediaType: Sendable, Equatable, Hashable, CustomStringConvertible {
    package let name: String

    package init(_ name: String) { self.name = name }

    package var description: String { name }

    private static let oci = "application/vnd.oci.image."
    private static let docker = "application/vnd.docker."

    package static let index = MediaType(oci + "index.v1+json")
    package static let manifest = MediaType(oci + "manifest.v1+json")
    package static let configuration = MediaType(oci + "config.v1+json")
    package static let layer = MediaType(oci + "layer.v1.tar")
    package static let gzipLayer = MediaType(oci + "layer.v1.tar+gzip")
    package static let zstdLayer = MediaType(oci + "layer.v1.tar+zstd")
    package static let dockerList = MediaType(docker + "distribution.manifest.list.v2+json")
    package static let dockerManifest = MediaType(docker + "distribution.manifest.v2+json")
    package static let dockerConfiguration = MediaType(docker + "container.image.v1+json")
    package static let dockerLayer = MediaType(docker + "image.rootfs.diff.tar")
    package static let dockerGzipLayer = MediaType(docker + "image.rootfs.diff.tar.gzip")

    package var isIndex: Bool { self == .index || self == .dockerList }
    package var isManifest: Bool { self == .manifest || self == .dockerManifest }
    package var isConfiguration: Bool { self == .configuration || self == .dockerConfiguration }
    package var isDocker: Bool { name.hasPrefix(Self.docker) }

    /// What a layer of this type is said to be compressed with; nil for what is no layer that can be unpacked.
    package var layerFormat: LayerFormat? {
        for prefix in [Self.oci + "layer.v1.tar", Self.oci + "layer.nondistributable.v1.tar"] {
            guard name.hasPrefix(prefix) else { continue }
            return Self.format(name.dropFirst(prefix.count), separator: "+")
        }
        for prefix in [Self.docker + "image.rootfs.diff.tar", Self.docker + "image.rootfs.foreign.diff.tar"] {
            guard name.hasPrefix(prefix) else { continue }
            return Self.format(name.dropFirst(prefix.count), separator: ".")
        }
        return nil
    }

    /// Whether the layer may lie elsewhere only.
    package var isForeign: Bool { name.contains(".nondistributable.") || name.contains(".foreign.") }

    /// Whether it belongs to an image's attestations and is no part of its files.
    package var isAttestation: Bool { name == "application/vnd.in-toto+json" }

    /// The same layer in Docker's words or in OCI's; what is no layer stays.
    package func layer(inDockerWords isDocker: Bool) -> MediaType {
        guard let format = layerFormat, self.isDocker != isDocker else { return self }
        let suffix = format == LayerFormat.none ? "" : (isDocker ? "." : "+") + format.name
        guard isDocker else {
            return MediaType(Self.oci + (isForeign ? "layer.nondistributable.v1.tar" : "layer.v1.tar") + suffix)
        }
        return MediaType(Self.docker + (isForeign ? "image.rootfs.foreign.diff.tar" : "image.rootfs.diff.tar") + suffix)
    }

    private static func format(_ suffix: Substring, separator: String) -> LayerFormat? {
        switch suffix {
        case "": LayerFormat.none
        case separator + "gzip": .gzip
        case separator + "zstd": .zstd
        default: nil
        }
    }

    /// The type of a layer in that format, in the words of OCI.
    package static func layer(_ format: LayerFormat) -> MediaType? { format.mediaType.map { MediaType($0) } }
}
