package import LayerCompression
import LayerDrivers
package import LayerModel
package import LayerPacking
import LinuxIO
import Synchronization

/// How a layer is packed.
package struct LayerPackOptions: Sendable {
    /// What the packer is told.
    package var packing = PackOptions()
    /// The digest that the bytes as they are read must have.
    package var expectedDigest: Digest?
    /// The digest that the uncompressed tar must have.
    package var expectedDiffID: Digest?
    /// Compute the digest of the bytes as they are read. The DiffID is always computed.
    package var digests = false
    /// Mode of the directory if it is created, and of the files, less the process's umask.
    package var directoryMode: UInt32 = 0o755
    package var fileMode: UInt32 = 0o644
    package var interruption = Interruption()
    package var progress = ImportProgress()

    package init() {}
}

/// What was packed.
package struct LayerPackReport: Sendable {
    package var layer: PackReport
    package var record: PackRecord
    /// What the stream was; the DiffID is always there.
    package var stream: LayerSummary
}

/// Keeps layers as their own tar and a small index that the kernel mounts.
package enum LayerPack {
    /// Packs the layer `input` into the directory `directory`, whose last component is created if it is missing; it must
    /// hold nothing.
    ///
    /// The record appears last, when digests are verified and everything else is there. After a failure the directory is as
    /// it was. Throws `unsupported` for a layer that cannot be packed and must be unpacked.
    package static func pack(
        _ input: LayerInput, into directory: PathBytes, options: LayerPackOptions = LayerPackOptions()
    ) throws(LayerError) -> LayerPackReport {
        let layer = try OpenLayer(input)
        let target = try ImportRoot(directory, mode: options.directoryMode)
        guard !target.isOccupied else {
            throw LayerError(
                .alreadyExists, "pack into", path: directory, cause: .reason("it is not empty"),
                hint: "name a directory that is empty, or not there yet")
        }
        options.progress.inputTotal.store(layer.size, ordering: .relaxed)
        do throws(LayerError) {
            let job = try PackedFiles(directory, mode: options.fileMode)
            return try job.fill(layer, options)
        } catch {
            options.interruption.beginCleaningUp()
            throw target.undo(after: layer.named(error))
        }
    }
}

/// The files of a packed layer in the making.
private final class PackedFiles {
    private let directory: PathBytes
    private let mode: UInt32
    private let tar: OutputFile
    private var extra: OutputFile?

    init(_ directory: PathBytes, mode: UInt32) throws(LayerError) {
        self.directory = directory
        self.mode = mode
        tar = try OutputFile.file(at: Self.path(PackedNames.tar, in: directory), mode: mode)
    }

    private static func path(_ name: String, in directory: PathBytes) -> PathBytes {
        PathBytes(directory.bytes + [UInt8(ascii: "/")] + Array(name.utf8))
    }

    /// Reads the layer once: what comes out of the decompressor is written, looked through and hashed.
    func fill(_ layer: OpenLayer, _ options: LayerPackOptions) throws(LayerError) -> LayerPackReport {
        var readerOptions = LayerReaderOptions()
        readerOptions.hashCompressed = options.digests || options.expectedDigest != nil
        readerOptions.hashUncompressed = true
        readerOptions.progress = options.progress.input
        readerOptions.cancel = options.interruption.flag
        var reader = try layer.reader(options: readerOptions)
        var sink = OutputSink(tar)
        var packer = LayerPacker(options.packing)
        while let slab = try reader.next() {
            try sink.write(slab.bytes)
            try take(slab, &packer)
            options.progress.layer.bytes.store(sink.byteCount, ordering: .relaxed)
            options.progress.layer.entries.store(UInt64(packer.entryCount), ordering: .relaxed)
            reader.recycle(slab)
        }
        try sink.finish()
        let stream = try reader.finish()
        let packed = try packer.finish()
        guard let diffID = stream.diffID else { preconditionFailure("the DiffID was asked for") }
        try layer.verify(stream, options.expectedDigest, options.expectedDiffID)
        let record = try writeIndex(packed, diffID, stream.uncompressedBytes, options)
        try options.interruption.flag.check()
        return LayerPackReport(layer: packed.report, record: record, stream: stream)
    }

    private func take(_ slab: Slab, _ packer: inout LayerPacker) throws(LayerError) {
        var position = slab.start
        while position < slab.end {
            let (consumed, step) = try packer.step(slab.span(position..<slab.end))
            if case .extra(let range, let offset) = step {
                try writeExtra(slab.span(position + range.lowerBound..<position + range.upperBound), at: offset)
            }
            position += consumed
        }
    }

    private func writeExtra(_ bytes: RawSpan, at offset: Int64) throws(LayerError) {
        let output: OutputFile
        if let extra {
            output = extra
        } else {
            output = try OutputFile.file(at: Self.path(PackedNames.extra, in: directory), mode: mode)
            extra = output
        }
        do throws(SystemCallError) { try output.descriptor.writeAll(bytes, at: offset) } catch {
            throw LayerError(error, "write", path: output.displayPath)
        }
    }

    /// Writes the index and the record, and gives all files their names, the record's last.
    private func writeIndex(
        _ packed: borrowing PackedLayer, _ diffID: Digest, _ tarBytes: UInt64, _ options: LayerPackOptions
    ) throws(LayerError) -> PackRecord {
        if let extra {
            do throws(SystemCallError) { try extra.descriptor.truncate(to: packed.report.extraBytes) } catch {
                throw LayerError(error, "write", path: extra.displayPath)
            }
        }
        let index = try OutputFile.file(at: Self.path(PackedNames.index, in: directory), mode: mode)
        let record = try PackedIndex.write(
            packed, of: diffID, tarBytes: tarBytes, options.packing, into: OutputSink(index))
        let text = try OutputFile.file(at: Self.path(PackedNames.record, in: directory), mode: mode)
        try text.write(record.text)
        try tar.commit()
        try extra?.commit()
        try index.commit()
        try text.commit()
        return record
    }
}
