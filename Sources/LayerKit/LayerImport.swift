public import LayerCompression
public import LayerEngine
import LayerFormats
public import LayerModel
public import LinuxIO
public import Synchronization

/// How a layer is unpacked.
public struct LayerImportOptions: Sendable {
    /// What the engine is told; its `cancel` and `progress` are replaced by those below.
    public var apply = ApplyOptions()
    /// Compute the DiffID, and the digest of the bytes as they are read.
    public var digests = false
    /// The digest that the bytes as they are read must have.
    public var expectedDigest: Digest?
    /// The digest that the uncompressed tar must have.
    public var expectedDiffID: Digest?
    /// Mode of the root directory if it is created, less the process's umask.
    public var rootMode: UInt32 = 0o755
    public var interruption = Interruption()
    public var progress = ImportProgress()

    public init() {}

    var isExpecting: Bool { expectedDigest != nil || expectedDiffID != nil }
}

/// How far an import is, for a progress bar in another thread.
public final class ImportProgress: Sendable {
    /// Entries and bytes of the uncompressed stream.
    public let layer = Progress()
    /// Bytes read of the input.
    public let input = ByteCounter()
    /// Bytes of the input that will be read, 0 while unknown.
    public let inputTotal = Atomic<UInt64>(0)

    public init() {}
}

/// What an import unpacked.
public struct LayerImportReport: Sendable {
    /// What the engine says of the entries.
    public var layer: ApplyReport
    /// What the stream was; its digests are there if they were asked for or expected.
    public var stream: LayerSummary
    /// Whether the root directory was made.
    public var createdRoot: Bool
}

/// Unpacks layers (layer-archive.md section 3).
public enum LayerImport {
    /// Unpacks the layer `input` into the directory `root`, whose last component is created if it is missing, and writes
    /// the layer's tar-split metadata to `tarSplit`.
    ///
    /// A root that was missing or empty is so again after a failure. A root that held something keeps what was unpacked
    /// until then; so that this does not happen for a wrong digest, the digests of a file are verified before it is
    /// touched. Only a pipe has to be trusted as it comes. Throws `digestMismatch` and whatever the engine throws.
    public static func apply(
        _ input: LayerInput, to root: PathBytes, tarSplit: LayerOutput? = nil,
        options: LayerImportOptions = LayerImportOptions()
    ) throws(LayerError) -> LayerImportReport {
        let layer = try OpenLayer(input)
        let target = try ImportRoot(root, mode: options.rootMode)
        let verifiesFirst = options.isExpecting && target.isOccupied && layer.start != nil
        options.progress.inputTotal.store(layer.size * (verifiesFirst ? 2 : 1), ordering: .relaxed)
        do throws(LayerError) {
            if verifiesFirst {
                try verify(layer, options)
                try layer.rewind()
            }
            let packing = try tarSplit.map { (output) throws(LayerError) in
                try ImportPacking(output, layer, cancel: options.interruption.flag)
            }
            let report = try unpack(layer, into: target, packing, options)
            try check(report.stream, layer.path, options)
            try packing?.complete(layer)
            try options.interruption.flag.check()
            try tarSplit?.commit()
            return report
        } catch {
            options.interruption.beginCleaningUp()
            throw target.undo(after: error)
        }
    }

    private static func unpack(
        _ layer: OpenLayer, into target: ImportRoot, _ packing: ImportPacking?, _ options: LayerImportOptions
    ) throws(LayerError) -> LayerImportReport {
        var apply = options.apply
        apply.cancel = options.interruption.flag
        apply.progress = options.progress.layer
        var reader = try LayerReader(descriptor: layer.descriptor.number, options: readerOptions(options))
        let report: ApplyReport
        do throws(LayerError) {
            target.hasStarted = true
            if let packing {
                report = try packing.apply(&reader, root: target.descriptor, options: apply)
            } else {
                report = try ApplyEngine.apply(&reader, root: target.descriptor, options: apply)
            }
            try reader.drain()
        } catch {
            throw naming(layer.path, error)
        }
        return LayerImportReport(layer: report, stream: try reader.finish(), createdRoot: target.wasCreated)
    }

    /// Reads the layer once for its digests. Without a DiffID to check nothing has to be decompressed.
    private static func verify(_ layer: OpenLayer, _ options: LayerImportOptions) throws(LayerError) {
        var reader = try LayerReader(
            descriptor: layer.descriptor.number, format: options.expectedDiffID == nil ? LayerFormat.none : nil,
            options: readerOptions(options))
        var summary: LayerSummary
        do throws(LayerError) {
            while let slab = try reader.next() { reader.recycle(slab) }
            summary = try reader.finish()
        } catch {
            throw naming(layer.path, error)
        }
        try check(summary, layer.path, options)
    }

    private static func readerOptions(_ options: LayerImportOptions) -> LayerReaderOptions {
        var reader = LayerReaderOptions()
        reader.hashCompressed = options.digests || options.expectedDigest != nil
        reader.hashUncompressed = options.digests || options.expectedDiffID != nil
        reader.maxTrailingBytes = options.apply.maxTrailingBytes
        reader.progress = options.progress.input
        reader.cancel = options.interruption.flag
        return reader
    }

    private static func check(
        _ summary: LayerSummary, _ path: PathBytes, _ options: LayerImportOptions
    ) throws(LayerError) {
        try check("digest", summary.compressedDigest, options.expectedDigest, path)
        try check("DiffID", summary.diffID, options.expectedDiffID, path)
    }

    private static func check(
        _ what: String, _ found: Digest?, _ expected: Digest?, _ path: PathBytes
    ) throws(LayerError) {
        guard let expected, found != expected else { return }
        throw LayerError(
            .digestMismatch, "verify", path: path,
            cause: .reason("the \(what) is \(found?.description ?? "unknown"), not the expected \(expected)"))
    }

    /// The error with the layer's path where it names none.
    private static func naming(_ path: PathBytes, _ error: LayerError) -> LayerError {
        guard error.path == nil, error.code != .cancelled else { return error }
        var named = error
        named.path = path
        return named
    }
}
