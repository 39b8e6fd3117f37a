import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// The layout of overlay2, mounted by the program fuse-overlayfs: for hosts whose kernel does not let overlays be mounted.
///
/// Docker's store of that name. Unlike Docker, differences are read from the layer's own directory, whichever of the many
/// forms a deletion has there; what the kernel still keeps of a mounted layer is written out first.
public final class FuseOverlayFSDriver: LayerDriver {
    public let name = DriverName.fuseOverlayFS
    public let configuration: DriverConfiguration
    private let looking: FuseOverlayFSReader
    let layered: MergedLayers<OverlayStore>
    private var view: OverlayView { looking.view }
    private var store: OverlayStore { layered.store }
    let helper: FuseOverlayHelper

    /// Opens the store at `configuration.home` for writing, or makes an empty one.
    ///
    /// Throws `driverUnavailable` without the program, without /dev/fuse, before Linux 4.18, and where a mount tried in a new
    /// home directory fails; before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        let options = try FuseOverlayFSOptions(configuration)
        looking = FuseOverlayFSReader(configuration, options)
        helper = try Self.helper(configuration, options)
        let owner = configuration.rootOwner
        layered = try MergedLayers(
            configuration,
            OverlayStore.Layout(
                driver: .fuseOverlayFS, layerOwner: owner, workOwner: owner, workMode: 0o710, contentOwner: owner),
            looking.view)
    }

    /// The program, known to work for this home.
    private static func helper(_ configuration: DriverConfiguration, _ options: FuseOverlayFSOptions)
        throws(LayerError) -> FuseOverlayHelper
    {
        let home = configuration.home
        let place = try StoreFiles.nearestDirectory(home)
        guard try StoreFiles.isDirectory(place) else {
            throw LayerError(.notFound, "open the store", path: home, cause: .reason("\(place) is no directory"))
        }
        let exists = place == home
        if exists { try OverlayView.refuseForeign(home, .fuseOverlayFS) }
        // It resolves the path of the writable directory and takes the result apart, so that no other name of it helps.
        guard !home.bytes.contains(UInt8(ascii: ":")) else {
            throw DriverErrors.notSupported(
                .fuseOverlayFS, why: "it cannot mount directories with a colon in their path, as \(home) has",
                hint: "move the store")
        }
        guard ProcessState.kernelVersion >= (4, 18) else {
            throw DriverErrors.notSupported(.fuseOverlayFS, why: "Linux 4.18 or newer is needed")
        }
        do throws(LayerError) {
            let helper = try FuseOverlayHelper(program: options.mountProgram, extra: options.mountOptions)
            // Whoever made the layers of a store has tried it there.
            let isNew = exists ? try StoreFiles.isEmpty(home) : true
            if isNew { try helper.check(in: place) } else { try FuseOverlayHelper.checkDevice() }
            return helper
        } catch {
            throw DriverErrors.notSupported(.fuseOverlayFS, why: error.description, hint: error.hint)
        }
    }

    public var reader: any StoreReader { looking }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try refuse(id, options)
        try layered.create(id, parent: parent, options)
    }

    public func newLayerTarget(
        _ id: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError) -> ApplyTarget {
        try refuse(id, options)
        return try layered.newLayerTarget(id, parent: parent, options, dialect: looking.dialect)
    }

    public var stagesLayers: Bool { true }

    public func stagedLayerTarget(_ id: LayerID) throws(LayerError) -> StagedTarget? {
        try refuse(id, CreateOptions())
        return try layered.stagedTarget(id, dialect: looking.dialect)
    }

    private func refuse(_ id: LayerID, _ options: CreateOptions) throws(LayerError) {
        guard options.storage.isEmpty else { throw DriverErrors.storageOption(id, "--storage-opt is not supported") }
        guard !id.component.bytes.contains(UInt8(ascii: ":")) else {
            throw LayerError(
                .invalidArgument, "create the layer", path: id.component,
                cause: .reason("fuse-overlayfs cannot mount a directory with a colon in its path"),
                hint: "choose another id")
        }
    }

    public func remove(_ id: LayerID) throws(LayerError) { try layered.remove(id) }
    public func finish(_ id: LayerID) throws(LayerError) { try layered.finish(id) }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        if !options.uidMap.isIdentity || !options.gidMap.isIdentity, try parent(of: id) == nil {
            throw LayerError(
                .unsupported, "mount the layer", path: id.component,
                cause: .reason("a base layer is shown as its own directory, which cannot shift the ids of its files"),
                hint: "create a layer on it, and mount that")
        }
        return try layered.get(id, options) { (merged, below, readOnly) throws(LayerError) in
            try helper.mount(try plan(id, below, readOnly: readOnly, options), at: merged, relativeTo: view.home)
        }
    }

    /// The layers below go by their short links, which need no escaping; so does a committed layer itself.
    private func plan(_ id: LayerID, _ chain: LowerChain, readOnly: Bool, _ options: MountOptions)
        throws(LayerError) -> FuseOverlayMount
    {
        var plan = FuseOverlayMount(
            lowers: chain.elements.map { PathBytes("l").appending($0.link.name) }, label: options.label,
            uidMap: options.uidMap, gidMap: options.gidMap)
        if readOnly {
            plan.lowers.insert(PathBytes("l").appending(try store.ownLink(id).name), at: 0)
        } else {
            plan.upper = id.component.appending("diff")
            plan.work = id.component.appending("work")
        }
        return plan
    }

    public func put(_ id: LayerID) throws(LayerError) {
        try layered.put(id) { (point) throws(LayerError) in try FuseOverlayHelper.unmount(point) }
    }

    public func cleanup() throws(LayerError) { try layered.cleanup() }

    // MARK: differences

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        if let own = try layered.applyTarget(for: id, onto: parent, dialect: looking.dialect) { return own }
        return try mountedTarget(id, isFilled: !StoreFiles.isEmpty(view.contents(id)))
    }

    public func recordSize(_ size: RecordedSize, of id: LayerID) { layered.record(size, of: id) }
    public func repair() throws(LayerError) -> [Finding] { try layered.repair() }
}
