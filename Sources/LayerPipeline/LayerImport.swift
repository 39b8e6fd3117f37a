public import LayerCompression
public import LayerEngine
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

/// Unpacks layers.
public enum LayerImport {
    /// Unpacks the layer `input` into the directory `root`, whose last component is created if it is missing, and writes
    /// the layer's tar-split metadata to `tarSplit`.
    ///
    /// A root that was missing or empty is so again after a failure. A root that held something keeps what was unpacked
    /// until then; so that this does not happen for a wrong digest, the digests of a file are verified before it is
    /// touched. Only a pipe has to be trusted as it comes. Throws `digestMismatch` and whatever the engine throws.
    public static func apply(
        _ input: LayerInput, to root: PathBytes, tarSplit: OutputFile? = nil,
        options: LayerImportOptions = LayerImportOptions()
    ) throws(LayerError) -> LayerImportReport {
        let layer = try OpenLayer(input)
        let target = try ImportRoot(root, mode: options.rootMode)
        let verifiesFirst = options.isExpecting && target.isOccupied && layer.start != nil
        options.progress.inputTotal.store(layer.size * (verifiesFirst ? 2 : 1), ordering: .relaxed)
        do throws(LayerError) {
            let intake = try LayerIntake(layer, tarSplit: tarSplit, options: options)
            if verifiesFirst { try intake.verifyAhead() }
            let (report, summary) = try intake.unpack(into: target)
            try tarSplit?.commit()
            return LayerImportReport(layer: report, stream: summary, createdRoot: target.wasCreated)
        } catch {
            options.interruption.beginCleaningUp()
            throw target.undo(after: error)
        }
    }
}
