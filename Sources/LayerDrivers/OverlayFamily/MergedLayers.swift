import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// A store whose layers have a directory each, in which `merged` is the mount point.
protocol MergedStore: Sendable {
    var home: PathBytes { get }
    /// Refuses names that are the store's own.
    func validate(_ id: LayerID) throws(LayerError)
    static func isReserved(_ name: PathBytes) -> Bool
    func layer(_ id: LayerID) -> PathBytes
    func merged(_ id: LayerID) -> PathBytes
    /// Throws `notFound` unless the layer is there.
    func require(_ id: LayerID, _ operation: String) throws(LayerError)
    func parent(of id: LayerID) throws(LayerError) -> LayerID?
    /// Takes the layer out of the store. The caller has unmounted it; an unknown one is fine.
    func remove(_ id: LayerID) throws(LayerError)
}

/// What overlay2, overlay and fuse-overlayfs do alike: they differ in what a mount is, and in what a layer's directory holds.
struct MergedLayers<Store: MergedStore>: Sendable {
    let store: Store
    let mounts: CountedMounts
    let locks = LayerLocks<LayerID>()
    let lock: HomeLock

    /// Locks the home directory, which must be there. `mounts` are shown by a file system of this kind.
    init(_ store: Store, _ configuration: DriverConfiguration, shownBy kind: FileSystemKind) throws(LayerError) {
        self.store = store
        mounts = CountedMounts(.fileSystem(magic: kind.magic), configuration)
        lock = try HomeLock(configuration.home)
    }

    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        try store.require(id, "find the parent of")
        return try store.parent(of: id)
    }

    /// Unmounts and removes a layer. `beforehand` runs in between, with the layer's directory.
    func remove(_ id: LayerID, _ beforehand: (PathBytes) -> Void = { _ in }) throws(LayerError) {
        try store.validate(id)
        try locks.withLock(id) { () throws(LayerError) in
            let layer = store.layer(id)
            try mounts.clear(layer, store.merged(id))
            beforehand(layer)
            try store.remove(id)
        }
    }

    func put(
        _ id: LayerID, _ unmount: (PathBytes) throws(LayerError) -> Void = CountedMounts.detach
    ) throws(LayerError) {
        guard !Store.isReserved(id.component) else { return }
        try locks.withLock(id) { () throws(LayerError) in try mounts.release(store.merged(id), unmount) }
    }

    func cleanup() throws(LayerError) { try OverlayHome.unmountLayers(below: store.home, mounts.references) }
}

extension MergedLayers<OverlayStore> {
    /// Opens the store that overlay2 and fuse-overlayfs share, made and swept where that is due.
    init(
        _ configuration: DriverConfiguration, _ layout: OverlayStore.Layout, additional: AdditionalStores = .none,
        shownBy kind: FileSystemKind
    ) throws(LayerError) {
        try OverlayHome.make(configuration)
        try self.init(
            OverlayStore(configuration, layout, additional: additional), configuration, shownBy: kind)
        try store.sweep(lock)
    }

    func create(
        _ id: LayerID, parent: LayerID?, limit: (PathBytes) throws(LayerError) -> Void = { _ in }
    ) throws(LayerError) {
        try locks.withLock(id, sharing: parent) { () throws(LayerError) in
            try store.create(id, parent: parent, limit: limit)
        }
    }

    /// The layer's tree: its own directory where it has no parent, else what `mount` shows at the mount point.
    func get(
        _ id: LayerID,
        _ mount: (_ merged: PathBytes, _ below: LowerChain, _ readOnly: Bool) throws(LayerError) -> Void
    ) throws(LayerError) -> PathBytes {
        try store.require(id, "mount the layer")
        return try locks.withLock(id) { () throws(LayerError) in
            let chain = try store.chain(of: id)
            let isCommitted = try store.isCommitted(id)
            // Whoever asked may write into it. What the record looks at could still seem the same within one tick of the clock.
            if !isCommitted { try store.record(of: id).forget() }
            // A base layer is its own tree.
            guard !chain.elements.isEmpty else { return store.contents(id) }
            let merged = store.merged(id)
            // A helper that died left a mount at which every look fails: that is replaced too (K11).
            try mounts.acquire(merged) { () throws(LayerError) in try mount(merged, chain, isCommitted) }
            return merged
        }
    }

    /// Where the layer is unpacked, if that need not be its mounted tree: `parent` is its own, and nobody has it mounted.
    func applyTarget(
        for id: LayerID, isDirect: Bool, dialect: WhiteoutDialect
    ) throws(LayerError) -> ApplyTarget? {
        guard isDirect, try MountTable.state(of: store.merged(id)) != .mounted else { return nil }
        return try OverlayPlan.target(store, id, locks, dialect: dialect)
    }

    /// Keeps a size where the layer can no longer change.
    func record(_ size: RecordedSize, of id: LayerID) {
        guard store.foreign(id) == nil, (try? store.isCommitted(id)) == true else { return }
        try? store.record(of: id).store(size)
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        try store.require(id, "describe the layer")
        return try OverlayPlan.metadata(store, id)
    }

    func files(of id: LayerID, dialect: WhiteoutDialect) throws(LayerError) -> LayerFiles {
        try store.require(id, "open the files of the layer")
        return try LayerFiles(in: [store.contents(id)] + store.lowerPaths(of: id), dialect: dialect)
    }

    func check(repair: Bool) throws(LayerError) -> [Finding] {
        try lock.whileAlone { (isAlone) throws(LayerError) in
            var check = OverlayCheck(store, repair: repair)
            try check.run(isAlone: isAlone)
            return check.findings.list
        }
    }
}
