import LayerCompression
package import LayerModel
import PlainJSON
import TarCodec

/// A layer that is to be in an image.
package struct ImageLayerSource: Sendable {
    package var descriptor: ImageDescriptor
    package var diffID: Digest
    /// Where it lies; nil for one that is left out, since who gets the image has it.
    package var blob: ImageBlob?

    package init(_ descriptor: ImageDescriptor, diffID: Digest, blob: ImageBlob?) {
        self.descriptor = descriptor
        self.diffID = diffID
        self.blob = blob
    }
}

/// The documents of an image that is to be written, and what they come to.
package struct PlannedImage: Sendable {
    package let configuration: [UInt8]
    package let manifest: [UInt8]
    package let index: [UInt8]
    /// What Docker reads of an archive that is a layout too.
    package let savedManifest: [UInt8]
    package let layers: [ImageLayerSource]

    /// The image's id.
    package var id: Digest { Digest.of(configuration.rawBytes) }
    package var manifestDigest: Digest { Digest.of(manifest.rawBytes) }

    /// Plans an image of these layers; `configuration` must name their DiffIDs.
    ///
    /// Names with a host or path are written in full for those who want that, and their tag for those who want this.
    package init(
        configuration: [UInt8], platform: Platform, layers: [ImageLayerSource], names: [String] = [],
        annotations: [ImageAnnotation] = [], isDocker: Bool = false
    ) throws(LayerError) {
        self.configuration = configuration
        self.layers = layers
        var config = ImageDescriptor(
            isDocker ? .dockerConfiguration : .configuration, Digest.of(configuration.rawBytes),
            size: Int64(configuration.count))
        config.platform = nil
        var manifest = ImageManifest(configuration: config)
        manifest.mediaType = isDocker ? .dockerManifest : .manifest
        manifest.layers = layers.map(\.descriptor)
        manifest.annotations = annotations
        let bytes = ImageWriting.bytes(manifest)
        self.manifest = bytes
        var entry = ImageDescriptor(
            manifest.mediaType ?? .manifest, Digest.of(bytes.rawBytes), size: Int64(bytes.count))
        entry.platform = platform
        var index = ImageIndex()
        index.mediaType = .index
        var tags: [String] = []
        for name in names.isEmpty ? [""] : names {
            var named = entry
            if !name.isEmpty {
                guard let reference = ImageReference(parsing: name) else {
                    throw LayerError(
                        .invalidArgument, "name the image",
                        cause: .reason("\"\(escapedText(Array(name.utf8)))\" is no name of an image"))
                }
                named.annotations = [
                    ImageAnnotation(ImageAnnotation.imageName, reference.description),
                    ImageAnnotation(ImageAnnotation.referenceName, reference.tag ?? "latest"),
                ]
                tags.append(reference.familiar)
            }
            index.manifests.append(named)
        }
        self.index = ImageWriting.bytes(index)
        savedManifest = Self.savedManifest(config, layers, tags)
    }

    private static func savedManifest(
        _ configuration: ImageDescriptor, _ layers: [ImageLayerSource], _ tags: [String]
    ) -> [UInt8] {
        var json = JSONWriter(.go)
        json.beginArray()
        json.beginObject()
        json.name("Config")
        json.string(ImageFiles.name(configuration.digest))
        json.name("RepoTags")
        if tags.isEmpty { json.null() } else { json.strings(tags) }
        json.name("Layers")
        json.strings(layers.map { ImageFiles.name($0.descriptor.digest) })
        json.endObject()
        json.endArray()
        return json.bytes
    }

    /// The layout's own file.
    static let layout = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)

    /// Writes an archive that is an OCI layout and a docker archive at once, to anything: the same image, the same bytes.
    package func writeArchive<Sink: ByteSink & ~Copyable>(to sink: inout Sink) throws(LayerError) {
        var writer = MemberWriter()
        try writer.write("oci-layout", Self.layout, to: &sink)
        var written: Set<Digest> = []
        for layer in layers where written.insert(layer.descriptor.digest).inserted {
            guard layer.blob != nil else { continue }
            try writer.write(ImageFiles.name(layer.descriptor.digest), layer, to: &sink)
        }
        try writeDocuments(with: &writer, to: &sink)
    }

    /// What comes after the layers, and the archive's end.
    func writeDocuments<Sink: ByteSink & ~Copyable>(
        with writer: inout MemberWriter, to sink: inout Sink
    ) throws(LayerError) {
        try writer.write(ImageFiles.name(id), configuration, to: &sink)
        try writer.write(ImageFiles.name(manifestDigest), manifest, to: &sink)
        try writer.write("index.json", index, to: &sink)
        // Docker would look for all that is named in it.
        if layers.allSatisfy({ $0.blob != nil }) { try writer.write("manifest.json", savedManifest, to: &sink) }
        let end = [UInt8](repeating: 0, count: TarEncoder.trailerByteCount)
        try sink.write(end.rawBytes)
        try sink.finish()
    }
}

/// Writes members that nobody owns and that were never changed.
struct MemberWriter: ~Copyable {
    private var encoder = TarEncoder()
    private static let zeros = [UInt8](repeating: 0, count: 512)

    mutating func write<Sink: ByteSink & ~Copyable>(
        _ name: String, _ bytes: [UInt8], to sink: inout Sink
    ) throws(LayerError) {
        try begin(name, Int64(bytes.count), &sink)
        try sink.write(bytes.rawBytes)
        try end(Int64(bytes.count), &sink)
    }

    /// Writes a layer, whose digest is compared on the way: what left is no image then.
    mutating func write<Sink: ByteSink & ~Copyable>(
        _ name: String, _ layer: ImageLayerSource, to sink: inout Sink
    ) throws(LayerError) {
        guard let blob = layer.blob, blob.byteCount == UInt64(layer.descriptor.size) else {
            throw LayerError(
                .digestMismatch, "write the layer",
                cause: .reason("it has \(layer.blob?.byteCount ?? 0) bytes, not \(layer.descriptor.size)"))
        }
        try begin(name, layer.descriptor.size, &sink)
        var options = LayerReaderOptions()
        options.hashCompressed = true
        var reader = try blob.reader(format: LayerFormat.none, options)
        while let slab = try reader.next() {
            try sink.write(slab.bytes)
            reader.recycle(slab)
        }
        let summary = try reader.finish()
        guard summary.compressedDigest == layer.descriptor.digest else {
            throw LayerError(
                .digestMismatch, "write the layer",
                cause: .reason(
                    "it has the digest \(summary.compressedDigest?.description ?? "-"), not \(layer.descriptor.digest)")
            )
        }
        try end(layer.descriptor.size, &sink)
    }

    private mutating func begin<Sink: ByteSink & ~Copyable>(
        _ name: String, _ size: Int64, _ sink: inout Sink
    ) throws(LayerError) {
        try encode(name, size)
        try sink.write(encoder.blocks)
    }

    /// The header of a member, for a place that was kept for it. Throws `limitExceeded` where that is too small.
    mutating func header(_ name: String, _ size: Int64) throws(LayerError) -> [UInt8] {
        try encode(name, size)
        let blocks = encoder.blocks.copied()
        guard blocks.count == Self.headerByteCount else {
            throw LayerError(
                .limitExceeded, "write the image", cause: .reason("a layer of 8 GiB and more is for a layout"),
                hint: "name a directory, or send the archive to standard output")
        }
        return blocks
    }

    /// Bytes of a header.
    static let headerByteCount = 512

    private mutating func encode(_ name: String, _ size: Int64) throws(LayerError) {
        var fields = TarFields()
        fields.mode = 0o644
        fields.size = size
        let (name, nothing) = (Array(name.utf8), [UInt8]())
        do throws(TarError) {
            try encoder.encode(
                fields, name: name.rawBytes, linkName: nothing.rawBytes, userName: nothing.rawBytes,
                groupName: nothing.rawBytes, format: .pax)
        } catch {
            throw LayerError(.invalidArgument, "write the image", cause: .reason(error.description))
        }
    }

    func end<Sink: ByteSink & ~Copyable>(_ size: Int64, _ sink: inout Sink) throws(LayerError) {
        let padding = TarEncoder.padding(after: size)
        let zeros = Self.zeros
        if padding > 0 { try sink.write(zeros.rawBytes.extracting(0..<padding)) }
    }
}
