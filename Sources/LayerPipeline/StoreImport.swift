package import LayerCompression
package import LayerDrivers
package import LayerEngine
package import LayerModel
import LinuxIO
import Synchronization

/// What an import into a store did.
package struct StoreImportReport: Sendable {
    /// What the engine says of the entries.
    package var layer: ApplyReport
    /// What the stream was; its digests are there if they were asked for or expected.
    package var stream: LayerSummary
    /// The layer's size by the driver's rule, as Docker keeps it.
    package var size: UInt64
    /// Whether the layer was made.
    package var created: Bool
}

/// Puts layers into stores, the same for every driver.
package enum StoreImport {
    /// Unpacks the layer `input` as `id`, made on `parent`, and writes its tar-split metadata to `tarSplit`.
    ///
    /// A layer that does not exist is made, as a read-only one of an image: it appears when it is complete, and after a failure
    /// there is no such layer. Where somebody else makes one of this id meanwhile, one of the two succeeds, and the other ends
    /// with `alreadyExists`, and so does a layer that holds something. A layer that was empty is empty again. `parent` must be
    /// the one that an existing layer has (`invalidArgument`). `options.rootMode` and the id maps and the dialect in
    /// `options.apply` are not used: the store knows. Throws `digestMismatch`, and what the driver and engine throw.
    package static func apply(
        _ input: LayerInput, as id: LayerID, on parent: LayerID?, in driver: any LayerDriver,
        tarSplit: OutputFile? = nil, options: LayerImportOptions = LayerImportOptions()
    ) throws(LayerError) -> StoreImportReport {
        let opened = try OpenLayer(input)
        let isNew = try !driver.exists(id)
        if !isNew, let own = try driver.parent(of: id), own != parent {
            throw LayerError(
                .invalidArgument, "apply the layer", path: id.component,
                cause: .reason("it was made on \(own), not on \(parent.map { "\($0)" } ?? "nothing")"),
                hint: "name its own parent, or make another layer")
        }
        options.progress.inputTotal.store(opened.size, ordering: .relaxed)
        let intake = try LayerIntake(opened, tarSplit: tarSplit, options: options)
        let target = StoreTarget(id, parent, driver, isNew: isNew, options.interruption)
        let (report, summary) = try intake.unpack(into: target)
        try tarSplit?.commit()
        return StoreImportReport(layer: report, stream: summary, size: target.size, created: isNew)
    }
}

/// A layer of a store that is unpacked into, or made.
final class StoreTarget: LayerDestination {
    private let id: LayerID
    private let parent: LayerID?
    private let driver: any LayerDriver
    private let isNew: Bool
    private let interruption: Interruption
    /// The layer's size by the driver's rule, once it is unpacked.
    private(set) var size: UInt64 = 0

    init(
        _ id: LayerID, _ parent: LayerID?, _ driver: any LayerDriver, isNew: Bool, _ interruption: Interruption
    ) {
        self.id = id
        self.parent = parent
        self.driver = driver
        self.isNew = isNew
        self.interruption = interruption
    }

    func unpack<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, options: ApplyOptions, verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport {
        let applied: AppliedLayer
        if isNew {
            applied = try driver.createLayer(
                id, on: parent, from: &stream, options: options, beforeKeeping: verify)
        } else {
            applied = try driver.applyDiff(
                id, onto: parent, from: &stream, mustBeEmpty: true, options: options, beforeKeeping: verify)
        }
        size = applied.size
        return applied.report
    }
}
