import LayerModel
import LayerMounts
import LinuxIO

/// Unpacks into a mounted dataset, whose state before is kept in a snapshot until the layer is complete: so a layer has
/// all of its archive or nothing of it, whenever the process ends.
final class ZFSApply: ApplyOutcome {
    private let sizes: ZFSSizeKeeper
    private let store: ZFSStore
    private let locks: ZFSLocks
    private let id: LayerID
    /// Whether the layer has no parent and was empty, so that its size is what was unpacked.
    private let isBare: Bool
    private let mounted: Mounted

    private final class Mounted: Sendable {
        let layer: MountedLayer
        init(_ layer: consuming MountedLayer) { self.layer = layer }
    }

    /// Takes the snapshot. `layer` stays mounted until the unpacking has ended.
    ///
    /// Throws `inUse` where somebody else is unpacking into the layer, or did so and was killed (`check` mends that).
    init(
        _ id: LayerID, _ layer: consuming MountedLayer, _ store: ZFSStore, _ sizes: ZFSSizeKeeper, _ locks: ZFSLocks,
        isBare: Bool
    ) throws(LayerError) {
        self.id = id
        self.store = store
        self.sizes = sizes
        self.locks = locks
        self.isBare = isBare
        mounted = Mounted(layer)
        try locks.withLock(id) { () throws(LayerError) in try store.beginApply(id) }
    }

    func keep(_ size: RecordedSize) throws(LayerError) {
        try store.endApply(id)
        sizes.keepApplied(size, of: id, isBare: isBare)
    }

    func abandon() {
        do throws(LayerError) {
            try locks.withLock(id) { () throws(LayerError) in try store.takeBackApply(id) }
        } catch {
            store.log(.warning, "zfs: \(error)")
        }
    }
}

/// Unpacks into a dataset that is no layer yet, and becomes one, as a whole, when it is renamed.
final class ZFSNewLayer: ApplyOutcome {
    private let driver: ZFSDriver
    private let id: LayerID
    private let parent: LayerID?
    /// The dataset, and where it is mounted.
    private let building: String
    /// Which dataset it is, whatever it is called; empty before it is kept.
    private let guid = Monitor("")
    private let point: PathBytes

    init(_ driver: ZFSDriver, _ id: LayerID, parent: LayerID?, _ building: String, at point: PathBytes) {
        self.driver = driver
        self.id = id
        self.parent = parent
        self.building = building
        self.point = point
    }

    /// Throws `alreadyExists` where somebody else made the layer meanwhile; then nothing is changed.
    func keep(_ size: RecordedSize) throws(LayerError) {
        try driver.mounts.clear(point, "unmount the new layer")
        try driver.locks.withLock(id, sharing: parent) { () throws(LayerError) in
            try driver.store.publish(building, as: id)
            let made = try driver.store.view.prove(id).first?.guid ?? ""
            guid.change { $0 = made }
        }
        driver.sizes.keepApplied(size, of: id, isBare: parent == nil)
    }

    func takeBack() throws(LayerError) {
        let made = guid.change { $0 }
        try driver.remove(id) { !made.isEmpty && $0.guid == made }
    }

    func abandon() {
        do throws(LayerError) {
            try driver.mounts.clear(point, "unmount the new layer")
            try driver.store.destroyLeftover(building)
        } catch {
            driver.configuration.log(.warning, "zfs: taking back what was unpacked for \(id): \(error)")
        }
    }
}
