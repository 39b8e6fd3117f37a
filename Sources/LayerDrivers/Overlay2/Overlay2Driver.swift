import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Kernel overlayfs with many lower layers, each holding only its own changes; Docker's default driver (drivers.md 6).
///
/// The store is Docker's: either can open what the other made.
public final class Overlay2Driver: LayerDriver {
    public let name = DriverName.overlay2
    public let configuration: DriverConfiguration
    let store: OverlayStore
    let kernel: OverlayKernel
    let options: Overlay2Options
    let quota: LayerQuota
    private let mounts: CountedMounts
    let locks = LayerLocks<LayerID>()
    let lock: HomeLock

    /// Opens the store at `configuration.home`, or makes an empty one (drivers.md 6.3).
    ///
    /// Throws `driverUnavailable` where the kernel or the file system cannot do it, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        options = try Overlay2Options(configuration)
        kernel = try OverlayKernel(.overlay2, configuration, lowerCount: 2)
        try OverlayHome.make(configuration, layerOwner: configuration.directoryOwner)
        let content = Owner(uid: configuration.rootOwner.uid, gid: configuration.rootOwner.gid)
        store = OverlayStore(
            configuration,
            OverlayStore.Layout(
                driver: .overlay2, layerOwner: configuration.directoryOwner, workOwner: content, workMode: 0o700,
                contentOwner: content),
            additional: options.additional)
        quota = try LayerQuota(configuration, defaultLimit: options.size, fileSystem: kernel.fileSystemName)
        mounts = CountedMounts(.fileSystem(magic: FileSystemKind.overlay.magic), configuration)
        lock = try HomeLock(configuration.home)
        try store.sweep(lock)
    }

    public var additionalImageStores: [PathBytes] { options.additional.homes }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try LayerQuota.refuse(options.storage)
        try make(id, parent, limit: nil)
    }

    public func createReadWrite(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try make(id, parent, limit: try quota.limit(options.storage))
    }

    private func make(_ id: LayerID, _ parent: LayerID?, limit: UInt64?) throws(LayerError) {
        guard id != parent else { return try store.create(id, parent: parent) }
        try locks.withLock(id, sharing: parent) { () throws(LayerError) in
            try store.create(id, parent: parent) { (directory) throws(LayerError) in
                if let limit { try quota.set(limit, on: directory) }
            }
        }
    }

    /// A template's contents are one more layer below.
    public func createFromTemplate(
        _ id: LayerID, template: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError) {
        if readWrite {
            try createReadWrite(id, parent: template, options: options)
        } else {
            try create(id, parent: template, options: options)
        }
    }

    public func remove(_ id: LayerID) throws(LayerError) {
        try store.validate(id)
        try locks.withLock(id) { () throws(LayerError) in
            let layer = store.layer(id)
            try mounts.clear(layer, store.merged(id))
            quota.clear(layer)
            try store.remove(id)
        }
    }

    public func exists(_ id: LayerID) -> Bool { store.exists(id) }
    public func layers() throws(LayerError) -> [LayerID] { try store.layers() }

    public func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        try store.require(id, "find the parent of")
        return try store.parent(of: id)
    }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try store.require(id, "mount the layer")
        return try locks.withLock(id) { () throws(LayerError) in
            let chain = try store.chain(of: id)
            let isCommitted = try store.isCommitted(id)
            guard !chain.elements.isEmpty else {
                // A base layer is its own tree, and whoever asked may write into it.
                if !isCommitted { try store.record(of: id).forget() }
                return store.contents(id)
            }
            let merged = store.merged(id)
            try mounts.acquire(merged) { () throws(LayerError) in
                try mount(id, chain, readOnly: isCommitted, label: options.label)
            }
            return merged
        }
    }

    private func mount(_ id: LayerID, _ chain: LowerChain, readOnly: Bool, label: String) throws(LayerError) {
        let merged = store.merged(id)
        let overlay = OverlayPlan.mount(
            store, id, chain, readOnly: readOnly, options: kernel.mountOptions, label: label)
        try overlay.mount(at: merged, relativeTo: store.home, api: kernel.mountAPI)
        guard !readOnly else { return }
        do throws(LayerError) {
            // Copying up a directory in a user namespace needs the kernel's own work directory to be root's there.
            try StoreFiles.setOwner(store.work(id).appending("work"), configuration.rootOwner)
        } catch {
            try? KernelMount.unmount(merged, .noFollow)
            throw error
        }
    }

    public func put(_ id: LayerID) throws(LayerError) {
        guard !OverlayStore.isReserved(id.component) else { return }
        try locks.withLock(id) { () throws(LayerError) in
            try mounts.release(store.merged(id))
        }
    }

    public func cleanup() throws(LayerError) { try OverlayHome.unmountLayers(below: store.home, mounts.references) }

    // MARK: differences

    public func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        guard try isDirectParent(parent, of: id), kernel.opaqueMarksAreSound else {
            return try comparedTrees(id, parent)
        }
        return ChangeSource(native: try ownTrees(id))
    }

    /// Sizes are right whatever marks the kernel writes (drivers.md 6.9).
    public func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        guard try isDirectParent(parent, of: id) else { return try comparedTrees(id, parent) }
        return ChangeSource(native: try ownTrees(id))
    }

    /// The layer's own directory over the layers below it.
    private func ownTrees(_ id: LayerID) throws(LayerError) -> SourceOptions {
        var trees = newSource(store.contents(id))
        trees.dialect = kernel.usesUserAttributes ? .overlayUserXattr : .overlay
        trees.lowers = try store.lowerPaths(of: id)
        return trees
    }

    /// Whether the layer's own directory is the difference to `parent`; both must exist.
    private func isDirectParent(_ parent: LayerID?, of id: LayerID) throws(LayerError) -> Bool {
        try store.require(id, "compare the layer")
        if let parent { try store.require(parent, "compare with the layer") }
        return try store.parent(of: id) == parent
    }

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        guard try isDirectParent(parent, of: id), try MountTable.state(of: store.merged(id)) != .mounted else {
            return try mountedTarget(id)
        }
        return try OverlayPlan.target(
            store, id, locks, dialect: kernel.usesUserAttributes ? .overlayUserXattr : .overlay)
    }

    public func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        guard (try? isDirectParent(parent, of: id)) == true else { return nil }
        return store.record(of: id).load()
    }

    public func recordSize(_ size: RecordedSize, of id: LayerID) {
        guard store.foreign(id) == nil, (try? store.isCommitted(id)) == true else { return }
        try? store.record(of: id).store(size)
    }

    // MARK: facts

    public func status() -> [StatusRow] {
        [
            StatusRow("Backing Filesystem", kernel.fileSystemName),
            StatusRow("Supports d_type", kernel.reportsFileTypes.description),
            StatusRow("Using metacopy", kernel.usesMetacopy.description),
            StatusRow("Native Overlay Diff", kernel.opaqueMarksAreSound.description),
            StatusRow("userxattr", kernel.usesUserAttributes.description),
        ]
    }

    public func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        try store.require(id, "describe the layer")
        return try OverlayPlan.metadata(store, id)
    }

    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try store.require(id, "measure the layer")
        if let usage = quota.usage(store.layer(id)) { return usage }
        let size = try DiffEngine.size(newSource(store.contents(id)))
        return DiskUsage(byteCount: size.bytes, inodeCount: size.inodes)
    }

    public func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try store.require(id, "open the files of the layer")
        return try LayerFiles(in: [store.contents(id)] + store.lowerPaths(of: id))
    }

    public func check(repair: Bool) throws(LayerError) -> [Finding] {
        try lock.whileAlone { (isAlone) throws(LayerError) in
            var check = OverlayCheck(store, repair: repair)
            try check.run(isAlone: isAlone)
            return check.findings.list
        }
    }
}
