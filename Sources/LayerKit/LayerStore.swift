import LayerDrivers
import LayerEngine
public import LayerModel
import LayerPipeline
import LinuxIO
public import SystemPackage

/// A store of layers that one of the graph drivers keeps, laid out as Docker and containers/storage expect it.
///
/// Opened with `open`, it may change; opened with `read`, nothing at all is changed: not a lock file, not a time. All calls
/// may come from any thread, and from several processes at once.
public struct LayerStore: Sendable {
    let reader: any StoreReader
    /// Nil where the store was opened to be looked at.
    let driver: (any LayerDriver)?

    /// Opens the store in the driver's own directory `home`, or makes it: for Docker `/var/lib/docker/overlay2`.
    ///
    /// `options` are the driver's, as Docker's `--storage-opt` takes them. Throws `driverUnavailable` where the driver
    /// cannot work here.
    public static func open(
        _ home: FilePath, driver: DriverName, options: [String] = [], uidMap: IDMap = .identity,
        gidMap: IDMap = .identity
    ) throws(LayerError) -> LayerStore {
        let driver = try DriverRegistry.open(driver, configuration(home, options, uidMap, gidMap))
        return LayerStore(reader: driver.reader, driver: driver)
    }

    /// Opens the store at `home` to be looked at, also on a read-only mount, as another user, and beside a daemon.
    ///
    /// Throws `notFound` where there is none.
    public static func read(
        _ home: FilePath, driver: DriverName, options: [String] = [], uidMap: IDMap = .identity,
        gidMap: IDMap = .identity
    ) throws(LayerError) -> LayerStore {
        LayerStore(
            reader: try DriverRegistry.read(driver, configuration(home, options, uidMap, gidMap)), driver: nil)
    }

    private static func configuration(_ home: FilePath, _ options: [String], _ uidMap: IDMap, _ gidMap: IDMap)
        -> DriverConfiguration
    {
        var configuration = DriverConfiguration(home: PathBytes(home), options: options)
        configuration.uidMap = uidMap
        configuration.gidMap = gidMap
        return configuration
    }

    /// The driver's name.
    public var driverName: DriverName { reader.name }

    /// The ids of all complete layers, sorted.
    public func layers() throws(LayerError) -> [LayerID] { try reader.layers() }

    /// The layer of this id, nil where there is none.
    ///
    /// Throws where it cannot be told, because a disk fails or the layer's files may not be read.
    public func layer(_ id: LayerID) throws(LayerError) -> StoredLayer? {
        try reader.exists(id) ? StoredLayer(id: id, store: self) : nil
    }

    /// Makes an empty layer on `parent`; with `isWritable` a container's, which some drivers can limit in size.
    ///
    /// Throws `alreadyExists`, `notFound` for an unknown parent.
    @discardableResult
    public func createLayer(_ id: LayerID, on parent: LayerID? = nil, isWritable: Bool = false)
        throws(LayerError) -> StoredLayer
    {
        let driver = try writable("create the layer", id)
        if isWritable {
            try driver.createReadWrite(id, parent: parent, options: CreateOptions())
        } else {
            try driver.create(id, parent: parent, options: CreateOptions())
        }
        return StoredLayer(id: id, store: self)
    }

    /// Applies `layer` as `id` on `parent`. A layer that is not there is made, and appears when it is complete; after an
    /// error there is no such layer. One that is there and empty is filled.
    ///
    /// Throws `digestMismatch`, `alreadyExists` for a layer that holds something or that somebody else makes meanwhile,
    /// `invalidArgument` where an existing layer has another parent, and what `LayerTree.apply` throws.
    @discardableResult
    public func apply(
        _ layer: LayerSource, as id: LayerID, on parent: LayerID? = nil,
        options: LayerApplyOptions = LayerApplyOptions()
    ) throws(LayerError) -> LayerApplyReport {
        let report = try StoreImport.apply(
            layer.input, as: id, on: parent, in: try writable("apply the layer", id),
            tarSplit: try metadataFile(options.tarSplit), options: options.begin())
        return LayerApplyReport(report.layer, report.stream, contentBytes: report.size, isNew: report.created)
    }

    /// What a crash, a full disk or a killed process left in the store, a line each; with `repairing` it is mended, where
    /// nothing in use, complete or foreign is touched.
    public func check(repairing: Bool = false) throws(LayerError) -> [String] {
        guard repairing else { return try reader.check().map(\.description) }
        return try writable("repair the store", nil).check(repair: true).map(\.description)
    }

    /// Copies layers with all that they stand on into `target`, compares each with its source, and returns those that were
    /// copied; all of them if `ids` is empty. This store is only read.
    @discardableResult
    public func migrate(_ ids: [LayerID] = [], to target: LayerStore, control: LayerControl = LayerControl())
        throws(LayerError) -> [LayerID]
    {
        let migration = StoreMigration(from: reader, to: target.reader, interruption: control.interruption)
        return try migration.run(try migration.plan(ids), in: try target.writable("migrate to the store", nil)).copied
    }

    func writable(_ operation: String, _ id: LayerID?) throws(LayerError) -> any LayerDriver {
        if let driver { return driver }
        throw LayerError(
            .notPermitted, operation, path: id?.component ?? reader.configuration.home,
            cause: .reason("the store was opened to be looked at"), hint: "open it with LayerStore.open")
    }
}

/// A layer of a store.
public struct StoredLayer: Sendable {
    /// Its name in the store.
    public let id: LayerID
    let store: LayerStore

    /// The layer that it was made on, nil for a base layer.
    public func parent() throws(LayerError) -> LayerID? { try store.reader.parent(of: id) }

    /// Writes the layer that turns `ancestor` into this one; without an ancestor, its own parent.
    ///
    /// Throws what `LayerTree.writeLayer` throws, and `fileChanged` where the layer is removed meanwhile.
    @discardableResult
    public func writeLayer(
        since ancestor: LayerID? = nil, to output: LayerOutput, options: LayerWriteOptions = LayerWriteOptions()
    ) throws(LayerError) -> LayerDescriptor {
        let layer = StoreLayer(id, since: try base(ancestor), in: store.reader)
        let control = options.control
        return try writing(
            StoreProducer(layer, control.interruption.flag, control.beginWriting(), options.filter), to: output, options
        )
    }

    /// The names that differ from `ancestor`; without one, from its own parent.
    public func changes(since ancestor: LayerID? = nil, options: LayerLookOptions = LayerLookOptions())
        throws(LayerError) -> LayerChanges
    {
        var changes = LayerChanges()
        let report = try store.reader.changes(id, since: try base(ancestor), options: difference(options)) {
            (kind, path) in changes.append(kind, path)
        }
        try options.control.interruption.flag.check()
        changes.skippedUnreadable = report.skippedUnreadable
        changes.warnings = report.warnings
        return changes
    }

    /// The bytes of the difference to `ancestor`, or to its own parent, as Docker counts them.
    public func size(since ancestor: LayerID? = nil, options: LayerLookOptions = LayerLookOptions())
        throws(LayerError) -> UInt64
    {
        try store.reader.diffSize(id, since: try base(ancestor), options: difference(options))
    }

    /// Removes the layer, unmounting it first.
    public func remove() throws(LayerError) { try store.writable("remove the layer", id).remove(id) }

    /// Mounts the layer's tree for as long as the result lives, or until `unmount`.
    public func mount() throws(LayerError) -> LayerMount {
        LayerMount(try store.writable("mount the layer", id).mount(id))
    }

    /// What the difference begins at: where nobody says, the layer's parent.
    private func base(_ ancestor: LayerID?) throws(LayerError) -> LayerID? {
        if let ancestor { return ancestor }
        return try parent()
    }

    /// Runs `body` with the path of the layer's tree, which is mounted meanwhile.
    ///
    /// Throws what `body` throws, else what mounting and unmounting say.
    public func withMount<Result>(_ body: (FilePath) throws -> Result) throws -> Result {
        let mount = try mount()
        let result = try body(mount.path)
        try mount.unmount()
        return result
    }

    private func difference(_ options: LayerLookOptions) -> DifferenceOptions {
        var difference = DifferenceOptions()
        difference.diff.profile = options.profile
        difference.diff.skipUnreadable = options.skipsUnreadable
        difference.filter = options.filter
        difference.cancel = options.control.interruption.flag
        difference.progress = options.control.beginWriting()
        return difference
    }
}

/// A mounted layer: the tree is there while this lives.
public struct LayerMount: ~Copyable, Sendable {
    private let mounted: MountedLayer

    init(_ mounted: consuming MountedLayer) { self.mounted = mounted }

    /// The absolute path of the merged tree.
    public var path: FilePath { FilePath(mounted.path) }

    /// Unmounts and reports what that said. Without it the end of this value unmounts.
    public consuming func unmount() throws(LayerError) { try mounted.release() }
}
