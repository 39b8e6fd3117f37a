import LayerEngine
import LayerFormats
public import LayerModel
import LayerPipeline
import LinuxIO
public import SystemPackage

/// A directory tree on this machine: whole, or the upper directory of a union over lower ones.
///
/// A value that opens nothing until one of its verbs runs. Verbs block: asynchronous code gets their `async` forms.
public struct LayerTree: Sendable {
    /// The tree, or the upper directory.
    public var directory: FilePath
    /// What lies below, nearest first. For a whole tree (`dialect` `.tree`) at most one: the tree that it is compared with.
    public var lowers: [FilePath]
    /// How an upper directory spells deletions; `.tree` for a whole tree.
    public var dialect: WhiteoutDialect

    /// The tree at `directory`.
    public init(_ directory: FilePath, over lowers: [FilePath] = [], dialect: WhiteoutDialect = .tree) {
        self.directory = directory
        self.lowers = lowers
        self.dialect = dialect
    }

    /// Writes the layer that turns what lies below into this tree.
    ///
    /// The bytes depend on the trees and the options alone, never on timing or the number of threads. A file that is being
    /// written appears only when it is complete. Throws what went wrong with the tree or the output, `cancelled`, and
    /// `unsupported` for a format or a level that does not exist.
    @discardableResult
    public func writeLayer(to output: LayerOutput, options: LayerWriteOptions = LayerWriteOptions())
        throws(LayerError) -> LayerDescriptor
    {
        try writing(source(options.control, options.filter), to: output, options)
    }

    /// The names that differ from what lies below.
    public func changes(options: LayerLookOptions = LayerLookOptions()) throws(LayerError) -> LayerChanges {
        var changes = LayerChanges()
        let report = try LayerDifference.changes(
            source(options.control, options.filter), profile: options.profile,
            skipUnreadable: options.skipsUnreadable
        ) { (kind, path) in changes.append(kind, path) }
        try options.control.interruption.flag.check()
        changes.skippedUnreadable = report.skippedUnreadable
        changes.warnings = report.warnings
        return changes
    }

    /// How large the difference to what lies below is.
    public func size(options: LayerLookOptions = LayerLookOptions()) throws(LayerError) -> LayerSize {
        LayerSize(
            try LayerDifference.size(
                source(options.control, options.filter), profile: options.profile,
                skipUnreadable: options.skipsUnreadable))
    }

    /// Applies a layer: deletions delete where this is a whole tree, and are written in the dialect's form where it is an
    /// upper directory.
    ///
    /// Nothing outside of the directory is touched, whatever the layer says. The directory's last component is made if it is
    /// missing; one that was missing or empty is so again after an error. One that held something keeps what was applied
    /// until then, so the digests of a file are verified before it is touched. Throws `digestMismatch`, `invalidArchive`,
    /// `unsafePath`, `limitExceeded`, `cancelled`, and what the file system says.
    @discardableResult
    public func apply(_ layer: LayerSource, options: LayerApplyOptions = LayerApplyOptions())
        throws(LayerError) -> LayerApplyReport
    {
        var settings = options.begin()
        settings.apply.dialect = dialect
        if dialect.name != .tree { settings.apply.lowers = lowers.map { PathBytes($0) } }
        let report = try LayerImport.apply(
            layer.input, to: PathBytes(directory), tarSplit: try metadataFile(options.tarSplit), options: settings)
        return LayerApplyReport(
            report.layer, report.stream, contentBytes: report.layer.size, isNew: report.createdRoot)
    }

    /// Rebuilds the tar of a layer that lies in this directory, byte for byte, from its tar-split metadata.
    ///
    /// Throws `digestMismatch` for a file that has changed since.
    public func assembleLayer(
        from metadata: LayerSource, to output: LayerOutput, control: LayerControl = LayerControl()
    ) throws(LayerError) {
        guard let file = try output.open() else {
            throw LayerError(
                .unsupported, "assemble the layer", cause: .reason("it cannot be written to a stream"),
                hint: "name a file or a descriptor")
        }
        _ = try LayerAssembly.assemble(
            metadata.input, root: PathBytes(directory), to: file, interruption: control.interruption)
    }

    private func source(_ control: LayerControl, _ filter: LayerFilter?) -> SourceOptions {
        var source = SourceOptions(upper: PathBytes(directory))
        source.lowers = lowers.map { PathBytes($0) }
        source.dialect = dialect
        source.workers = control.workers
        source.io = control.io
        source.cancel = control.interruption.flag
        source.progress = control.beginWriting()
        source.filter = filter
        return source
    }
}

/// Writes what `producer` makes to the caller's output.
func writing(_ producer: some LayerProducer, to output: LayerOutput, _ options: LayerWriteOptions)
    throws(LayerError) -> LayerDescriptor
{
    let tarSplit = try metadataFile(options.tarSplit)
    guard case .stream(let sink) = output.place else {
        guard let file = try output.open() else { preconditionFailure("a file or a descriptor was named") }
        return LayerDescriptor(
            try LayerExport.write(layerOf: producer, to: file, tarSplit, options.export))
    }
    let report = try LayerExport.write(
        layerOf: producer, into: SinkAdapter(sink), tarSplit: tarSplit, options: options.export)
    try tarSplit?.commit()
    return LayerDescriptor(report)
}

/// Where metadata go: they may have to be written anew, which a stream cannot.
func metadataFile(_ output: LayerOutput?) throws(LayerError) -> OutputFile? {
    guard let output else { return nil }
    guard let file = try output.open() else {
        throw LayerError(
            .unsupported, "write tar-split metadata", cause: .reason("they cannot be written to a stream"),
            hint: "name a file or a descriptor")
    }
    return file
}
