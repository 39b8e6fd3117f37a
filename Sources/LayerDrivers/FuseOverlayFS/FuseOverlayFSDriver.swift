import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// The layout of overlay2, mounted by the program fuse-overlayfs: for hosts whose kernel does not let overlays be mounted
/// (drivers.md 7).
///
/// Docker's store of that name. Unlike Docker, differences are read from the layer's own directory, whichever of the many
/// forms a deletion has there; what the kernel still keeps of a mounted layer is written out first.
public final class FuseOverlayFSDriver: LayerDriver {
    public let name = DriverName.fuseOverlayFS
    public let configuration: DriverConfiguration
    let layered: MergedLayers<OverlayStore>
    private var store: OverlayStore { layered.store }
    /// The program, or why it cannot be used: then layers can be read all the same.
    let helper: Result<FuseOverlayHelper, LayerError>

    /// Opens the store at `configuration.home`, or makes an empty one.
    ///
    /// Throws `driverUnavailable` without the program, without /dev/fuse, before Linux 4.18, and where a mount tried in a new
    /// home directory fails; before anything is made.
    public init(_ configuration: DriverConfiguration) throws(LayerError) {
        self.configuration = configuration
        helper = Result { () throws(LayerError) in try Self.helper(configuration) }
        if case .failure(let error) = helper, !configuration.forReading || !error.meansNotSupported { throw error }
        let owner = configuration.rootOwner
        layered = try MergedLayers(
            configuration,
            OverlayStore.Layout(
                driver: .fuseOverlayFS, layerOwner: owner, workOwner: owner, workMode: 0o710, contentOwner: owner),
            shownBy: .fuse)
    }

    /// The program, known to work for this home.
    private static func helper(_ configuration: DriverConfiguration) throws(LayerError) -> FuseOverlayHelper {
        let options = try FuseOverlayFSOptions(configuration)
        let home = configuration.home
        let exists = try StoreFiles.isDirectory(home)
        if exists { try OverlayKernel.refuseForeign(home, .fuseOverlayFS) }
        let place = exists ? home : configuration.root
        guard try StoreFiles.isDirectory(place) || place == PathBytes("/") else {
            throw LayerError(
                .notFound, "open the store", path: home, cause: .reason("\(place) is no directory"),
                hint: "make it first; only the last component is made")
        }
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
            // Whoever made the layers of a store has tried it there; asking for a size should not start a program.
            let isNew = exists ? try StoreFiles.isEmpty(home) : true
            if isNew { try helper.check(in: place) } else { try FuseOverlayHelper.checkDevice() }
            return helper
        } catch {
            throw DriverErrors.notSupported(.fuseOverlayFS, why: error.description, hint: error.hint)
        }
    }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        guard options.storage.isEmpty else { throw DriverErrors.storageOption(id, "--storage-opt is not supported") }
        guard !id.component.bytes.contains(UInt8(ascii: ":")) else {
            throw LayerError(
                .invalidArgument, "create the layer", path: id.component,
                cause: .reason("fuse-overlayfs cannot mount a directory with a colon in its path"),
                hint: "choose another id")
        }
        try layered.create(id, parent: parent)
    }

    public func remove(_ id: LayerID) throws(LayerError) { try layered.remove(id) }
    public func exists(_ id: LayerID) -> Bool { store.exists(id) }
    public func layers() throws(LayerError) -> [LayerID] { try store.layers() }
    public func parent(of id: LayerID) throws(LayerError) -> LayerID? { try layered.parent(of: id) }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        if !options.uidMap.isIdentity || !options.gidMap.isIdentity, try parent(of: id) == nil {
            throw LayerError(
                .unsupported, "mount the layer", path: id.component,
                cause: .reason("a base layer is shown as its own directory, which cannot shift the ids of its files"),
                hint: "create a layer on it, and mount that")
        }
        return try layered.get(id) { (merged, below, readOnly) throws(LayerError) in
            try helper.get().mount(
                try plan(id, below, readOnly: readOnly, options), at: merged, relativeTo: store.home)
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
            plan.lowers.insert(try ownLink(id), at: 0)
        } else {
            plan.upper = id.component.appending("diff")
            plan.work = id.component.appending("work")
        }
        return plan
    }

    /// The layer's own short link, made anew where it is missing or leads to another layer.
    private func ownLink(_ id: LayerID) throws(LayerError) -> PathBytes {
        guard let link = try store.link(of: id) else { throw DriverErrors.unknownLayer("mount the layer", id) }
        if try store.layer(of: link) != id {
            try StoreFiles.unlink(store.path(of: link))
            try store.makeLink(link, for: id)
        }
        return PathBytes("l").appending(link.name)
    }

    public func put(_ id: LayerID) throws(LayerError) {
        try layered.put(id) { (point) throws(LayerError) in try FuseOverlayHelper.unmount(point) }
    }

    public func cleanup() throws(LayerError) { try layered.cleanup() }

    // MARK: differences

    public func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        guard try isDirectParent(parent, of: id) else { return try comparedTrees(id, parent) }
        let merged = store.merged(id)
        // The helper lets the kernel keep what was written; the upper directory must have it before it is read.
        if try MountTable.state(of: merged) == .mounted { try? FuseOverlayHelper.flush(merged) }
        var trees = newSource(store.contents(id))
        trees.dialect = .fuseOverlayFS
        trees.lowers = try store.lowerPaths(of: id)
        return ChangeSource(native: trees)
    }

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        let isDirect = try isDirectParent(parent, of: id)
        if let own = try layered.applyTarget(for: id, isDirect: isDirect, dialect: .fuseOverlayFS) { return own }
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
            StatusRow("Backing Filesystem", (try? FileSystemKind.of(store.home).name) ?? "<unknown>"),
            StatusRow("Mount Program", (try? helper.get().program.description) ?? "<missing>"),
            StatusRow("Version", (try? helper.get().version()) ?? "<unknown>"),
        ]
    }

    public func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        try layered.metadata(of: id)
    }

    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try store.require(id, "measure the layer")
        return try walkedUsage(store.contents(id))
    }

    public func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try layered.files(of: id, dialect: .fuseOverlayFS)
    }

    public func check(repair: Bool) throws(LayerError) -> [Finding] { try layered.check(repair: repair) }
}
