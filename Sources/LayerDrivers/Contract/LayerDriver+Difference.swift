public import LayerEngine
public import LayerModel
public import LinuxIO

/// How one of the four difference operations runs.
public struct DifferenceOptions: Sendable {
    public var diff: DiffOptions
    public var cancel: CancelFlag
    public var progress: Progress?

    public init() {
        diff = DiffOptions()
        cancel = CancelFlag()
        progress = nil
    }
}

extension LayerDriver {
    /// Writes the layer that turns `parent` (any ancestor; nil: nothing) into `id`, an uncompressed tar, into `sink`.
    ///
    /// Nothing is written before both layers are known to exist. `sink` is not finished. After an error, which is never
    /// swallowed (K3), the sink holds an incomplete layer.
    public func diff<Sink: ByteSink & ~Copyable>(
        _ id: LayerID, since parent: LayerID?, options: DifferenceOptions = DifferenceOptions(), into sink: inout Sink
    ) throws(LayerError) -> DiffReport {
        var source = try changeSource(of: id, since: parent)
        source.trees.cancel = options.cancel
        source.trees.progress = options.progress
        var diff = options.diff
        diff.uidMap = configuration.uidMap
        diff.gidMap = configuration.gidMap
        source.compareContents()
        let report = try DiffEngine.write(source.trees, options: diff, into: &sink)
        _ = consume source
        return report
    }

    /// Calls `body` with each change between `parent` and `id`, sorted by path bytes; a path begins with a slash and is
    /// valid during the call. The root itself is never listed.
    @discardableResult
    public func changes(
        _ id: LayerID, since parent: LayerID?, options: DifferenceOptions = DifferenceOptions(),
        _ body: (ChangeKind, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) -> ChangesReport {
        var source = try changeSource(of: id, since: parent)
        source.trees.cancel = options.cancel
        source.trees.progress = options.progress
        source.compareContents()
        let report = try DiffEngine.changes(source.trees, skipUnreadable: options.diff.skipUnreadable, body)
        _ = consume source
        return report
    }

    /// The bytes of the difference between `parent` and `id`: what lies in the layer's own directory where that tells
    /// it, else the files that were added or modified.
    ///
    /// A layer that ldiff applied and nobody has written to since is answered from its record.
    public func diffSize(
        _ id: LayerID, since parent: LayerID?, options: DifferenceOptions = DifferenceOptions()
    ) throws(LayerError) -> UInt64 {
        if let recorded = recordedSize(of: id, since: parent) { return recorded.byteCount }
        var source = try sizeSource(of: id, since: parent)
        source.trees.cancel = options.cancel
        source.trees.progress = options.progress
        let (isNative, recording) = (source.isNative, source.recording)
        let size: SizeReport
        do throws(LayerError) {
            size = try DiffEngine.size(source.trees, skipUnreadable: options.diff.skipUnreadable)
        } catch {
            recording?.finish(nil)
            throw error
        }
        _ = consume source
        let counted = RecordedSize(byteCount: size.bytes, entryCount: size.entries)
        if isNative { recordSize(counted, of: id) }
        recording?.finish(counted)
        return size.bytes
    }

    /// Unpacks the stream, an uncompressed tar, as the contents of `id`, which was made on `parent`.
    ///
    /// The stream is read to its end. After an error a layer that was empty is empty again. Throws what
    /// `ApplyEngine.apply` throws, and `notFound` for an unknown layer.
    public func applyDiff<Source: SlabSource & ~Copyable>(
        _ id: LayerID, onto parent: LayerID?, from stream: inout Source, options: ApplyOptions = ApplyOptions(),
        beforeKeeping verify: () throws(LayerError) -> Void = {}
    ) throws(LayerError) -> AppliedLayer {
        let target = try applyTarget(for: id, onto: parent)
        let outcome = target.outcome
        do throws(LayerError) {
            var apply = options
            apply.dialect = target.dialect
            apply.lowers = target.lowers
            apply.uidMap = configuration.uidMap
            apply.gidMap = configuration.gidMap
            apply.workers = configuration.workers
            apply.sync = configuration.sync == .fileSystem ? .syncfs : .none
            let report = try ApplyEngine.apply(&stream, root: target.root, options: apply)
            try verify()
            let size: UInt64
            // As a walk counts them: each inode once, and the directory itself as an entry.
            var counted = RecordedSize(byteCount: report.uniqueFileBytes, entryCount: report.presentEntries + 1)
            switch target.sizeRule {
            case .headerSum: size = report.size
            case .unpacked: size = report.uniqueFileBytes
            case .walked:
                let walked = try DiffEngine.size(newSource(target.path))
                size = walked.bytes
                counted = RecordedSize(byteCount: walked.bytes, entryCount: walked.entries)
            }
            try outcome.keep(counted)
            return AppliedLayer(size: size, report: report)
        } catch {
            outcome.abandon()
            throw error
        }
    }
}
