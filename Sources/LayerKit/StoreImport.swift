public import LayerCompression
import LayerDrivers
public import LayerEngine
public import LayerModel
import LinuxIO
import Synchronization

/// What an import into a store did.
public struct StoreImportReport: Sendable {
    /// What the engine says of the entries.
    public var layer: ApplyReport
    /// What the stream was; its digests are there if they were asked for or expected.
    public var stream: LayerSummary
    /// The layer's size by the driver's rule, as Docker keeps it.
    public var size: UInt64
    /// Whether the layer was made.
    public var created: Bool
}

/// Puts layers into stores, the same for every driver.
public enum StoreImport {
    /// Unpacks the layer `input` as `layer.id`, made on `layer.parent`, and writes its tar-split metadata to `tarSplit`.
    ///
    /// A layer that does not exist is made, as a read-only one of an image, and there is no such layer after a failure.
    /// One that was empty is empty again; one that held something is only touched when the digests of a file are
    /// verified, and a pipe has to be trusted as it comes. `options.rootMode` and the id maps and the dialect in
    /// `options.apply` are not used: the store knows. Throws `digestMismatch`, and what the driver and engine throw.
    public static func apply(
        _ input: LayerInput, as layer: StoreLayer, tarSplit: LayerOutput? = nil,
        options: LayerImportOptions = LayerImportOptions()
    ) throws(LayerError) -> StoreImportReport {
        let opened = try OpenLayer(input)
        let (driver, id) = (layer.driver, layer.id)
        let isNew = !driver.exists(id)
        let verifiesFirst = options.isExpecting && !isNew && opened.start != nil
        options.progress.inputTotal.store(opened.size * (verifiesFirst ? 2 : 1), ordering: .relaxed)
        let intake = try LayerIntake(opened, tarSplit: tarSplit, options: options)
        if verifiesFirst { try intake.verifyAhead() }
        if isNew { try driver.create(id, parent: layer.parent, options: CreateOptions()) }
        do throws(LayerError) {
            let target = StoreTarget(layer)
            let (report, summary) = try intake.unpack(into: target)
            try tarSplit?.commit()
            return StoreImportReport(layer: report, stream: summary, size: target.size, created: isNew)
        } catch {
            options.interruption.beginCleaningUp()
            throw isNew ? StoreUndo.remove(id, from: driver, after: error) : error
        }
    }
}

/// Takes back layers that were made for a job which failed.
enum StoreUndo {
    /// Removes the layer and returns the error to throw.
    static func remove(_ id: LayerID, from driver: any LayerDriver, after error: LayerError) -> LayerError {
        do throws(LayerError) {
            try driver.remove(id)
            return error
        } catch let removal {
            var result = error
            result.hint = "the layer \(id) could not be removed again (\(removal)): ldiff layer remove does it"
            return result
        }
    }
}

/// A layer of a store that is unpacked into.
final class StoreTarget: LayerDestination {
    private let layer: StoreLayer
    /// The layer's size by the driver's rule, once it is unpacked.
    private(set) var size: UInt64 = 0

    init(_ layer: StoreLayer) { self.layer = layer }

    func unpack<Source: SlabSource & ~Copyable>(
        _ stream: inout Source, options: ApplyOptions, verify: () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyReport {
        let applied = try layer.driver.applyDiff(
            layer.id, onto: layer.parent, from: &stream, options: options, beforeKeeping: verify)
        size = applied.size
        return applied.report
    }
}
