public import LayerEngine
public import LayerModel
import LinuxIO

/// Where a layer is unpacked before its parent is there.
public struct StagedTarget: ~Copyable, Sendable {
    /// The empty directory to unpack into.
    let root: OwnedDescriptor
    let dialect: WhiteoutDialect
    let outcome: any StagedOutcome

    init(root: consuming OwnedDescriptor, dialect: WhiteoutDialect, outcome: any StagedOutcome) {
        self.root = root
        self.dialect = dialect
        self.outcome = outcome
    }
}

/// What a driver does with a layer that was unpacked before its parent was there.
protocol StagedOutcome: ApplyOutcome {
    /// Puts it on `parent`, which is there now, and returns the directories below it, nearest first.
    func place(on parent: LayerID) throws(LayerError) -> LayerStack
}

/// A layer that is unpacked, and not in its store: that it will be when its parent is there.
///
/// One thread at a time, which is what `@unchecked Sendable` stands for. It has to end with `publish` or `abandon`.
public final class StagedLayer: @unchecked Sendable {
    /// Which layer it will be.
    public let id: LayerID
    private let applied: StagedApply
    private let outcome: any StagedOutcome

    init(_ id: LayerID, _ applied: StagedApply, _ outcome: any StagedOutcome) {
        self.id = id
        self.applied = applied
        self.outcome = outcome
    }

    /// Completes the layer on `parent` and puts it into the store. Nil where it has to be unpacked anew upon its parent: then, and
    /// after an error, nothing of it is left.
    ///
    /// Throws `alreadyExists` where somebody else made the layer meanwhile.
    public func publish(on parent: LayerID) throws(LayerError) -> AppliedLayer? {
        do throws(LayerError) {
            let below = try outcome.place(on: parent)
            defer { withExtendedLifetime(below) {} }
            guard let report = try applied.settle(over: below.paths) else {
                outcome.abandon()
                return nil
            }
            try outcome.keep(
                RecordedSize(byteCount: report.uniqueFileBytes, entryCount: report.presentEntries + 1))
            return AppliedLayer(size: report.uniqueFileBytes, report: report)
        } catch {
            outcome.abandon()
            throw error
        }
    }

    /// Removes what was unpacked.
    public func abandon() { outcome.abandon() }
}

extension LayerDriver {
    /// Unpacks the stream, an uncompressed tar, as a layer whose parent need not be there yet; it is in the store once it is
    /// published. Nil, without a look at the stream, for a driver that cannot do that.
    ///
    /// `verify` runs when all was unpacked. After an error nothing is left; what was wrong may be that the parent was not known,
    /// which `createLayer` shows.
    public func stageLayer<Source: SlabSource & ~Copyable>(
        _ id: LayerID, from stream: inout Source, options: ApplyOptions = ApplyOptions(),
        verify: () throws(LayerError) -> Void = {}
    ) throws(LayerError) -> StagedLayer? {
        guard let target = try stagedLayerTarget(id) else { return nil }
        let outcome = target.outcome
        do throws(LayerError) {
            var apply = options
            apply.dialect = target.dialect
            apply.uidMap = configuration.uidMap
            apply.gidMap = configuration.gidMap
            apply.workers = apply.workers ?? configuration.workers
            apply.sync = configuration.sync == .fileSystem ? .syncfs : .none
            let applied = try StagedApply.unpack(&stream, root: target.root, options: apply)
            try verify()
            return StagedLayer(id, applied, outcome)
        } catch {
            outcome.abandon()
            throw error
        }
    }
}
