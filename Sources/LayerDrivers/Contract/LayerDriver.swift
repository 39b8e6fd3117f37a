public import LayerModel

/// A store of layers in one of the ways that Docker knows: a graph driver.
///
/// What a driver itself answers is where layers lie, how one is made, mounted and removed, where a difference can be
/// read (`changeSource`) and where a layer is unpacked (`applyTarget`). Diff, Changes, DiffSize and ApplyDiff are then the
/// same for all (`LayerDriver+Difference.swift`).
///
/// All calls may come from any thread; calls for one layer wait for each other. They block: never make them on a thread
/// of Swift's cooperative pool in a server.
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
/// `invalidArgument` for ids and options, `driverUnavailable` where the driver cannot work here.
public protocol LayerDriver: AnyObject, Sendable {
    var name: DriverName { get }
    var configuration: DriverConfiguration { get }

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

    /// Removes a layer, unmounting it first. An unknown layer is fine.
    func remove(_ id: LayerID) throws(LayerError)

    /// Whether the store has a complete layer of this id.
    func exists(_ id: LayerID) -> Bool

    /// All layers of the store, sorted; half-made ones left out.
    func layers() throws(LayerError) -> [LayerID]

    /// The layer's parent, or nil for a base layer.
    func parent(of id: LayerID) throws(LayerError) -> LayerID?

    /// Mounts the layer if it is not mounted, counts one more user, and returns the absolute path of its merged tree.
    ///
    /// A mount that an earlier process left counts as one user. Every `get` needs a `put`, see `mount`.
    func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes

    /// Counts one user less and unmounts after the last. Without a `get`, and for an unknown layer, nothing happens.
    func put(_ id: LayerID) throws(LayerError)

    /// Unmounts every layer of the store, as a daemon does before it ends; also those that another process mounted, so never
    /// call it beside a daemon that uses the store.
    func cleanup() throws(LayerError)

    /// Facts about the store, in the order in which Docker shows them.
    func status() -> [StatusRow]

    /// Facts about one layer: its directories.
    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem]

    /// What the layer's own directory occupies.
    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage

    /// Read-only stores besides this one.
    var additionalImageStores: [PathBytes] { get }

    /// Where the difference between `id` and `parent` (any ancestor; nil: nothing) is read.
    ///
    /// The native form when the driver has one that is right for these two, else both trees, mounted until the source
    /// is let go (`comparedTrees`).
    func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource

    /// Where the bytes of the difference are counted: the layer's own directory wherever that is right for these two, even
    /// where the difference itself needs a comparison (drivers.md 6.9).
    func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource

    /// Where a layer that was made on `parent` is unpacked for `id`.
    func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget

    /// The size that was recorded when the layer was applied, if nothing has changed it since; nil when it is unknown.
    func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize?

    /// Keeps `size` for `recordedSize`, where this layer can no longer change. Never fails: it is only a short cut.
    func recordSize(_ size: RecordedSize, of id: LayerID)

    /// The layer's files by the names of its archive, for tar-split.
    func files(of id: LayerID) throws(LayerError) -> LayerFiles

    /// Looks for what a crash left, and mends it when asked. Nothing that is in use or complete is touched.
    func check(repair: Bool) throws(LayerError) -> [Finding]
}

extension LayerDriver {
    public var additionalImageStores: [PathBytes] { [] }

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

    public func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try changeSource(of: id, since: parent)
    }

    public func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? { nil }

    public func recordSize(_ size: RecordedSize, of id: LayerID) {}

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
