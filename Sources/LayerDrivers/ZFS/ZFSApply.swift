import LayerModel
import LinuxIO

/// Unpacks into a mounted dataset, whose state before is kept in a snapshot until the layer is complete: so a layer has
/// all of its archive or nothing of it, whenever the process ends.
final class ZFSApply: ApplyOutcome {
    private let sizes: ZFSSizeRecords
    private var store: ZFSStore { sizes.store }
    private let id: LayerID
    /// Whether the layer has no parent and was empty, so that its size is what was unpacked.
    private let isBare: Bool
    private let mounted: Mounted
    private let warn: @Sendable (String) -> Void

    private final class Mounted: Sendable {
        let layer: MountedLayer
        init(_ layer: consuming MountedLayer) { self.layer = layer }
    }

    /// Takes the snapshot. `layer` stays mounted until the unpacking has ended.
    ///
    /// Throws `inUse` where somebody else is unpacking into the layer, or did so and was killed (`check` mends that).
    init(
        _ id: LayerID, _ layer: consuming MountedLayer, _ sizes: ZFSSizeRecords, isBare: Bool,
        warn: @escaping @Sendable (String) -> Void
    ) throws(LayerError) {
        self.id = id
        self.sizes = sizes
        self.isBare = isBare
        self.warn = warn
        mounted = Mounted(layer)
        do throws(ZFSFailure) {
            try store.tool.zfs(["snapshot", store.names.applySnapshot(id)])
        } catch {
            guard error.kind == .exists else { throw error.error("apply the layer", id.component) }
            throw LayerError(
                .inUse, "apply the layer", path: id.component,
                cause: .reason("another layer is being unpacked into it, or was when its process ended"),
                hint: "ldiff layer check --repair takes back what a crash left")
        }
    }

    func keep(_ size: RecordedSize) throws(LayerError) {
        _ = try attemptZFS("apply the layer", id.component) { () throws(ZFSFailure) in
            try store.tool.zfs(["destroy", store.names.applySnapshot(id)])
        }
        // The layer is complete: a size that cannot be kept is counted when it is asked for, as that of a layer on a parent,
        // of which only a comparison tells what the parent has alike.
        if isBare, let token = sizes.begin(id) {
            do throws(LayerError) { try sizes.keep(size, of: id, token: token) } catch { sizes.drop(id) }
        } else {
            try? sizes.expect(id)
        }
    }

    func abandon() {
        if let failure = Self.takeBack(id, store) {
            warn("zfs: taking back what was unpacked into \(id): \(failure.text)")
        }
    }

    /// Brings the layer back to its state before; nil is success.
    static func takeBack(_ id: LayerID, _ store: ZFSStore) -> ZFSFailure? {
        let snapshot = store.names.applySnapshot(id)
        var last: ZFSFailure?
        for attempt in 0..<20 {
            if attempt > 0 { ProcessState.sleep(milliseconds: 100) }
            do throws(ZFSFailure) {
                try store.tool.zfs(["rollback", snapshot])
                try store.tool.zfs(["destroy", snapshot])
                return nil
            } catch {
                if error.kind == .missing { return nil }
                last = error
                guard error.kind == .busy else { break }
            }
        }
        return last
    }
}
