import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Kernel overlayfs over one lower tree, with image layers as whole trees of hard links; Docker's driver `overlay`, which
/// Docker itself gave up in version 24.
public final class OverlayDriver: LayerDriver {
    public let name = DriverName.overlay
    public let configuration: DriverConfiguration
    private let looking: OverlayRootReader
    let layered: MergedLayers<OverlayRootStore>
    let kernel: OverlayKernel
    private var view: OverlayRootView { looking.view }
    private var store: OverlayRootStore { layered.store }

    /// Opens the store at `configuration.home` for writing, or makes an empty one.
    ///
    /// Throws `driverUnavailable` where the kernel or the file system cannot do it, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        let userXattr = try OverlayRootReader.userXattr(configuration)
        kernel = try OverlayKernel(
            .overlay, configuration, lowerCount: 1, userXattr: userXattr, StoreWriter())
        looking = OverlayRootReader(configuration, kernel.facts)
        let store = OverlayRootStore(looking.view, configuration)
        try store.writer.makeDirectory(
            configuration.home, mode: 0o710, owner: configuration.directoryOwner, parents: true)
        layered = try MergedLayers(store, configuration)
    }

    public var reader: any StoreReader { looking }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try refuse(id, options)
        try view.validate(id)
        try layered.guarded.withLock(id, sharing: parent) { (own) throws(LayerError) in
            let new = try store.build(id, parent: parent, options)
            do throws(LayerError) {
                try store.publish(new, own)
            } catch {
                store.abandon(id, new.holder)
                throw error
            }
        }
    }

    private func refuse(_ id: LayerID, _ options: CreateOptions) throws(LayerError) {
        guard options.storage.isEmpty else {
            throw DriverErrors.storageOption(id, "--storage-opt is not supported for overlay")
        }
    }

    /// An image layer is the parent's tree by hard links, with the layer unpacked onto it. On a container's layer it is an
    /// upper directory beside which the one below is copied, and the layer goes into that.
    public func newLayerTarget(
        _ id: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError) -> ApplyTarget {
        try refuse(id, options)
        let isTree = if let parent { try view.isImage(parent) } else { true }
        let new =
            isTree && !readWrite
            ? try store.buildTree(id, parent: parent, options) : try store.build(id, parent: parent, options)
        let (layers, store) = (layered, store)
        let outcome = NewLayer(
            in: new.holder,
            NewLayer.Steps(
                publish: { (_) throws(LayerError) in
                    try layers.guarded.withLock(id, sharing: parent) { (own) throws(LayerError) in
                        try store.publish(new, own)
                    }
                    try layers.makeDurable(store.view.home)
                },
                takeBack: { () throws(LayerError) in try layers.takeBack(id, new.holder) }))
        let root = new.holder.path.appending("root")
        var below: [PathBytes] = []
        do throws(LayerError) {
            if try StoreFiles.isDirectory(root) {
                return try ApplyTarget(
                    outcome, { () throws(LayerError) in try Self.open(root) }, at: root, .tree, nil, .headerSum)
            }
            if let parent { below = try view.stack(parent) }
        } catch {
            outcome.abandon()
            throw error
        }
        let upper = new.holder.path.appending("upper")
        return try ApplyTarget(
            outcome, { () throws(LayerError) in try Self.open(upper) }, at: upper, kernel.facts.dialect,
            Array(below.suffix(1)), .walked)
    }

    private static func open(_ path: PathBytes) throws(LayerError) -> OwnedDescriptor {
        try attempt("open", path) { () throws(SystemCallError) in try path.open([.readOnly, .directory]) }
    }

    public func remove(_ id: LayerID) throws(LayerError) { try layered.remove(id) }
    public func finish(_ id: LayerID) throws(LayerError) { try layered.finish(id) }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        try view.require(id, "mount the layer")
        return try layered.guarded.withLock(id) { (_) throws(LayerError) in
            try view.require(id, "mount the layer")
            if !options.isForFilling { try layered.finish(id) }
            if try view.isImage(id) {
                try options.access.requireUnprotected(id)
                return view.root(id)
            }
            let merged = view.merged(id)
            try layered.mounts.acquire(merged, options.access) { () throws(LayerError) in
                try mount(id, merged, options.label)
            }
            return merged
        }
    }

    private func mount(_ id: LayerID, _ merged: PathBytes, _ label: String) throws(LayerError) {
        guard let lower = try view.lower(of: id) else { throw DriverErrors.unknownLayer("mount the layer", id) }
        guard try view.isImage(lower) else {
            throw LayerError(
                .corruptLayer, "find the layer below", path: id.component,
                cause: .reason("its lower layer \(lower) is gone"), hint: "remove this layer and unpack the image again"
            )
        }
        let overlay = OverlayMount(
            lowers: [view.root(lower)], upper: view.upper(id), work: view.work(id), options: kernel.mountOptions,
            label: label)
        try kernel.mount(overlay, at: merged, in: view.home, owner: configuration.rootOwner)
    }

    public func put(_ id: LayerID) throws(LayerError) { try layered.put(id) }
    public func cleanup() throws(LayerError) { try layered.cleanup() }

    // MARK: differences

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        try view.require(id, "apply to the layer")
        if let parent { try view.require(parent, "apply on the layer") }
        let own = try layered.guarded.withLock(id) { (_) throws(LayerError) -> ApplyTarget? in
            try layered.requireProven(id, "apply to the layer")
            if view.seesUnfinished { try store.unfinished.beginFilling(id, view.unfinishedMark(id)) }
            return try view.isImage(id) ? try treeTarget(id) : try linkedTarget(id, parent)
        }
        if let own { return own }
        return try mountedTarget(id, isFilled: !StoreFiles.isEmpty(view.isImage(id) ? view.root(id) : view.upper(id)))
    }

    /// Beside the empty tree of an image layer.
    private func treeTarget(_ id: LayerID) throws(LayerError) -> ApplyTarget? {
        guard try StoreFiles.isEmpty(view.root(id)) else { return nil }
        let layers = layered
        return try store.writer.target(
            beside: view.root(id), dialect: .tree, lowers: nil, sizeRule: .headerSum,
            ContentSwap.Steps(
                locked: { (swap) throws(LayerError) in
                    try layers.guarded.withLock(id) { (_) throws(LayerError) in
                        try swap()
                        // Until the mark is gone the layer is swept with its maker: nothing may be reported as done.
                        try layers.finish(id)
                    }
                    try layers.makeDurable(layers.store.view.layer(id))
                },
                finished: { _ in }))
    }

    /// The parent's tree by hard links, onto which the layer is unpacked; it becomes the layer's tree when complete.
    private func linkedTarget(_ id: LayerID, _ parent: LayerID?) throws(LayerError) -> ApplyTarget? {
        guard let parent, try view.isImage(parent), try view.lower(of: id) == parent,
            try StoreFiles.isEmpty(view.upper(id)), try MountTable.state(of: view.merged(id)) != .mounted
        else { return nil }
        let outcome = try LinkedRoot(layered, id, from: view.root(parent))
        return try ApplyTarget(outcome, outcome.open, at: outcome.building, .tree, nil, .headerSum)
    }

    public func repair() throws(LayerError) -> [Finding] {
        var check = OverlayRootCheck(view, layered)
        return try check.run()
    }
}
