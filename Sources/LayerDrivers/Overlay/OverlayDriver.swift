import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Kernel overlayfs over one lower tree, with image layers as whole trees of hard links; Docker's driver `overlay`, which
/// Docker itself gave up in version 24 (drivers.md 5).
public final class OverlayDriver: LayerDriver {
    public let name = DriverName.overlay
    public let configuration: DriverConfiguration
    let layered: MergedLayers<OverlayRootStore>
    private var store: OverlayRootStore { layered.store }
    let kernel: OverlayKernel

    /// Opens the store at `configuration.home`, or makes an empty one (drivers.md 5.2).
    ///
    /// Throws `driverUnavailable` where the kernel or the file system cannot do it, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        if let option = try configuration.options(for: .overlay).first {
            throw DriverConfiguration.unknown(option.key, .overlay)
        }
        kernel = try OverlayKernel(.overlay, configuration, lowerCount: 1)
        try StoreFiles.makeDirectory(
            configuration.home, mode: 0o710, owner: configuration.directoryOwner, parents: true)
        layered = try MergedLayers(OverlayRootStore(configuration), configuration, shownBy: .overlay)
        if layered.lock.wasAlone {
            var check = OverlayRootCheck(store, repair: true)
            try check.unfinished(isOpening: true)
            for finding in check.findings.list { configuration.log(.warning, finding.description) }
            try layered.lock.share()
        }
    }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        guard options.storage.isEmpty else {
            throw DriverErrors.storageOption(id, "--storage-opt is not supported for overlay")
        }
        try layered.locks.withLock(id, sharing: parent) { () throws(LayerError) in
            try store.create(id, parent: parent, work: configuration.rootOwner)
        }
    }

    public func remove(_ id: LayerID) throws(LayerError) { try layered.remove(id) }
    public func exists(_ id: LayerID) -> Bool { store.exists(id) }
    public func layers() throws(LayerError) -> [LayerID] { try store.layers() }
    public func parent(of id: LayerID) throws(LayerError) -> LayerID? { try layered.parent(of: id) }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        try store.require(id, "mount the layer")
        return try layered.locks.withLock(id) { () throws(LayerError) in
            if try store.isImage(id) { return store.root(id) }
            let merged = store.merged(id)
            try layered.mounts.acquire(merged) { () throws(LayerError) in try mount(id, merged, options.label) }
            return merged
        }
    }

    private func mount(_ id: LayerID, _ merged: PathBytes, _ label: String) throws(LayerError) {
        guard let lower = try store.lower(of: id) else { throw DriverErrors.unknownLayer("mount the layer", id) }
        guard try store.isImage(lower) else {
            throw LayerError(
                .corruptLayer, "find the layer below", path: id.component,
                cause: .reason("its lower layer \(lower) is gone"), hint: "remove this layer and unpack the image again"
            )
        }
        let overlay = OverlayMount(
            lowers: [store.root(lower)], upper: store.upper(id), work: store.work(id), options: kernel.mountOptions,
            label: label)
        try kernel.mount(overlay, at: merged, in: store.home, owner: configuration.rootOwner)
    }

    public func put(_ id: LayerID) throws(LayerError) { try layered.put(id) }
    public func cleanup() throws(LayerError) { try layered.cleanup() }

    // MARK: differences

    public func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try store.require(id, "compare the layer")
        if let parent { try store.require(parent, "compare with the layer") }
        // A container's layer straight on an image: its upper directory is the difference.
        guard let parent, try !store.isImage(id), try store.lower(of: id) == parent, kernel.opaqueMarksAreSound else {
            // Two image layers share the inodes of what is equal, so comparing them looks at little.
            return try comparedTrees(id, parent)
        }
        var trees = newSource(store.upper(id))
        trees.dialect = kernel.dialect
        trees.lowers = [store.root(parent)]
        return ChangeSource(native: trees)
    }

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        try store.require(id, "apply to the layer")
        if let parent { try store.require(parent, "apply on the layer") }
        if try store.isImage(id) {
            guard try StoreFiles.isEmpty(store.root(id)) else { return try mountedTarget(id) }
            return try ApplyTarget.beside(
                store.root(id), dialect: .tree, lowers: nil, sizeRule: .headerSum,
                locked: { [locks = layered.locks] (body) throws(LayerError) in try locks.withLock(id, body) })
        }
        guard let parent, try store.isImage(parent), try store.lower(of: id) == parent,
            try StoreFiles.isEmpty(store.upper(id)), try MountTable.state(of: store.merged(id)) != .mounted
        else { return try mountedTarget(id) }
        return try linkedCopy(id, parent)
    }

    /// The parent's tree by hard links, onto which the layer is unpacked; it becomes the layer's tree when complete.
    private func linkedCopy(_ id: LayerID, _ parent: LayerID) throws(LayerError) -> ApplyTarget {
        let outcome = LinkedRoot(store, id, layered.locks)
        do throws(LayerError) {
            try outcome.build(from: store.root(parent))
            return ApplyTarget(
                root: try outcome.open(), path: outcome.building, dialect: .tree, lowers: nil, sizeRule: .headerSum,
                outcome: outcome)
        } catch {
            outcome.abandon()
            throw error
        }
    }

    // MARK: facts

    public func status() -> [StatusRow] {
        [
            StatusRow("Backing Filesystem", kernel.fileSystemName),
            StatusRow("Supports d_type", kernel.reportsFileTypes.description),
        ]
    }

    public func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        try store.require(id, "describe the layer")
        guard try !store.isImage(id), let lower = try store.lower(of: id) else {
            return [MetadataItem("RootDir", store.root(id))]
        }
        return [
            MetadataItem("LowerDir", store.root(lower)), MetadataItem("MergedDir", store.merged(id)),
            MetadataItem("UpperDir", store.upper(id)), MetadataItem("WorkDir", store.work(id)),
        ]
    }

    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try store.require(id, "measure the layer")
        return try walkedUsage(store.isImage(id) ? store.root(id) : store.upper(id))
    }

    public func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try store.require(id, "open the files of the layer")
        guard try !store.isImage(id), let lower = try store.lower(of: id) else {
            return try LayerFiles(in: [store.root(id)])
        }
        return try LayerFiles(in: [store.upper(id), store.root(lower)])
    }

    public func check(repair: Bool) throws(LayerError) -> [Finding] {
        try layered.lock.whileAlone { (isAlone) throws(LayerError) in
            var check = OverlayRootCheck(store, repair: repair)
            if isAlone { try check.unfinished() }
            try check.layers()
            return check.findings.list
        }
    }
}
