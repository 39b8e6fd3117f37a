import LayerCompression
import LayerEngine
import LayerFormats
import LayerModel
import LinuxIO

/// One layer on its way in: read, decompressed, hashed, packed and verified, wherever it is unpacked.
struct LayerIntake {
    let layer: OpenLayer
    private let packing: ImportPacking?
    private let options: LayerImportOptions

    /// Prepares to unpack `layer` and to write its tar-split metadata to `tarSplit`.
    init(_ layer: OpenLayer, tarSplit: OutputFile?, options: LayerImportOptions) throws(LayerError) {
        self.layer = layer
        self.options = options
        if tarSplit != nil, let filter = options.apply.filter, !filter.isEmpty {
            throw LayerError(
                .invalidArgument, "write tar-split metadata",
                cause: .reason("they would name files that the filter leaves out, and no layer could be made of them"),
                hint: "apply all of the layer, or do without the metadata")
        }
        packing = try tarSplit.map { (output) throws(LayerError) in
            try ImportPacking(output, layer, cancel: options.interruption.flag)
        }
    }

    /// Reads the layer once for its digests and goes back to its beginning, for a destination that could not be restored.
    ///
    /// Without a DiffID to check nothing has to be decompressed.
    func verifyAhead() throws(LayerError) {
        var reader = try layer.reader(
            format: options.expectedDiffID == nil ? LayerFormat.none : options.format, options: readerOptions)
        do throws(LayerError) {
            while let slab = try reader.next() { reader.recycle(slab) }
            try layer.verify(try reader.finish(), options.expectedDigest, options.expectedDiffID)
        } catch {
            throw layer.named(error)
        }
        try layer.rewind()
    }

    /// Unpacks the layer. Its digests are verified and its metadata is complete before the destination keeps it.
    func unpack(into destination: some LayerDestination) throws(LayerError) -> (ApplyReport, LayerSummary) {
        var apply = options.apply
        apply.cancel = options.interruption.flag
        apply.progress = options.progress.layer
        let box = SourceBox(try layer.reader(format: options.format, options: readerOptions))
        var summary: LayerSummary?
        let finish = { () throws(LayerError) in
            do throws(LayerError) {
                try box.base.drain()
                let found = try box.base.finish()
                try layer.verify(found, options.expectedDigest, options.expectedDiffID)
                summary = found
            } catch {
                throw layer.named(error)
            }
            try packing?.complete(layer)
            try options.interruption.flag.check()
        }
        do throws(LayerError) {
            let report: ApplyReport
            if let packing {
                report = try packing.unpack(BoxedSource(box), into: destination, options: apply, verify: finish)
            } else {
                var source = BoxedSource(box)
                report = try destination.unpack(&source, options: apply, verify: finish)
            }
            guard let summary else { preconditionFailure("a destination verifies what it keeps") }
            return (report, summary)
        } catch {
            throw layer.named(error)
        }
    }

    private var readerOptions: LayerReaderOptions {
        var reader = LayerReaderOptions()
        reader.hashCompressed = options.digests || options.expectedDigest != nil
        reader.hashUncompressed = options.digests || options.expectedDiffID != nil
        reader.maxTrailingBytes = options.apply.maxTrailingBytes
        reader.progress = options.progress.input
        reader.cancel = options.interruption.flag
        reader.workers = options.apply.workers
        return reader
    }
}
