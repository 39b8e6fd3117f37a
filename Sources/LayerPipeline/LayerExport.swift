import Glibc
package import LayerCompression
package import LayerEngine
package import LayerFormats
package import LayerModel
import LinuxIO

/// How a layer is written.
package struct LayerExportOptions: Sendable {
    /// `none`, `gzip` or `zstd`.
    package var compression: LayerFormat = .none
    /// The compressor's level, see `GzipLevel` and `ZstdLevel`; nil for its standard.
    package var level: Int?
    /// Write a layer of which parts can be read alone, instead of `compression`. Level, digests and workers are those below.
    package var indexed: IndexedLayerOptions?
    /// Compute the DiffID, and the digest of the compressed layer. Off by default: hashing takes longer than the rest.
    package var digests = false
    /// Threads that compress; nil means one a core.
    package var compressionWorkers: Int?
    /// What the layer holds, and in which writer's manner.
    /// Its `now` is set when the export begins.
    package var diff = DiffOptions()

    package init() {}
}

/// What an export wrote.
package struct LayerExportReport: Sendable {
    /// What the engine says of the tar.
    package var layer: DiffReport
    /// Digest of the uncompressed tar, if digests were asked for.
    package var diffID: Digest?
    /// Digest of the bytes that were written, if digests were asked for and the layer is compressed.
    package var digest: Digest?
    /// Digest of the bytes that were written, compressed or not, if digests were asked for.
    package var outputDigest: Digest? { digest ?? diffID }
    /// The OCI media type of what was written.
    package var mediaType: String
    /// Bytes written.
    package var outputBytes: UInt64
    /// What came of the index, where one was asked for.
    package var index: IndexedLayerSummary?
}

/// Writes layers: what a tree holds, or how it differs from others.
package enum LayerExport {
    /// Writes the layer of `source` to `output` and gives a file its name, and its tar-split metadata to `tarSplit`.
    ///
    /// Interrupted through `source.cancel`. Throws what went wrong with the source or the output; nothing is left of a
    /// file then. `unsupported` for a compression that is only read, `invalidArgument` for a level that is none.
    package static func write(
        _ source: SourceOptions, to output: OutputFile, tarSplit: OutputFile? = nil,
        options: LayerExportOptions = LayerExportOptions()
    ) throws(LayerError) -> LayerExportReport {
        try write(layerOf: source, to: output, tarSplit, options)
    }

    /// Writes the layer that `source` produces, whatever that is.
    package static func write(
        layerOf source: some LayerProducer, to output: OutputFile, _ tarSplit: OutputFile?,
        _ options: LayerExportOptions
    ) throws(LayerError) -> LayerExportReport {
        let report = try write(layerOf: source, into: OutputSink(output), tarSplit: tarSplit, options: options)
        try source.cancel.check()
        try tarSplit?.commit()
        try output.commit()
        return report
    }

    /// Writes the layer that `source` produces into `base`, which is finished then: the one way out, wherever it leads.
    ///
    /// The metadata in `tarSplit` is complete and not committed.
    package static func write<Base: ByteSink & ~Copyable>(
        layerOf source: some LayerProducer, into base: consuming Base, tarSplit: OutputFile? = nil,
        options: LayerExportOptions
    ) throws(LayerError) -> LayerExportReport {
        let workers = WorkerPool(count: options.compressionWorkers ?? source.workers).count
        if let indexed = options.indexed {
            return try write(layerOf: source, into: base, indexed, tarSplit, options, workers)
        }
        switch options.compression {
        case .none:
            var sink = DigestSink(base, hashes: options.digests)
            let layer = try run(source, options, tarSplit, into: &sink)
            return report(layer, .none, sink.byteCount, diffID: sink.digest, digest: nil)
        case .gzip:
            var sink = DigestSink(
                try GzipSink(DigestSink(base, hashes: options.digests), level: options.level, workers: workers),
                hashes: options.digests)
            let layer = try run(source, options, tarSplit, into: &sink)
            let written = (byteCount: sink.base.base.byteCount, digest: sink.base.base.digest)
            return report(layer, .gzip, written.byteCount, diffID: sink.digest, digest: written.digest)
        case .zstd:
            var sink = DigestSink(
                try ZstdSink(DigestSink(base, hashes: options.digests), level: options.level, workers: workers),
                hashes: options.digests)
            let layer = try run(source, options, tarSplit, into: &sink)
            let written = (byteCount: sink.base.base.byteCount, digest: sink.base.base.digest)
            return report(layer, .zstd, written.byteCount, diffID: sink.digest, digest: written.digest)
        case .bzip2, .xz, .lz4:
            throw LayerError(
                .unsupported, "compress the layer", cause: .reason("\(options.compression.name) is only read"),
                hint: "gzip and zstd can be written")
        }
    }

    private static func write<Base: ByteSink & ~Copyable>(
        layerOf source: some LayerProducer, into base: consuming Base, _ indexed: IndexedLayerOptions,
        _ tarSplit: OutputFile?, _ options: LayerExportOptions, _ workers: Int
    ) throws(LayerError) -> LayerExportReport {
        var wanted = indexed
        wanted.level = options.level
        wanted.workers = workers
        wanted.digests = options.digests
        var sink = try IndexedLayerSink(DigestSink(base, hashes: options.digests), options: wanted)
        let layer = try run(source, options, tarSplit, into: &sink)
        let summary = sink.summary
        let written = sink.takeBase()
        var result = report(
            layer, indexed.format.plain, written.byteCount, diffID: summary.diffID, digest: written.digest)
        result.index = summary
        return result
    }

    private static func run<Sink: ByteSink & ~Copyable>(
        _ source: some LayerProducer, _ options: LayerExportOptions, _ tarSplit: OutputFile?, into sink: inout Sink
    ) throws(LayerError) -> DiffReport {
        var diff = options.diff
        diff.now = Int64(time(nil))
        diff.namesOnce = options.indexed != nil
        guard let tarSplit else { return try run(source, diff, into: &sink) }
        let packer = try TarSplitPacker(OutputSink(tarSplit), workers: WorkerPool(count: source.workers).count)
        var tee = TarSplitSink(sink, packer: packer)
        let report: DiffReport
        do throws(LayerError) { report = try run(source, diff, into: &tee) } catch {
            sink = tee.takeBase()
            throw error
        }
        let summary = tee.summary
        sink = tee.takeBase()
        if let repeated = summary.repeated { try packAgain(source, diff, tarSplit, summary, repeated) }
        return report
    }

    /// Makes the metadata of a layer that names something twice, as only one does that was kept as it came.
    private static func packAgain(
        _ source: some LayerProducer, _ diff: DiffOptions, _ tarSplit: OutputFile, _ first: TarSplitSummary,
        _ repeated: RepeatedNames
    ) throws(LayerError) {
        try tarSplit.restart()
        var tee = TarSplitSink(NullSink(), packer: try TarSplitPacker(OutputSink(tarSplit), repeated: repeated))
        _ = try run(source, diff, into: &tee)
        guard tee.summary.bytes == first.bytes, tee.summary.entries == first.entries else {
            throw LayerError(
                .fileChanged, "write tar-split metadata", path: tarSplit.displayPath,
                cause: .reason("the layer changed meanwhile"), hint: "try again")
        }
    }

    private static func run<Sink: ByteSink & ~Copyable>(
        _ source: some LayerProducer, _ diff: DiffOptions, into sink: inout Sink
    ) throws(LayerError) -> DiffReport {
        let report = try source.produce(diff, into: &sink)
        try sink.finish()
        return report
    }

    private static func report(
        _ layer: DiffReport, _ format: LayerFormat, _ outputBytes: UInt64, diffID: Digest?, digest: Digest?
    ) -> LayerExportReport {
        LayerExportReport(
            layer: layer, diffID: diffID, digest: digest, mediaType: format.mediaType ?? "", outputBytes: outputBytes)
    }
}
