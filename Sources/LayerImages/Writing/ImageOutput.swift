import Glibc
package import LayerModel
package import LinuxIO
import TarCodec

/// A layer that was written to the place where it will be.
package struct WrittenLayer: Sendable {
    package var descriptor: ImageDescriptor
    package var diffID: Digest

    package init(_ descriptor: ImageDescriptor, diffID: Digest) {
        self.descriptor = descriptor
        self.diffID = diffID
    }
}

/// Where an image is written. New layers go straight to their places, though their lengths and digests are known only afterwards.
///
/// Layers come from the lowest up; `finish` comes last. Without it there is no image.
package protocol ImageOutput: AnyObject {
    /// Takes a layer as it lies somewhere, if it lies anywhere; its digest is compared.
    func add(_ layer: ImageLayerSource) throws(LayerError)

    /// Takes a layer that `body` writes into a file, from where that stands; one of a DiffID in `omitted` is left out again.
    func addNew(
        omitting omitted: Set<Digest>, _ body: (borrowing OwnedDescriptor) throws(LayerError) -> WrittenLayer
    ) throws(LayerError) -> ImageLayerSource

    /// Writes what names the layers: from now on there is an image.
    func finish(_ image: PlannedImage) throws(LayerError)
}

/// An archive in a file that can be written to anywhere: the header of a new layer is written after it.
package final class ImageArchiveOutput: ImageOutput {
    private let file: SharedDescriptor
    private var position: Int64 = 0
    private var written: [Digest: ImageBlob] = [:]

    /// `file` is empty and can be read, too.
    package init(_ file: consuming OwnedDescriptor) throws(LayerError) {
        self.file = SharedDescriptor(file)
        var writer = MemberWriter()
        var sink = DescriptorSink(self.file)
        try writer.write("oci-layout", PlannedImage.layout, to: &sink)
        position = sink.byteCount
    }

    package func add(_ layer: ImageLayerSource) throws(LayerError) {
        guard let blob = layer.blob, written.updateValue(blob, forKey: layer.descriptor.digest) == nil else { return }
        var writer = MemberWriter()
        var sink = DescriptorSink(file)
        try writer.write(ImageFiles.name(layer.descriptor.digest), layer, to: &sink)
        position += sink.byteCount
    }

    package func addNew(
        omitting omitted: Set<Digest>, _ body: (borrowing OwnedDescriptor) throws(LayerError) -> WrittenLayer
    ) throws(LayerError) -> ImageLayerSource {
        let start = position + Int64(MemberWriter.headerByteCount)
        try place(start)
        let layer = try body(file.descriptor)
        let size = layer.descriptor.size
        let same = written[layer.descriptor.digest]
        if same != nil || omitted.contains(layer.diffID) {
            try run("write the image") { () throws(SystemCallError) in try file.descriptor.truncate(to: position) }
            try place(position)
            return ImageLayerSource(layer.descriptor, diffID: layer.diffID, blob: same)
        }
        var writer = MemberWriter()
        let header = try writer.header(ImageFiles.name(layer.descriptor.digest), size)
        try run("write the image") { () throws(SystemCallError) in
            try file.descriptor.writeAll(header.rawBytes, at: position)
        }
        position = start + size
        var sink = DescriptorSink(file)
        try place(position)
        try writer.end(size, &sink)
        position += sink.byteCount
        let blob = ImageBlob(file: file, range: UInt64(start)..<UInt64(start + size))
        written[layer.descriptor.digest] = blob
        return ImageLayerSource(layer.descriptor, diffID: layer.diffID, blob: blob)
    }

    package func finish(_ image: PlannedImage) throws(LayerError) {
        var writer = MemberWriter()
        var sink = DescriptorSink(file)
        try image.writeDocuments(with: &writer, to: &sink)
    }

    private func place(_ offset: Int64) throws(LayerError) {
        try run("write the image") { () throws(SystemCallError) in _ = try file.descriptor.seek(offset, .start) }
    }

    private func run(_ what: String, _ body: () throws(SystemCallError) -> Void) throws(LayerError) {
        do throws(SystemCallError) { try body() } catch { throw LayerError(error, what, path: nil) }
    }
}

/// Writes to a file, from where it stands.
private struct DescriptorSink: ByteSink, ~Copyable {
    private let file: SharedDescriptor
    private(set) var byteCount: Int64 = 0

    init(_ file: SharedDescriptor) { self.file = file }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        byteCount += Int64(bytes.byteCount)
        do throws(SystemCallError) { try file.descriptor.writeAll(bytes) } catch {
            throw LayerError(error, "write the image", path: nil)
        }
    }

    mutating func finish() {}
}

/// An OCI layout in a directory. Blobs that are there are left, once their digest is proven; the index is replaced at the end.
package final class ImageLayoutOutput: ImageOutput {
    private let directory: LayoutDirectory

    /// The directory is made where it is missing, and becomes a layout.
    package init(_ path: PathBytes) throws(LayerError) { directory = try LayoutDirectory(path) }

    package func add(_ layer: ImageLayerSource) throws(LayerError) {
        if layer.blob != nil { try directory.add(layer) }
    }

    package func addNew(
        omitting omitted: Set<Digest>, _ body: (borrowing OwnedDescriptor) throws(LayerError) -> WrittenLayer
    ) throws(LayerError) -> ImageLayerSource {
        let file = try directory.newBlob()
        let layer = try body(file.descriptor)
        if omitted.contains(layer.diffID) { return ImageLayerSource(layer.descriptor, diffID: layer.diffID, blob: nil) }
        try directory.keep(file, as: layer.descriptor)
        let blob = ImageBlob(file: file, range: 0..<UInt64(layer.descriptor.size))
        return ImageLayerSource(layer.descriptor, diffID: layer.diffID, blob: blob)
    }

    package func finish(_ image: PlannedImage) throws(LayerError) {
        try directory.add(image.configuration)
        try directory.add(image.manifest)
        try directory.replaceIndex(with: image.index)
    }
}

/// What cannot be written to anywhere, a pipe: new layers lie in files without names in `spool` until all of it is known.
package final class ImageSpoolOutput: ImageOutput {
    private let spool: PathBytes
    private let write: (PlannedImage) throws(LayerError) -> Void

    package init(spool: PathBytes, _ write: @escaping (PlannedImage) throws(LayerError) -> Void) {
        self.spool = spool
        self.write = write
    }

    package func add(_ layer: ImageLayerSource) {}

    package func addNew(
        omitting omitted: Set<Digest>, _ body: (borrowing OwnedDescriptor) throws(LayerError) -> WrittenLayer
    ) throws(LayerError) -> ImageLayerSource {
        let file = SharedDescriptor(
            try attempt("create a scratch file in", spool, as: .cannotCreate) { () throws(SystemCallError) in
                try spool.withName { (name) throws(SystemCallError) in
                    try OwnedDescriptor.open(name, [.unnamed, .readWrite], mode: 0o600)
                }
            })
        let layer = try body(file.descriptor)
        let blob = ImageBlob(file: file, range: 0..<UInt64(layer.descriptor.size))
        return ImageLayerSource(
            layer.descriptor, diffID: layer.diffID, blob: omitted.contains(layer.diffID) ? nil : blob)
    }

    package func finish(_ image: PlannedImage) throws(LayerError) { try write(image) }
}
