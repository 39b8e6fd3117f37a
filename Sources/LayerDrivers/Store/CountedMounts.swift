import LayerModel
import LayerMounts

/// The mount points of a store: made for the first user of a layer, removed after the last.
///
/// Calls for one mount point must not run at once: the caller holds the layer's lock.
struct CountedMounts: Sendable {
    let references: MountReferences
    /// Owner of the directories that are mounted on.
    let owner: Owner
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void
    private let writer: StoreWriter

    init(_ checker: MountReferences.Checker, _ configuration: DriverConfiguration, _ writer: StoreWriter) {
        references = MountReferences(checker)
        owner = configuration.rootOwner
        log = configuration.log
        self.writer = writer
    }

    /// Counts one more user of `point`; `mount` is called where nothing is mounted there, or only what is left of a dead
    /// server. After a failure there is no mount point that was not there before.
    func acquire(
        _ point: PathBytes, _ access: MountOptions.Access, _ mount: () throws(LayerError) -> Void
    ) throws(LayerError) {
        switch try references.acquire(point) {
        case .isMounted: return try references.allow(access, point)
        case .mustReplace: try KernelMount.unmount(point, [.detach, .noFollow])
        case .mustMount: break
        }
        var isNew = false
        do throws(LayerError) {
            isNew = try writer.makeDirectory(point, mode: 0o700, owner: owner, parents: true)
            try mount()
            if access == .readOnly { try protect(point) }
        } catch {
            references.forget(point)
            if isNew { try? writer.removeDirectory(point) }
            throw error
        }
    }

    private func protect(_ point: PathBytes) throws(LayerError) {
        do throws(LayerError) { try KernelMount.protect(point) } catch {
            try? Self.detach(point)
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
            try writer.removeDirectory(point)
        } catch {
            log(.warning, "after the last use: \(error)")
        }
    }

    /// Unmounts a layer that is about to go, however often it was mounted, and drops its count.
    ///
    /// Throws `inUse` where something is mounted in the layer's directory that no driver put there: it would go with the layer.
    func clear(_ layer: PathBytes, _ point: PathBytes) throws(LayerError) {
        let entries = try MountTable.mounts(atOrBelow: layer)
        let own = try point.resolvedParent()
        if let other = entries.first(where: { $0.mountPoint != own || !$0.isUnion }) {
            throw LayerError(
                .inUse, "remove the layer", path: layer,
                cause: .reason("something is mounted in it, at \(other.mountPoint)"), hint: "unmount that first")
        }
        for _ in entries { try KernelMount.unmount(point, [.detach, .noFollow]) }
        references.forget(point)
    }

    /// Unmounts everything at a mount point of the store, where one union may lie on another, and removes the point.
    func end(_ point: PathBytes) throws(LayerError) {
        for _ in try MountTable.mounts(atOrBelow: point).filter({ $0.mountPoint == point && $0.isUnion }) {
            try KernelMount.unmount(point, [.detach, .noFollow])
        }
        references.forget(point)
        if try !StoreFiles.isMountPoint(point) { try writer.removeDirectory(point) }
    }

    /// Takes the mount out of sight at once; the kernel ends it when nothing uses it any more.
    static func detach(_ point: PathBytes) throws(LayerError) {
        try KernelMount.unmount(point, [.detach, .noFollow])
    }
}

extension MountReferences {
    /// Throws `inUse`, and takes the reference back, where what is mounted at `point` already is not what one wants: to be
    /// written to, or kept from that.
    func allow(_ access: MountOptions.Access, _ point: PathBytes) throws(LayerError) {
        guard access != .looking else { return }
        do throws(LayerError) {
            guard let mount = try MountTable.read().top(at: point.resolvedParent()) else { return }
            let why: String
            switch access {
            case .readOnly where !mount.isReadOnly && !mount.isProtected:
                why = "it is mounted so that it can be written to"
            case .readWrite where mount.isProtected && !mount.isReadOnly: why = "it is mounted read-only"
            default: return
            }
            throw LayerError(.inUse, "mount the layer", path: point, cause: .reason(why), hint: "unmount it first")
        } catch {
            _ = try release(point)
            throw error
        }
    }
}

extension MountEntry {
    /// Whether it is of a kind that drivers show layers by: overlayfs, or a helper of FUSE.
    var isUnion: Bool { fileSystem == "overlay" || fileSystem.hasPrefix("fuse") }
}
