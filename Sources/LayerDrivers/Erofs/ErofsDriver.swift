import LayerEngine
public import LayerModel
import LayerMounts
import LayerPacking
import LinuxIO

/// As overlay2, over layers of which some are packed: kept as their own tar and an index that the kernel mounts.
///
/// A layer comes packed or as a directory; a chain has both. The layout is overlay2's with `packed` in layers that are, and a mark
/// in the home directory by which other drivers know that they must not open it.
public final class ErofsDriver: LayerDriver {
    public let name = DriverName.erofs
    public let configuration: DriverConfiguration
    private let looking: ErofsStoreReader
    let layered: MergedLayers<OverlayStore>
    let kernel: OverlayKernel
    let quota: LayerQuota
    private var view: OverlayView { looking.view }

    /// Opens the store at `configuration.home` for writing, or makes an empty one.
    ///
    /// Throws `driverUnavailable` where the kernel or the file system cannot do it, before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        let options = try ErofsOptions(configuration)
        guard ErofsMount.isSupported else {
            throw DriverErrors.notSupported(
                .erofs, why: "this kernel has no EROFS, or does not let it be mounted here",
                hint: "load the module erofs and run as root, or use overlay2")
        }
        let writer = StoreWriter()
        kernel = try OverlayKernel(.erofs, configuration, lowerCount: 2, userXattr: options.userXattr, writer)
        looking = ErofsStoreReader(configuration, options, kernel.facts)
        let content = configuration.rootOwner
        layered = try MergedLayers(
            configuration,
            OverlayStore.Layout(
                driver: .erofs, layerOwner: configuration.directoryOwner, workOwner: content, workMode: 0o700,
                contentOwner: content),
            looking.view,
            packing: Self.packing(options, configuration, kernel.facts, looking.view, writer))
        quota = try LayerQuota(configuration, defaultLimit: options.size, fileSystem: kernel.facts.fileSystemName)
    }

    /// Nil where no layer is packed. An index has the ids of the archive.
    private static func packing(
        _ options: ErofsOptions, _ configuration: DriverConfiguration, _ facts: OverlayFacts, _ view: OverlayView,
        _ writer: StoreWriter
    ) -> PackSettings? {
        guard options.form != .directory, configuration.uidMap.isIdentity, configuration.gidMap.isIdentity else {
            return nil
        }
        return PackSettings(
            form: options.form, way: options.way, userAttributes: facts.usesUserAttributes,
            isDurable: configuration.sync == .fileSystem, log: configuration.log, writer: writer,
            share: { share($0, view, writer) })
    }

    /// Lets the files of a layer that was just packed be those of another of the store that has the same.
    private static func share(_ files: PackedLayerFiles, _ view: OverlayView, _ writer: StoreWriter) {
        for id in (try? view.layers()) ?? [] {
            // A look at each record; others may make and remove layers meanwhile.
            let place = view.packedPart(id)
            guard let other = try? PackedLayerFiles(recordedIn: place),
                other.record.tar.digest == files.record.tar.digest, let whole = try? PackedLayerFiles(place)
            else { continue }
            if files.become(whole, writer) { return }
        }
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

    /// A layer is packed over its parent, which must be there.
    public var stagesLayers: Bool { layered.store.packing == nil }

    public func stagedLayerTarget(_ id: LayerID) throws(LayerError) -> StagedTarget? {
        stagesLayers ? try layered.stagedTarget(id, dialect: kernel.facts.dialect) : nil
    }

    public func remove(_ id: LayerID) throws(LayerError) { try layered.remove(id) { quota.clear($0) } }
    public func finish(_ id: LayerID) throws(LayerError) { try layered.finish(id) }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        return try layered.get(id, options) { (merged, below, readOnly) throws(LayerError) in
            let forms = try FileLock.take(view.formsLock, .shared)
            defer { withExtendedLifetime(forms) {} }
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
        let (isEmpty, isPacked) = (try StoreFiles.isEmpty(view.contents(id)), try view.isPacked(id))
        return try mountedTarget(id, isFilled: !isEmpty || isPacked)
    }

    public func recordSize(_ size: RecordedSize, of id: LayerID) { layered.record(size, of: id) }

    // MARK: facts

    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try view.require(id, "measure the layer")
        if let usage = quota.usage(view.layer(id)) { return usage }
        return try looking.readWriteDiskUsage(of: id)
    }

    public func repair() throws(LayerError) -> [Finding] { try layered.repair() }
}
