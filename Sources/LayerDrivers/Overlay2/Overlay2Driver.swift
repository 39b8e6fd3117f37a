import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Kernel overlayfs with many lower layers, each holding only its own changes; Docker's default driver.
///
/// The store is Docker's: either can open what the other made.
public final class Overlay2Driver: LayerDriver {
    public let name = DriverName.overlay2
    public let configuration: DriverConfiguration
    private let looking: Overlay2Reader
    let layered: MergedLayers<OverlayStore>
    let kernel: OverlayKernel
    let quota: LayerQuota
    private var view: OverlayView { looking.view }

    /// Opens the store at `configuration.home` for writing, or makes an empty one.
    ///
    /// Throws `driverUnavailable` where the kernel or the file system cannot do it, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        let options = try Overlay2Options(configuration)
        if options.overridesKernelCheck {
            configuration.log(.warning, "overlay2.override_kernel_check does nothing any more")
        }
        kernel = try OverlayKernel(
            .overlay2, configuration, lowerCount: 2, userXattr: options.userXattr, StoreWriter())
        looking = Overlay2Reader(configuration, options, kernel.facts)
        let content = configuration.rootOwner
        layered = try MergedLayers(
            configuration,
            OverlayStore.Layout(
                driver: .overlay2, layerOwner: configuration.directoryOwner, workOwner: content, workMode: 0o700,
                contentOwner: content),
            looking.view)
        quota = try LayerQuota(configuration, defaultLimit: options.size, fileSystem: kernel.facts.fileSystemName)
    }

    public var reader: any StoreReader { looking }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try LayerQuota.refuse(id, options.storage)
        try layered.create(id, parent: parent, options)
    }

    public func createReadWrite(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try layered.create(id, parent: parent, options, limit: try quota.limiting(id, options.storage))
    }

    public func newLayerTarget(
        _ id: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError) -> ApplyTarget {
        if !readWrite { try LayerQuota.refuse(id, options.storage) }
        return try layered.newLayerTarget(
            id, parent: parent, options, limit: readWrite ? try quota.limiting(id, options.storage) : nil,
            dialect: kernel.facts.dialect)
    }

    public var stagesLayers: Bool { true }

    public func stagedLayerTarget(_ id: LayerID) throws(LayerError) -> StagedTarget? {
        try layered.stagedTarget(id, dialect: kernel.facts.dialect)
    }

    public func remove(_ id: LayerID) throws(LayerError) {
        // Before anything is unmounted, or a limit is taken away.
        try layered.store.refuseForeign(id, "remove the layer")
        try layered.remove(id) { quota.clear($0) }
    }

    public func finish(_ id: LayerID) throws(LayerError) { try layered.finish(id) }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        return try layered.get(id, options) { (merged, below, readOnly) throws(LayerError) in
            let overlay = try OverlayPlan.mount(
                view, id, below, readOnly: readOnly, options: kernel.mountOptions, label: options.label)
            try kernel.mount(overlay, at: merged, in: view.home, owner: configuration.rootOwner)
        }
    }

    public func put(_ id: LayerID) throws(LayerError) { try layered.put(id) }
    public func cleanup() throws(LayerError) { try layered.cleanup() }

    // MARK: differences

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        if let own = try layered.applyTarget(for: id, onto: parent, dialect: kernel.facts.dialect) { return own }
        return try mountedTarget(id, isFilled: !StoreFiles.isEmpty(view.contents(id)))
    }

    public func recordSize(_ size: RecordedSize, of id: LayerID) { layered.record(size, of: id) }

    // MARK: facts

    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try view.require(id, "measure the layer")
        if let usage = quota.usage(view.layer(id)) { return usage }
        return try walkedUsage(view.contents(id))
    }

    public func repair() throws(LayerError) -> [Finding] { try layered.repair() }
}
