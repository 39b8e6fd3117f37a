import ArgumentParser
import LayerFormats
import LayerModel
import LayerPipeline
import PlainJSON

/// The index of a layer of which parts can be read alone: flags of `diff` and `layer diff`.
struct LayerIndexArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "With zstd:chunked and estargz: write the annotations that the layer's descriptor needs, a JSON object.",
            valueName: "file"), completion: .file())
    var annotationsOut: PathArgument?

    @Flag(help: "With zstd:chunked and estargz: a layer that the index cannot carry is an error, not a plain layer.")
    var requireIndex = false

    @Option(
        help: ArgumentHelp(
            "With estargz: leave the tar as it is and write its table of contents to a file of its own.",
            valueName: "file"), completion: .file())
    var toc: PathArgument?

    @Option(help: ArgumentHelp("With estargz: bytes of a piece, at most 4M.", valueName: "n"))
    var chunkSize: ByteCount?

    @Option(help: ArgumentHelp("With estargz: bytes of a member before another begins.", valueName: "n"))
    var minChunkSize: ByteCount?

    func validate(_ compress: CompressionName) throws {
        if compress.indexed == nil, annotationsOut != nil || requireIndex {
            throw ValidationError("--annotations-out and --require-index need --compress zstd:chunked or estargz")
        }
        if compress != .estargz, toc != nil || chunkSize != nil || minChunkSize != nil {
            throw ValidationError("--toc, --chunk-size and --min-chunk-size need --compress estargz")
        }
        if let size = chunkSize?.bytes, !(1...4 << 20).contains(size) {
            throw ValidationError("--chunk-size takes 1 to 4M")
        }
        if let size = minChunkSize?.bytes, size > 4 << 20 { throw ValidationError("--min-chunk-size takes at most 4M") }
    }

    func options(_ format: IndexedFormat) -> IndexedLayerOptions {
        var options = IndexedLayerOptions(format)
        options.requiresIndex = requireIndex
        options.keepsDiffID = toc != nil
        if let chunkSize { options.chunkSize = Int(chunkSize.bytes) }
        if let minChunkSize { options.minChunkSize = Int(minChunkSize.bytes) }
        return options
    }

    /// The files beside the layer, opened before anything is written.
    func open() throws(LayerError) -> (annotations: OutputFile?, table: OutputFile?) {
        (try Self.open(annotationsOut), try Self.open(toc))
    }

    private static func open(_ path: PathArgument?) throws(LayerError) -> OutputFile? {
        guard let path else { return nil }
        return try OutputPlace.open(path.path)
    }

    /// Writes what a layer with an index needs beside it; for one without, nothing is written.
    static func write(
        _ index: IndexedLayerSummary?, _ files: (annotations: OutputFile?, table: OutputFile?)
    ) throws(LayerError) {
        guard let index, index.obstacle == nil else { return }
        if let file = files.annotations {
            var json = JSONWriter()
            index.writeAnnotations(to: &json)
            json.endLine()
            try file.writeText(String(decoding: json.bytes, as: UTF8.self))
            try file.commit()
        }
        if let file = files.table, let table = index.table {
            try file.write(table)
            try file.commit()
        }
    }
}

extension IndexedLayerSummary {
    func writeAnnotations(to json: inout JSONWriter) {
        json.beginObject()
        for annotation in annotations {
            json.name(annotation.key)
            json.string(annotation.value)
        }
        json.endObject()
    }
}
