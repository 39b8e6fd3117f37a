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
    let layered: MergedLayers<OverlayStore>
    let kernel: OverlayKernel
    let options: Overlay2Options
    let quota: LayerQuota
    private var store: OverlayStore { layered.store }

    /// Opens the store at `configuration.home`, or makes an empty one (drivers.md 6.3).
    ///
    /// Throws `driverUnavailable` where the kernel or the file system cannot do it, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        options = try Overlay2Options(configuration)
        kernel = try OverlayKernel(.overlay2, configuration, lowerCount: 2)
        let content = configuration.rootOwner
        layered = try MergedLayers(
            configuration,
            OverlayStore.Layout(
                driver: .overlay2, layerOwner: configuration.directoryOwner, workOwner: content, workMode: 0o700,
                contentOwner: content),
            additional: options.additional, shownBy: .overlay)
        quota = try LayerQuota(configuration, defaultLimit: options.size, fileSystem: kernel.fileSystemName)
    }

    public var additionalImageStores: [PathBytes] { options.additional.homes }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try LayerQuota.refuse(id, options.storage)
        try layered.create(id, parent: parent)
    }

    public func createReadWrite(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        let limit = try quota.limit(id, options.storage)
        try layered.create(id, parent: parent) { (directory) throws(LayerError) in
            if let limit { try quota.set(limit, on: directory) }
        }
    }

    public func remove(_ id: LayerID) throws(LayerError) {
        // Before anything is unmounted, or a limit is taken away.
        try store.refuseForeign(id)
        try layered.remove(id) { quota.clear($0) }
    }
    public func exists(_ id: LayerID) -> Bool { store.exists(id) }
    public func layers() throws(LayerError) -> [LayerID] { try store.layers() }
    public func parent(of id: LayerID) throws(LayerError) -> LayerID? { try layered.parent(of: id) }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        return try layered.get(id) { (merged, below, readOnly) throws(LayerError) in
            let overlay = OverlayPlan.mount(
                store, id, below, readOnly: readOnly, options: kernel.mountOptions, label: options.label)
            try kernel.mount(overlay, at: merged, in: store.home, owner: configuration.rootOwner)
        }
    }

    public func put(_ id: LayerID) throws(LayerError) { try layered.put(id) }
    public func cleanup() throws(LayerError) { try layered.cleanup() }

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
        trees.dialect = kernel.dialect
        trees.lowers = try store.lowerPaths(of: id)
        return trees
    }

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        let isDirect = try isDirectParent(parent, of: id)
        if let own = try layered.applyTarget(for: id, isDirect: isDirect, dialect: kernel.dialect) { return own }
        return try mountedTarget(id)
    }

    public func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        guard (try? isDirectParent(parent, of: id)) == true else { return nil }
        return store.record(of: id).load()
    }

    public func recordSize(_ size: RecordedSize, of id: LayerID) { layered.record(size, of: id) }

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
        try layered.metadata(of: id)
    }

    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try store.require(id, "measure the layer")
        if let usage = quota.usage(store.layer(id)) { return usage }
        return try walkedUsage(store.contents(id))
    }

    public func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try layered.files(of: id, dialect: kernel.dialect)
    }

    public func check(repair: Bool) throws(LayerError) -> [Finding] { try layered.check(repair: repair) }
}
