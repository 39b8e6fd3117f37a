package import LayerCompression
package import LayerDrivers
package import LayerEngine
package import LayerModel
package import LayerPacking
package import LinuxIO
package import Synchronization

/// How a layer is unpacked.
package struct LayerImportOptions: Sendable {
    /// What the engine is told; its `cancel` and `progress` are replaced by those below.
    package var apply = ApplyOptions()
    /// Compute the DiffID, and the digest of the bytes as they are read.
    package var digests = false
    /// The digest that the bytes as they are read must have.
    package var expectedDigest: Digest?
    /// The digest that the uncompressed tar must have.
    package var expectedDiffID: Digest?
    /// The compression, where somebody knows it better than the first bytes; nil: those tell.
    package var format: LayerFormat?
    /// Mode of the root directory if it is created, less the process's umask.
    package var rootMode: UInt32 = 0o755
    package var interruption = Interruption()
    package var progress = ImportProgress()

    package init() {}

    /// What the layer comes from, if its digest is checked.
    package var source: PackOrigin? {
        guard format == nil || format == LayerFormat.none else { return nil }
        return expectedDigest.map { PackOrigin(digest: $0.bytes, isPlain: format != nil) }
    }

    var isExpecting: Bool { expectedDigest != nil || expectedDiffID != nil }
}

/// How far an import is, for a progress bar in another thread.
package final class ImportProgress: Sendable {
    /// Entries and bytes of the uncompressed stream.
    package let layer = Progress()
    /// Bytes read of the input.
    package let input = ByteCounter()
    /// Bytes of the input that will be read, 0 while unknown.
    package let inputTotal = Atomic<UInt64>(0)

    package init() {}
}

/// What an import unpacked.
package struct LayerImportReport: Sendable {
    /// What the engine says of the entries.
    package var layer: ApplyReport
    /// What the stream was; its digests are there if they were asked for or expected.
    package var stream: LayerSummary
    /// Whether the root directory was made.
    package var createdRoot: Bool
}

/// Unpacks layers.
package enum LayerImport {
    /// Unpacks the layer `input` into the directory `root`, whose last component is created if it is missing, and writes
    /// the layer's tar-split metadata to `tarSplit`.
    ///
    /// A root that was missing or empty is so again after a failure. A root that held something keeps what was unpacked
    /// until then; so that this does not happen for a wrong digest, the digests of a file are verified before it is
    /// touched. Only a pipe has to be trusted as it comes. Throws `digestMismatch` and whatever the engine throws.
    package static func apply(
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

    /// Unpacks the layer `input`, which errors call `path`, into a directory that is open, and which its owner throws away
    /// after an error.
    package static func apply(
        _ input: LayerInput, called path: PathBytes, into root: borrowing OwnedDescriptor, options: LayerImportOptions
    ) throws(LayerError) -> LayerImportReport {
        let intake = try LayerIntake(try OpenLayer(input, called: path), tarSplit: nil, options: options)
        let copy = try attempt("open the root", path) { () throws(SystemCallError) in try root.duplicate() }
        let (report, summary) = try intake.unpack(into: GivenDirectory(copy))
        return LayerImportReport(layer: report, stream: summary, createdRoot: false)
    }

    /// Unpacks the layer `input`, which errors call `path`, as one of these, or packs it.
    package static func apply(
        _ input: LayerInput, called path: PathBytes, as id: Int64, of layers: PackedContents, hasParent: Bool,
        options: LayerImportOptions
    ) throws(LayerError) -> LayerImportReport {
        let intake = try LayerIntake(try OpenLayer(input, called: path), tarSplit: nil, options: options)
        let (report, summary) = try intake.unpack(into: PackedDestination(id, layers, hasParent, options.source))
        return LayerImportReport(layer: report, stream: summary, createdRoot: false)
    }
}
