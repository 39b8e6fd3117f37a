public import LayerModel

/// A store of layers in one of the ways that Docker knows: a graph driver.
///
/// What a driver itself answers is where layers lie, how one is made, mounted and removed, where a difference can be
/// read (`changeSource`) and where a layer is unpacked (`applyTarget`). Diff, Changes, DiffSize and ApplyDiff are then the
/// same for all (`LayerDriver+Difference.swift`).
///
/// All calls may come from any thread; calls for one layer wait for each other, also between processes. They block: never
/// make them on a thread of Swift's cooperative pool in a server.
///
/// | here | Docker, containers/storage |
/// |---|---|
/// | `DriverRegistry.open` | Init |
/// | `create`, `createReadWrite`, `createFromTemplate` | Create, CreateReadWrite, CreateFromTemplate |
/// | `remove`, `exists`, `layers` | Remove, Exists, ListLayers |
/// | `get`, `put`; `mount` pairs them | Get, Put |
/// | `status`, `metadata`, `cleanup` | Status, GetMetadata, Cleanup |
/// | `diff`, `changes`, `applyDiff`, `diffSize` | Diff, Changes, ApplyDiff, DiffSize |
/// | `files` | DiffGetter |
/// | `readWriteDiskUsage`, `additionalImageStores` | ReadWriteDiskUsage, AdditionalImageStores |
///
/// Errors are those of `DriverErrors` and of the system: `notFound` for an unknown layer, `alreadyExists`, `inUse`,
/// `invalidArgument` for ids, options, and for what lies under a layer's name and is none, `driverUnavailable` where the driver
/// cannot work here.
public protocol LayerDriver: StoreReader {
    /// Looks at the same store; the driver answers what a reader is asked through this.
    var reader: any StoreReader { get }

    /// Makes an empty layer on `parent`, or a base layer. A failure leaves nothing behind.
    ///
    /// Throws `alreadyExists` where the store has a complete layer of this id, `notFound` for an unknown parent.
    func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError)

    /// As `create`, for a container's layer, which may have a limited size; the same where a driver has no such thing.
    func createReadWrite(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError)

    /// Makes a layer on `parent` with the contents of `template`, which has the same parent: as it stands, a layer on the
    /// template.
    func createFromTemplate(
        _ id: LayerID, template: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError)

    /// Removes a layer, unmounting it first. An unknown layer is fine; what lies under its name and is no layer is an error.
    func remove(_ id: LayerID) throws(LayerError)

    /// Mounts the layer if it is not mounted, counts one more user, and returns the absolute path of its merged tree.
    ///
    /// A mount that an earlier process left counts as one user. Every `get` needs a `put`, see `mount`.
    func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes

    /// Counts one user less and unmounts after the last. Without a `get`, and for an unknown layer, nothing happens.
    func put(_ id: LayerID) throws(LayerError)

    /// Unmounts every layer of the store, as a daemon does before it ends; also those that another process mounted, so never
    /// call it beside a daemon that uses the store.
    func cleanup() throws(LayerError)

    /// Where a layer that was made on `parent` is unpacked for `id`, which is there already.
    func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget

    /// Where a layer is unpacked that the store has not yet: it appears when the target is kept, as a whole.
    ///
    /// Throws `alreadyExists`, `notFound` for an unknown parent. Keeping throws `alreadyExists` where somebody else made the
    /// layer meanwhile.
    func newLayerTarget(_ id: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool)
        throws(LayerError) -> ApplyTarget

    /// Whether a layer can be unpacked before its parent is there (`stageLayer`): not where it is unpacked onto what that shows.
    var stagesLayers: Bool { get }

    /// Where that is done; nil where it cannot be.
    func stagedLayerTarget(_ id: LayerID) throws(LayerError) -> StagedTarget?

    /// Says that an unfinished layer is what it should be: Docker uses it as it is.
    func finish(_ id: LayerID) throws(LayerError)

    /// Keeps `size` for `recordedSize`, where this layer can no longer change. Never fails: it is only a short cut.
    func recordSize(_ size: RecordedSize, of id: LayerID)

    /// As `sizeSource`, for a driver that keeps in its own way what is counted there.
    func recordingSizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource

    /// Looks for what a crash left, and mends it. Nothing that is in use, complete or foreign is touched.
    func repair() throws(LayerError) -> [Finding]
}

extension LayerDriver {
    public var additionalImageStores: [PathBytes] { reader.additionalImageStores }
    public func state(of id: LayerID) throws(LayerError) -> LayerState { try reader.state(of: id) }
    public func layers() throws(LayerError) -> [LayerID] { try reader.layers() }
    public func parent(of id: LayerID) throws(LayerError) -> LayerID? { try reader.parent(of: id) }
    public func status() -> [StatusRow] { reader.status() }
    public func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] { try reader.metadata(of: id) }
    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try reader.readWriteDiskUsage(of: id)
    }
    public func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try reader.changeSource(of: id, since: parent)
    }
    public func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try reader.sizeSource(of: id, since: parent)
    }
    public func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        reader.recordedSize(of: id, since: parent)
    }
    public func storedStream(of id: LayerID, since parent: LayerID?) throws(LayerError) -> StoredStream? {
        try reader.storedStream(of: id, since: parent)
    }
    public func files(of id: LayerID) throws(LayerError) -> LayerFiles { try reader.files(of: id) }
    public func sizeLimit(of id: LayerID) throws(LayerError) -> UInt64? { try reader.sizeLimit(of: id) }
    public func look() throws(LayerError) -> [Finding] { try reader.look() }

    /// Looks for what a crash left, and mends it when asked.
    public func check(repair: Bool) throws(LayerError) -> [Finding] { repair ? try self.repair() : try check() }

    public func createReadWrite(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try create(id, parent: parent, options: options)
    }

    public func createFromTemplate(
        _ id: LayerID, template: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError) {
        if readWrite {
            try createReadWrite(id, parent: template, options: options)
        } else {
            try create(id, parent: template, options: options)
        }
    }

    public func finish(_ id: LayerID) throws(LayerError) {}

    public var stagesLayers: Bool { false }

    public func stagedLayerTarget(_ id: LayerID) throws(LayerError) -> StagedTarget? { nil }

    public func recordSize(_ size: RecordedSize, of id: LayerID) {}

    public func recordingSizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try sizeSource(of: id, since: parent)
    }

    /// The layer's tree, mounted for as long as the result lives.
    public func mount(_ id: LayerID, options: MountOptions = MountOptions()) throws(LayerError) -> MountedLayer {
        MountedLayer(path: try get(id, options: options), id: id, driver: self)
    }
}

/// A mounted layer: the reference that `get` counted, given back when this ends.
public struct MountedLayer: ~Copyable, Sendable {
    /// The absolute path of the merged tree.
    public let path: PathBytes
    private let id: LayerID
    /// Nil once the reference is given back.
    private var driver: (any LayerDriver)?

    init(path: PathBytes, id: LayerID, driver: any LayerDriver) {
        self.path = path
        self.id = id
        self.driver = driver
    }

    /// Gives the reference back and reports what unmounting said.
    public consuming func release() throws(LayerError) {
        let held = driver
        driver = nil
        try held?.put(id)
    }

    deinit {
        guard let driver else { return }
        do throws(LayerError) {
            try driver.put(id)
        } catch {
            driver.configuration.log(.warning, "unmounting after use: \(error)")
        }
    }
}
