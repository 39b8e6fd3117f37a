import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Datasets of a ZFS pool: a layer is a clone of a snapshot of its parent (drivers.md 9).
///
/// The store is Docker's: datasets `<root>/<id>` with `mountpoint=legacy`, mounted at `<home>/graph/<id>`. Works with
/// OpenZFS's kernel module and with zfs-fuse; `ZFSPlatform` says where they differ.
public final class ZFSDriver: LayerDriver {
    public let name = DriverName.zfs
    public let configuration: DriverConfiguration
    let platform: ZFSPlatform
    let options: ZFSOptions
    let store: ZFSStore
    let references = MountReferences(.mountPoint)
    let locks = LayerLocks<LayerID>()
    let lock: HomeLock
    let sizes: ZFSSizeRecords

    /// Opens the store at `configuration.home`, or makes an empty one, in the order of drivers.md 9.1.
    ///
    /// Throws `driverUnavailable` where zfs cannot be used here, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        platform = try ZFSPlatform.detect()
        options = try ZFSOptions(configuration)
        let root = if let named = options.root { named } else { try platform.dataset(holding: configuration.home) }
        store = ZFSStore(root: root, tool: ZFSTool(log: configuration.log), log: configuration.log)
        sizes = ZFSSizeRecords(store, platform, home: configuration.home)
        let datasets = try store.list()
        do throws(LayerError) {
            try StoreFiles.makeDirectory(
                configuration.home, mode: 0o710, owner: configuration.directoryOwner, parents: true)
        } catch {
            throw LayerError(
                error.code, "Failed to create", path: configuration.home, cause: error.cause, hint: error.hint)
        }
        lock = try HomeLock(configuration.home)
        if lock.wasAlone {
            var check = ZFSCheck(store, sizes, graph: graph, repair: true)
            try check.datasets(datasets, isAlone: true)
            for finding in check.findings.list { configuration.log(.warning, "zfs: \(finding)") }
            try lock.share()
        }
    }

    /// Where layers are mounted.
    var graph: PathBytes { configuration.home.appending("graph") }
    func mountpoint(_ id: LayerID) -> PathBytes { graph.appending(id.component) }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        let quota = try Self.quota(id, options.storage)
        try store.names.validate(id)
        guard id != parent else {
            throw LayerError(
                .invalidArgument, "create the layer", path: id.component,
                cause: .reason("a layer cannot be its own parent"))
        }
        try locks.withLock(id, sharing: parent) { () throws(LayerError) in
            if store.isKnown(id) { throw DriverErrors.exists(id) }
            if let parent {
                _ = try store.require(parent, "create a layer on the parent")
                // What programs wrote through memory maps is not in the pool yet.
                try syncIfMounted(parent)
            }
            try store.create(id, parent: parent, quota: quota)
        }
    }

    /// The value of the quota, as zfs takes it; nil for none. Every option is looked at (K10).
    static func quota(_ id: LayerID, _ storage: [StorageOption]) throws(LayerError) -> String? {
        var quota: String?
        for option in storage {
            guard option.key.lowercased() == "size" else {
                throw DriverErrors.storageOption(id, "Unknown option \(option.key)")
            }
            // zfs's own words and numbers are a little different from Docker's; both are understood.
            if option.value.lowercased() == "none" {
                quota = nil
            } else {
                let bytes = try DriverOption.byteCount(option.value)
                quota = bytes == 0 ? nil : String(bytes)
            }
        }
        return quota
    }

    private func syncIfMounted(_ id: LayerID) throws(LayerError) {
        let path = mountpoint(id)
        guard references.count(path) > 0 else { return }
        try attempt("sync the layer", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory]).syncFileSystem()
        }
    }

    public func remove(_ id: LayerID) throws(LayerError) {
        try store.names.validate(id)
        let path = mountpoint(id)
        try locks.withLock(id) { () throws(LayerError) in
            try store.destroy(id) { () throws(LayerError) in
                if try MountTable.state(of: path) == .mounted { try ZFSPlatform.unmount(path) }
                try KernelMount.unmountAll(atOrBelow: path)
                references.forget(path)
            }
            try sizes.forget(id)
            try StoreFiles.removeDirectory(path)
        }
    }

    public func exists(_ id: LayerID) -> Bool { (try? store.find(id)) != nil }
    public func layers() throws(LayerError) -> [LayerID] { try store.layers() }

    public func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        try store.require(id, "find the parent of").origin.flatMap(store.names.parent)
    }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        try store.names.validate(id)
        return try locks.withLock(id) { () throws(LayerError) in
            var dataset = try store.require(id, "mount the layer")
            let path = mountpoint(id)
            if !options.readOnly { try sizes.forget(id) }
            switch try references.acquire(path) {
            case .isMounted: return path
            case .mustReplace: try KernelMount.unmount(path, [.detach, .noFollow])
            case .mustMount: break
            }
            do throws(LayerError) {
                try mount(id, &dataset, options)
            } catch {
                references.forget(path)
                try? StoreFiles.removeDirectory(path)
                // Destroyed by somebody else since the list was read.
                if error.code == .notFound {
                    store.forget(id)
                    if try store.find(id) == nil { throw DriverErrors.unknownLayer("mount the layer", id) }
                }
                throw error
            }
            return path
        }
    }

    private func mount(_ id: LayerID, _ dataset: inout ZFSDataset, _ options: MountOptions) throws(LayerError) {
        let (path, owner) = (mountpoint(id), configuration.rootOwner)
        try StoreFiles.makeDirectory(graph, mode: 0o755, owner: owner)
        try StoreFiles.makeDirectory(path, mode: 0o755, owner: owner)
        let known = dataset.mountpoint
        // A layer that is only looked at does not change by being read.
        try platform.mount(
            dataset.name, at: path, mountpoint: &dataset.mountpoint, options: self.options, label: options.label,
            noAccessTimes: options.readOnly, tool: store.tool)
        if dataset.mountpoint != known { store.remember(id, dataset) }
        do throws(LayerError) {
            let found = try StoreFiles.metadata(path)
            guard found?.uid != owner.uid || found?.gid != owner.gid else { return }
            try StoreFiles.setOwner(path, owner)
        } catch {
            try? ZFSPlatform.unmount(path)
            throw error
        }
    }

    public func put(_ id: LayerID) throws(LayerError) {
        do throws(LayerError) { try store.names.validate(id) } catch { return }
        try locks.withLock(id) { () throws(LayerError) in
            let path = mountpoint(id)
            guard try references.release(path) == .mustUnmount else { return }
            do throws(LayerError) {
                try ZFSPlatform.unmount(path)
                try StoreFiles.removeDirectory(path)
            } catch {
                configuration.log(.warning, "unmounting \(id): \(error)")
            }
        }
    }

    /// Unmounts the layers, and nothing else (K7).
    public func cleanup() throws(LayerError) {
        var first: LayerError?
        for entry in try MountTable.read().entries(atOrBelow: graph).reversed() {
            let point = entry.mountPoint
            guard point.splitLast()?.directory == graph else { continue }
            do throws(LayerError) {
                try ZFSPlatform.unmount(point)
                references.forget(point)
                try StoreFiles.removeDirectory(point)
            } catch {
                if first == nil { first = error }
            }
        }
        if let first { throw first }
    }

    public func check(repair: Bool) throws(LayerError) -> [Finding] {
        try lock.whileAlone { (isAlone) throws(LayerError) in
            var check = ZFSCheck(store, sizes, graph: graph, repair: repair)
            try check.mounts()
            let datasets = try store.list()
            try check.datasets(datasets, isAlone: isAlone)
            try check.sizes(datasets, isAlone: isAlone)
            return check.findings.list
        }
    }
}
