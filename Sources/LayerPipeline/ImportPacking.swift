import LayerCompression
import LayerEngine
import LayerFormats
import LayerModel
import LinuxIO

/// Writes tar-split metadata of a layer while it is unpacked.
///
/// A name that comes again after contents is rare, and shows too late: then the stream is read a second time. So that
/// this is possible for a pipe, its uncompressed bytes are kept in a file without a name beside the output.
final class ImportPacking {
    private let output: OutputFile
    private let spool: Spool?
    private let cancel: CancelFlag
    private var summary = TarSplitSummary()

    init(_ output: OutputFile, _ layer: OpenLayer, cancel: CancelFlag) throws(LayerError) {
        self.output = output
        self.cancel = cancel
        spool = layer.start == nil ? try Spool(beside: output) : nil
    }

    /// Unpacks the stream and packs it; `verify` is called when it is packed.
    func unpack<Source: SlabSource & ~Copyable>(
        _ source: consuming Source, into destination: some LayerDestination, options: ApplyOptions,
        verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport {
        let packer = try TarSplitPacker(OutputSink(output), workers: WorkerPool(count: options.workers).count)
        let box = SourceBox(TarSplitSource(SpoolingSource(source, spool), packer: packer))
        var tee = BoxedSource(box)
        return try destination.unpack(&tee, options: options) { () throws(LayerError) in
            summary = try box.base.finish()
            try verify()
        }
    }

    /// Packs the layer once more where that is needed.
    func complete(_ layer: OpenLayer) throws(LayerError) {
        guard let repeated = summary.repeated else { return }
        try output.restart()
        var options = LayerReaderOptions()
        options.cancel = cancel
        let again: TarSplitSummary
        if let spool {
            try spool.rewind()
            again = try pack(
                try LayerReader(descriptor: spool.descriptor.number, format: LayerFormat.none, options: options),
                repeated)
        } else {
            try layer.rewind()
            again = try pack(try layer.reader(options: options), repeated)
        }
        guard again.bytes == summary.bytes, again.entries == summary.entries else {
            throw LayerError(.fileChanged, "read", path: layer.path, cause: .reason("it changed meanwhile"))
        }
    }

    private func pack(_ source: consuming LayerReader, _ repeated: RepeatedNames) throws(LayerError) -> TarSplitSummary
    {
        var reader = source
        var packer = try TarSplitPacker(OutputSink(output), repeated: repeated)
        while let slab = try reader.next() {
            try packer.write(slab.bytes)
            reader.recycle(slab)
        }
        return try packer.finish()
    }
}

/// A file without a name that keeps a stream which cannot be read twice.
private final class Spool {
    let descriptor: OwnedDescriptor
    private let path: PathBytes

    init(beside output: OutputFile) throws(LayerError) {
        descriptor = try output.scratchFile()
        path = output.displayPath
    }

    func keep(_ bytes: RawSpan) throws(LayerError) {
        try attempt("write a scratch file beside", path) { () throws(SystemCallError) in try descriptor.writeAll(bytes)
        }
    }

    func rewind() throws(LayerError) {
        try attempt("read a scratch file beside", path) { () throws(SystemCallError) in
            _ = try descriptor.seek(0, .start)
        }
    }
}

/// A source whose bytes are kept on the way, if there is a spool.
private struct SpoolingSource<Base: SlabSource & ~Copyable>: SlabSource, ~Copyable {
    private var base: Base
    private let spool: Spool?

    init(_ base: consuming Base, _ spool: Spool?) {
        self.base = base
        self.spool = spool
    }

    mutating func next() throws(LayerError) -> Slab? {
        guard let slab = try base.next() else { return nil }
        try spool?.keep(slab.bytes)
        return slab
    }

    mutating func recycle(_ slab: consuming Slab) { base.recycle(slab) }
}
