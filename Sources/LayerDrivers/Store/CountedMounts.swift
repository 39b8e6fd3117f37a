import LayerModel
import LayerMounts

/// The mount points of a store: made for the first user of a layer, removed after the last (drivers.md 6.7, 6.8).
///
/// Calls for one mount point must not run at once: the caller holds the layer's lock.
struct CountedMounts: Sendable {
    let references: MountReferences
    /// Owner of the directories that are mounted on.
    let owner: Owner
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(_ checker: MountReferences.Checker, _ configuration: DriverConfiguration) {
        references = MountReferences(checker)
        owner = configuration.rootOwner
        log = configuration.log
    }

    /// Counts one more user of `point`; `mount` is called where nothing is mounted there, or only what is left of a dead
    /// server. After a failure there is no mount point.
    func acquire(_ point: PathBytes, _ mount: () throws(LayerError) -> Void) throws(LayerError) {
        switch try references.acquire(point) {
        case .isMounted: return
        case .mustReplace: try KernelMount.unmount(point, [.detach, .noFollow])
        case .mustMount: break
        }
        do throws(LayerError) {
            try StoreFiles.makeDirectory(point, mode: 0o700, owner: owner, parents: true)
            try mount()
        } catch {
            references.forget(point)
            try? StoreFiles.removeDirectory(point)
            throw error
        }
    }

    /// Counts one user less; the last one unmounts. What unmounting says is logged only, as Docker does it: the layer is
    /// no longer used either way.
    func release(
        _ point: PathBytes, _ unmount: (PathBytes) throws(LayerError) -> Void = Self.detach
    ) throws(LayerError) {
        guard try references.release(point) == .mustUnmount else { return }
        do throws(LayerError) {
            try unmount(point)
            try StoreFiles.removeDirectory(point)
        } catch {
            log(.warning, "after the last use: \(error)")
        }
    }

    /// Unmounts whatever is mounted at or below a layer that is about to go, and drops its count.
    func clear(_ layer: PathBytes, _ point: PathBytes) throws(LayerError) {
        try KernelMount.unmountAll(atOrBelow: layer)
        references.forget(point)
    }

    /// Takes the mount out of sight at once; the kernel ends it when nothing uses it any more.
    static func detach(_ point: PathBytes) throws(LayerError) {
        try KernelMount.unmount(point, [.detach, .noFollow])
    }
}
