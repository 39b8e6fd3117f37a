import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Datasets of a ZFS pool: a layer is a clone of a snapshot of its parent.
///
/// The store is Docker's: datasets `<root>/<id>` with `mountpoint=legacy`, mounted at `<home>/graph/<id>`. Works with
/// OpenZFS's kernel module and with zfs-fuse; `ZFSPlatform` says where they differ.
public final class ZFSDriver: LayerDriver {
    public let name = DriverName.zfs
    public let configuration: DriverConfiguration
    let looking: ZFSReader
    let store: ZFSStore
    let sizes: ZFSSizeKeeper

    public var reader: any StoreReader { looking }
    var platform: ZFSPlatform { looking.platform }
    var mounts: ZFSMounts { looking.mounts }
    var locks: ZFSLocks { looking.locks }

    /// Opens the store at `configuration.home`, or makes an empty one, in Docker's order.
    ///
    /// Throws `driverUnavailable` where zfs cannot be used here, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        let tool = ZFSTool(log: configuration.log)
        let (looking, datasets) = try ZFSReader.opening(configuration, tool)
        self.looking = looking
        store = ZFSStore(view: looking.view, tool: tool, log: configuration.log)
        sizes = ZFSSizeKeeper(looking.sizes, store)
        do throws(LayerError) {
            try StoreWriter().makeDirectory(
                configuration.home, mode: 0o710, owner: configuration.directoryOwner, parents: true)
        } catch {
            throw LayerError(
                error.code, "Failed to create", path: configuration.home, cause: error.cause, hint: error.hint)
        }
        var check = ZFSCheck(looking.view, mounts, looking.sizes, mender)
        check.leftovers(datasets, all: false)
        for finding in check.findings.list { configuration.log(.warning, "zfs: \(finding)") }
    }

    private var mender: ZFSCheck.Mender { ZFSCheck.Mender(store: store, sizes: sizes, locks: locks) }

    /// Where a layer is mounted.
    func mountpoint(_ id: LayerID) -> PathBytes { mounts.point(id) }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        let quota = try checked(id, parent, options)
        try locks.withLock(id, sharing: parent) { () throws(LayerError) in
            try beforeCreating(id, parent)
            try store.create(id, parent: parent, quota: quota)
        }
    }

    /// Refuses what no layer can be made of; returns its quota.
    func checked(_ id: LayerID, _ parent: LayerID?, _ options: CreateOptions) throws(LayerError) -> String? {
        let quota = try Self.quota(id, options.storage)
        try store.names.validate(id)
        guard id != parent else {
            throw LayerError(
                .invalidArgument, "create the layer", path: id.component,
                cause: .reason("a layer cannot be its own parent"))
        }
        return quota
    }

    func beforeCreating(_ id: LayerID, _ parent: LayerID?) throws(LayerError) {
        // Another process may have removed it since it was known.
        if store.view.isKnown(id), try !store.view.prove(id).isEmpty { throw DriverErrors.exists(id) }
        guard let parent else { return }
        _ = try store.view.require(parent, "create a layer on the parent")
        // What programs wrote through memory maps is not in the pool yet.
        try syncIfMounted(parent)
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
        guard mounts.references.count(path) > 0 else { return }
        try attempt("sync the layer", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory]).syncFileSystem()
        }
    }

    /// What is called so and is no layer stays, and is no error: there is no such layer.
    ///
    /// Throws `inUse` where layers were made on it, or anything that is not ours depends on it.
    public func remove(_ id: LayerID) throws(LayerError) {
        try remove(id) { _ in true }
    }

    /// The same, if it is the dataset that `isMeant` says.
    func remove(_ id: LayerID, _ isMeant: (ZFSDataset) -> Bool) throws(LayerError) {
        try store.names.validate(id)
        let path = mountpoint(id)
        try locks.withLock(id) { () throws(LayerError) in
            if let found = try store.view.prove(id).first {
                if !isMeant(found) { return }
            } else if try store.view.look(store.names.dataset(id)) != nil {
                throw LayerError(
                    .invalidArgument, "remove the layer", path: id.component,
                    cause: .reason("the dataset \(store.names.dataset(id)) is no layer"),
                    hint: "destroy it by zfs destroy, if it is to go, or choose another id")
            }
            let isDestroyed = try store.destroy(id) { () throws(LayerError) in
                try mounts.unmountAll(path, "remove the layer")
                try sizes.forget(id)
            }
            // Not before: whoever has it mounted in another mount namespace would lose it, and nobody would know that it was busy.
            if isDestroyed { mounts.removePoint(path) }
        }
    }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        try store.names.validate(id)
        return try mounts.get(id, store.view, options) { () throws(LayerError) in
            if options.access == .readWrite { try sizes.forget(id) }
        }
    }

    public func put(_ id: LayerID) throws(LayerError) {
        do throws(LayerError) { try store.names.validate(id) } catch { return }
        try mounts.put(id)
    }

    /// Unmounts the layers, and nothing else (K7).
    public func cleanup() throws(LayerError) {
        var first: LayerError?
        for entry in try MountTable.read().entries(atOrBelow: mounts.graph).reversed() where mounts.isOurs(entry) {
            do throws(LayerError) {
                guard let id = store.names.layer(String(decoding: entry.source.bytes, as: UTF8.self)),
                    try store.view.find(id) != nil
                else { continue }
                try mounts.unmount(entry.mountPoint)
                mounts.references.forget(entry.mountPoint)
            } catch {
                if first == nil { first = error }
            }
        }
        if let first { throw first }
    }

    public func repair() throws(LayerError) -> [Finding] {
        var check = ZFSCheck(looking.view, mounts, looking.sizes, mender)
        return try check.run()
    }
}
