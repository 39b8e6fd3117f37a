import LayerModel
import LayerMounts
import LinuxIO

/// A store whose layers have a directory each, changed.
protocol MergedStore: Sendable {
    associatedtype View: MergedView
    var view: View { get }
    var work: WorkArea { get }
    var writer: StoreWriter { get }
    var unfinished: UnfinishedLayers { get }
    var log: @Sendable (DriverConfiguration.LogLevel, String) -> Void { get }
    /// Takes the layer out of the store in one step. The caller has unmounted it and holds its lock.
    func take(_ layer: ProvenLayer, _ lock: FileLock) throws(LayerError) -> WorkDirectory
}

extension MergedStore {
    /// Removes what was taken out of the store; what cannot be removed is left to the next sweep.
    func discard(_ removed: WorkDirectory?) { removed?.discard(log) }

    /// Removes what was built and not published.
    func abandon(_ id: LayerID, _ holder: WorkDirectory) {
        if let state = try? view.state(of: id), state != .unfinished { unfinished.forget(id) }
        try? holder.remove()
    }

    /// What lies under the id and is no layer: it was being made when a process ended.
    ///
    /// Throws `alreadyExists` for a layer, and for one that a living process makes; and for what is not ours.
    func leftover(_ id: LayerID) throws(LayerError) -> ProvenLayer? {
        let layer: ProvenLayer
        switch try view.form(of: id) {
        case .absent:
            // In a store that others add to this one.
            if try view.state(of: id) != .absent { throw DriverErrors.exists(id) }
            return nil
        case .foreign(let why): throw DriverErrors.occupied(id, why)
        case .ours(let found): layer = found
        }
        switch try view.state(of: id) {
        case .complete: throw DriverErrors.exists(id)
        case .absent: return layer
        case .unfinished:
            if view.seesUnfinished { throw DriverErrors.exists(id) }
            guard try !UnfinishedLayers.hasMaker(view.unfinishedMark(id)) else { throw DriverErrors.beingMade(id) }
            return layer
        }
    }
}

extension Findings {
    /// What ended processes left where layers are made, and where kernels are tried out.
    mutating func addLeftovers<Store>(
        _ view: Store.View, probes: [PathBytes]
    ) throws(LayerError) where Mender == MergedLayers<Store> {
        for path in try WorkArea.leftovers(home: view.home, view.parts) {
            add(.unfinished, path, "a layer that was being made or removed", "it is removed") {
                (mender) throws(LayerError) in try mender.store.work.claim(path)?.remove(tries: 1)
            }
        }
        for directory in probes {
            for path in try ProbeLeftovers.find(in: directory) {
                add(.probe, path, "left by a probe of the kernel", "it is removed") { (_) throws(LayerError) in
                    try ProbeLeftovers.remove(path)
                }
            }
        }
    }

    /// What ended processes left half unpacked and half written in a layer's directory.
    mutating func addLeftovers<Store>(
        in directory: PathBytes, of id: LayerID
    ) throws(LayerError) where Mender == MergedLayers<Store> {
        for name in try StoreFiles.names(in: directory) {
            let path = directory.appending(name)
            if StoreFiles.isRandomName(name, Array(ContentSwap.prefix.utf8)) {
                guard case .taken = try FileLock.tryTake(path, .shared) else { continue }
                add(.unfinished, path, "a layer that was being unpacked", "what was unpacked is removed") {
                    (mender) throws(LayerError) in
                    try mender.guarded.withLock(id) { (_) throws(LayerError) in try mender.clear(path) }
                }
            } else if LayerParts.isTemporary(name) {
                add(.unfinished, path, "a file that was being written", "it is removed") {
                    (mender) throws(LayerError) in
                    try mender.guarded.withLock(id) { (_) throws(LayerError) in try mender.store.writer.unlink(path) }
                }
            }
        }
    }
}
