import LayerCompression
public import LayerEngine
public import LayerModel
import LinuxIO

extension LayerDriver {
    /// As a reader's, and keeps what was counted where the layer can no longer change.
    public func diffSize(
        _ id: LayerID, since parent: LayerID?, options: DifferenceOptions = DifferenceOptions()
    ) throws(LayerError) -> UInt64 {
        guard options.countsAll else { return try sizeSource(of: id, since: parent).count(options).bytes }
        if let recorded = recordedSize(of: id, since: parent) { return recorded.byteCount }
        let source = try recordingSizeSource(of: id, since: parent)
        let (isNative, recording) = (source.isNative, source.recording)
        let size: SizeReport
        do throws(LayerError) {
            size = try source.count(options)
        } catch {
            recording?.finish(nil)
            throw error
        }
        let counted = RecordedSize(byteCount: size.bytes, entryCount: size.entries)
        if isNative { recordSize(counted, of: id) }
        recording?.finish(counted)
        return size.bytes
    }

    /// Unpacks the stream, an uncompressed tar, as the contents of `id`, which was made on `parent`.
    ///
    /// The stream is read to its end. After an error a layer that was empty is empty again. One that holds something keeps what
    /// was unpacked until then; with `mustBeEmpty` it is refused (`alreadyExists`). Throws what `ApplyEngine.apply` throws, and
    /// `notFound` for an unknown layer.
    public func applyDiff<Source: SlabSource & ~Copyable>(
        _ id: LayerID, onto parent: LayerID?, from stream: inout Source, mustBeEmpty: Bool = false,
        options: ApplyOptions = ApplyOptions(), beforeKeeping verify: () throws(LayerError) -> Void = {}
    ) throws(LayerError) -> AppliedLayer {
        let target = try applyTarget(for: id, onto: parent)
        if mustBeEmpty, target.isFilled {
            target.outcome.abandon()
            throw DriverErrors.filled(id)
        }
        return try unpack(&stream, into: target, options, verify)
    }

    /// Makes the layer `id` on `parent` of the stream, an uncompressed tar: it appears when it is complete.
    ///
    /// The stream is read to its end. After an error there is no such layer, unless somebody else made it (`alreadyExists`).
    /// `check` runs when the layer is there and nobody else can have changed it; if it throws, the layer goes again.
    public func createLayer<Source: SlabSource & ~Copyable>(
        _ id: LayerID, on parent: LayerID?, from stream: inout Source, creating: CreateOptions = CreateOptions(),
        readWrite: Bool = false, options: ApplyOptions = ApplyOptions(),
        beforeKeeping verify: () throws(LayerError) -> Void = {}, afterKeeping check: () throws(LayerError) -> Void = {}
    ) throws(LayerError) -> AppliedLayer {
        let target = try newLayerTarget(id, parent: parent, options: creating, readWrite: readWrite)
        let outcome = target.outcome
        let applied = try unpack(&stream, into: target, options, verify)
        do throws(LayerError) {
            try check()
            return applied
        } catch {
            do throws(LayerError) { try outcome.takeBack() } catch let removal {
                var result = error
                result.hint = "the layer \(id) could not be removed again (\(removal)): ldiff layer remove does it"
                throw result
            }
            throw error
        }
    }

    private func unpack<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, into target: consuming ApplyTarget, _ options: ApplyOptions,
        _ verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> AppliedLayer {
        let outcome = target.outcome
        do throws(LayerError) {
            try outcome.begin()
            let (applied, counted) = try fill(target, from: &stream, options, verify)
            try outcome.keep(counted)
            return applied
        } catch {
            outcome.abandon()
            throw error
        }
    }

    /// Unpacks into the target, and ends it: what it holds open would keep a driver from unmounting what it lies in.
    private func fill<Source: SlabSource & ~Copyable>(
        _ target: consuming ApplyTarget, from stream: inout Source, _ options: ApplyOptions,
        _ verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> (AppliedLayer, RecordedSize) {
        var apply = options
        apply.dialect = target.dialect
        apply.lowers = target.lowers
        apply.uidMap = configuration.uidMap
        apply.gidMap = configuration.gidMap
        apply.workers = configuration.workers
        apply.sync = configuration.sync == .fileSystem ? .syncfs : .none
        if let packing = target.packing, PackPlan.allows(apply) {
            switch try packing.run(&stream, apply, verify) {
            case .packed(let report):
                return (
                    AppliedLayer(size: report.uniqueFileBytes, report: report),
                    RecordedSize(byteCount: report.uniqueFileBytes, entryCount: report.presentEntries + 1)
                )
            case .tar(let tar):
                apply.progress = nil
                let report = try ApplyEngine.apply(tar, root: target.root, options: apply)
                try packing.drop()
                return try counted(report, target)
            }
        }
        let report = try ApplyEngine.apply(&stream, root: target.root, options: apply)
        try verify()
        return try counted(report, target)
    }

    private func counted(
        _ report: ApplyReport, _ target: borrowing ApplyTarget
    ) throws(LayerError) -> (AppliedLayer, RecordedSize) {
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
        return (AppliedLayer(size: size, report: report), counted)
    }
}

extension ApplyEngine {
    /// Unpacks the tar in a file.
    static func apply(
        _ tar: borrowing OwnedDescriptor, root: borrowing OwnedDescriptor, options: ApplyOptions
    ) throws(LayerError) -> ApplyReport {
        var reading = LayerReaderOptions()
        reading.cancel = options.cancel
        reading.maxTrailingBytes = options.maxTrailingBytes
        var reader = try LayerReader(descriptor: tar.number, format: LayerFormat.none, options: reading)
        let report = try apply(&reader, root: root, options: options)
        _ = consume reader
        return report
    }
}
