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
    /// Whether a mount shows a layer of this store, where that layer is mounted.
    private let owns: @Sendable (MountEntry) -> Bool

    init(
        _ configuration: DriverConfiguration, _ writer: StoreWriter, _ owns: @escaping @Sendable (MountEntry) -> Bool
    ) {
        references = MountReferences(
            .custom { (path) throws(LayerError) in
                let state = try MountTable.state(of: path)
                guard state != .notMounted else { return state }
                let top = try MountTable.read().top(at: path.resolvedParent())
                return top.map(owns) ?? false ? state : .notMounted
            })
        self.owns = owns
        owner = configuration.rootOwner
        log = configuration.log
        self.writer = writer
    }

    /// Counts one more user of `point`; `mount` is called where nothing is mounted there, or only what is left of a dead
    /// server. After a failure there is no mount point that was not there before.
    ///
    /// Throws `inUse` where something is mounted there that shows no layer.
    func acquire(
        _ point: PathBytes, _ access: MountOptions.Access, _ mount: () throws(LayerError) -> Void
    ) throws(LayerError) {
        try refuseForeign(point)
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

    private func refuseForeign(_ point: PathBytes) throws(LayerError) {
        guard try MountTable.state(of: point) != .notMounted,
            let top = try MountTable.read().top(at: point.resolvedParent()), !owns(top)
        else { return }
        throw LayerError(
            .inUse, "mount the layer", path: point,
            cause: .reason("\(top.source) (\(top.fileSystem)) is mounted there, which shows no layer of this store"),
            hint: "unmount that first")
    }

    /// Throws `inUse` where others mounted something at `point` or in it: it would go along with what is unmounted. Returns how
    /// often the layer itself is mounted there.
    @discardableResult
    private func requireNoOthers(
        _ operation: String, _ place: PathBytes, _ point: PathBytes
    ) throws(LayerError) -> Int {
        let entries = try MountTable.mounts(atOrBelow: place)
        guard !entries.isEmpty else { return 0 }
        let own = try point.resolvedParent()
        let count = entries.count { $0.mountPoint == own && owns($0) }
        // Where the layer is not mounted nothing is unmounted.
        if count == 0, place == point { return 0 }
        if count < entries.count, let other = entries.first(where: { $0.mountPoint != own || !owns($0) }) {
            throw LayerError(
                .inUse, operation, path: place,
                cause: .reason("something is mounted in it, at \(other.mountPoint)"), hint: "unmount that first")
        }
        return count
    }

    private func protect(_ point: PathBytes) throws(LayerError) {
        do throws(LayerError) { try KernelMount.protect(point) } catch {
            try? Self.detach(point)
            throw error
        }
    }

    /// Counts one user less; the last one unmounts. What unmounting says is logged only, as Docker does it: the layer is
    /// no longer used either way.
    ///
    /// Throws `inUse`, and counts nobody less, where others mounted something in it.
    func release(
        _ point: PathBytes, _ unmount: (PathBytes) throws(LayerError) -> Void = Self.detach
    ) throws(LayerError) {
        if references.count(point) <= 1 { try requireNoOthers("unmount the layer", point, point) }
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
        for _ in 0..<(try requireNoOthers("remove the layer", layer, point)) {
            try KernelMount.unmount(point, [.detach, .noFollow])
        }
        references.forget(point)
    }

    /// Unmounts a layer wherever one of its mounts lies on another, and removes the point.
    ///
    /// Throws `inUse` where others mounted something there or in it.
    func end(_ point: PathBytes) throws(LayerError) {
        for _ in 0..<(try requireNoOthers("unmount the layer", point, point)) {
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
