import LayerModel
import LayerMounts
import LinuxIO

/// The mounts of a store's layers, at `<home>/graph/<id>`.
///
/// Only what shows the layer's own dataset is taken for its mount: somebody else's mount there is never used nor taken away.
struct ZFSMounts: Sendable {
    let graph: PathBytes
    let references: MountReferences
    private let names: ZFSNames
    private let platform: ZFSPlatform
    private let options: ZFSOptions
    private let owner: Owner
    private let locks: ZFSLocks
    private let tool: ZFSTool
    private let writer = StoreWriter()
    private let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(
        _ configuration: DriverConfiguration, _ view: ZFSView, _ platform: ZFSPlatform, _ options: ZFSOptions,
        _ locks: ZFSLocks, _ tool: ZFSTool
    ) {
        let (graph, names) = (view.graph, view.names)
        self.graph = graph
        self.names = names
        self.platform = platform
        self.options = options
        self.locks = locks
        self.tool = tool
        owner = configuration.rootOwner
        log = configuration.log
        references = MountReferences(
            .custom { (path) throws(LayerError) in
                let state = try MountTable.state(of: path)
                guard state != .notMounted else { return state }
                return try Self.isOurs(MountTable.read().top(at: path), graph, names) ? state : .notMounted
            })
    }

    func point(_ id: LayerID) -> PathBytes { graph.appending(id.component) }

    // MARK: whose mounts

    /// Whether a mount shows the dataset that belongs to where it lies.
    private static func isOurs(_ mount: MountEntry?, _ graph: PathBytes, _ names: ZFSNames) -> Bool {
        guard let mount, mount.mountPoint.splitLast()?.directory == graph else { return false }
        return shows(mount, mount.mountPoint, names)
    }

    /// Whether a mount, wherever it lies, shows the dataset whose own mount point is `point`.
    private static func shows(_ mount: MountEntry, _ point: PathBytes, _ names: ZFSNames) -> Bool {
        guard let name = point.splitLast()?.name, ["zfs", "fuse.zfs", "fuse"].contains(mount.fileSystem) else {
            return false
        }
        return mount.source == PathBytes(Array((names.root + "/").utf8) + name.bytes)
    }

    func isOurs(_ mount: MountEntry) -> Bool { Self.isOurs(mount, graph, names) }

    /// Throws `inUse` where something else is mounted at a mount point.
    private func refuseForeign(at path: PathBytes) throws(LayerError) {
        guard try MountTable.state(of: path) != .notMounted, let top = try MountTable.read().top(at: path), !isOurs(top)
        else { return }
        throw LayerError(
            .inUse, "mount the layer", path: path, cause: .reason("\(top.source) is mounted there, which is no layer"),
            hint: "unmount that first")
    }

    // MARK: mounting

    /// Mounts a layer for its first user, and counts one more; `willWrite` runs before a layer can be written to.
    func get(
        _ id: LayerID, _ view: ZFSView, _ wanted: MountOptions, _ willWrite: () throws(LayerError) -> Void
    ) throws(LayerError) -> PathBytes {
        try locks.withLock(id) { () throws(LayerError) in
            var dataset = try view.require(id, "mount the layer")
            let path = point(id)
            try refuseForeign(at: path)
            try willWrite()
            switch try references.acquire(path) {
            case .isMounted:
                try references.allow(wanted.access, path)
                return path
            case .mustReplace: try KernelMount.unmount(path, [.detach, .noFollow])
            case .mustMount: break
            }
            do throws(LayerError) {
                let known = dataset.mountpoint
                try mount(dataset.name, at: path, &dataset.mountpoint, wanted)
                if dataset.mountpoint != known { view.remember(id, dataset) }
            } catch {
                references.forget(path)
                // Destroyed by somebody else since the list was read.
                if error.code == .notFound, try view.prove(id).isEmpty {
                    throw DriverErrors.unknownLayer("mount the layer", id)
                }
                throw error
            }
            return path
        }
    }

    /// Mounts a dataset; a failure leaves no mount point.
    func mount(
        _ dataset: String, at path: PathBytes, _ mountpoint: inout PathBytes, _ wanted: MountOptions
    ) throws(LayerError) {
        do throws(LayerError) {
            try writer.makeDirectory(graph, mode: 0o755, owner: owner)
            try writer.makeDirectory(path, mode: 0o755, owner: owner)
            // A layer that is only looked at does not change by being read.
            try platform.mount(
                dataset, at: path, mountpoint: &mountpoint, options: options, label: wanted.label,
                noAccessTimes: wanted.access != .readWrite, tool: tool)
            let found = try StoreFiles.metadata(path)
            if found?.uid != owner.uid || found?.gid != owner.gid { try writer.setOwner(path, owner) }
            if wanted.access == .readOnly { try KernelMount.protect(path) }
        } catch {
            if let top = try? MountTable.read().top(at: path), isOurs(top) { try? ZFSPlatform.unmount(path) }
            removePoint(path)
            throw error
        }
    }

    /// Counts one user less, and unmounts after the last. Throws `inUse`, and counts nobody less, where something is mounted in it.
    func put(_ id: LayerID) throws(LayerError) {
        try locks.withLock(id) { () throws(LayerError) in
            let path = point(id)
            if references.count(path) <= 1 { try MountTable.requireNothing(below: path, "unmount the layer") }
            guard try references.release(path) == .mustUnmount else { return }
            do throws(LayerError) {
                try unmount(path)
            } catch {
                log(.warning, "unmounting \(id): \(error)")
            }
        }
    }

    // MARK: unmounting

    /// Unmounts what is there of a layer, which others may have mounted, and removes its mount point.
    ///
    /// Throws `inUse`, before anything is unmounted, where something else is mounted there or in it.
    func clear(_ path: PathBytes, _ operation: String) throws(LayerError) {
        try unmountAll(path, operation)
        removePoint(path)
    }

    /// The same, and leaves the mount point: removing it takes away what is mounted there in other mount namespaces, too.
    func unmountAll(_ path: PathBytes, _ operation: String) throws(LayerError) {
        let table = try MountTable.read()
        let entries = table.entries(atOrBelow: path)
        if let other = entries.first(where: { !isOurs($0) }) {
            throw LayerError(
                .inUse, operation, path: path,
                cause: .reason("something else is mounted in it, at \(other.mountPoint)"),
                hint: "unmount that first")
        }
        // zfs takes these away with the dataset, without asking.
        if let other = table.entries.first(where: { Self.shows($0, path, names) && !isOurs($0) }) {
            throw LayerError(
                .inUse, operation, path: path, cause: .reason("somebody mounted it at \(other.mountPoint), too"),
                hint: "unmount that first")
        }
        for _ in entries { try ZFSPlatform.unmount(path) }
        references.forget(path)
    }

    /// Unmounts the uppermost mount of a layer, and removes its mount point.
    ///
    /// Throws `inUse` where something else is mounted in it, which an unmount would take along.
    func unmount(_ path: PathBytes) throws(LayerError) {
        try MountTable.requireNothing(below: path, "unmount the layer")
        try ZFSPlatform.unmount(path)
        removePoint(path)
    }

    /// Removes a mount point. One that is mounted still, or into which somebody put something, stays.
    func removePoint(_ path: PathBytes) {
        do throws(LayerError) {
            guard try MountTable.state(of: path) == .notMounted else { return }
            try writer.removeDirectory(path)
        } catch {
            log(.warning, "zfs: removing the mount point \(path): \(error)")
        }
    }
}
