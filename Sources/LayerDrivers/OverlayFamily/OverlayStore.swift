import LayerModel
import LinuxIO

/// The layout that overlay2 and fuse-overlayfs share: a directory a layer, short links to their contents (drivers.md 6.5,
/// 7.2). Docker's, and readable by containers/storage.
///
/// A layer directory holds `diff`, `link`, and with a parent `lower` and `work`; `merged` while it is mounted; `committed`
/// once it has a child.
struct OverlayStore: MergedStore {
    /// In what the two drivers differ.
    struct Layout: Sendable {
        var driver: DriverName
        /// Owner of the layer's directory.
        var layerOwner: Owner
        /// Owner and mode of the overlay's work directory.
        var workOwner: Owner
        var workMode: UInt32
        /// Owner of `diff`.
        var contentOwner: Owner
    }

    /// The most lower layers a layer may have.
    static let depthLimit = 128
    /// Names in the home directory that are no layers, in Docker's and in containers/storage's stores.
    static let reserved: Set<String> = [
        "l", "staging", "staging.lock", Trash.directoryName, "backingFsBlockDev", ".has-mount-program",
        "userxattr-check", "mapped",
    ]

    let home: PathBytes
    let layout: Layout
    let trash: Trash
    let additional: AdditionalStores
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(_ configuration: DriverConfiguration, _ layout: Layout, additional: AdditionalStores = .none) {
        home = configuration.home
        self.additional = additional
        self.layout = layout
        trash = Trash(home: home)
        log = configuration.log
    }

    /// The layer's directory: in this store, or where only an additional one has it, there.
    func layer(_ id: LayerID) -> PathBytes { foreign(id) ?? home.appending(id.component) }
    func contents(_ id: LayerID) -> PathBytes { layer(id).appending("diff") }
    func work(_ id: LayerID) -> PathBytes { layer(id).appending("work") }
    /// The mount point. A layer of another store has it in this one.
    func merged(_ id: LayerID) -> PathBytes {
        guard foreign(id) != nil else { return home.appending(id.component).appending("merged") }
        return trash.directory.appending(PathBytes(Self.foreignMounts + id.component.bytes)).appending("merged")
    }

    /// How the directories begin in which layers of other stores are mounted.
    static let foreignMounts = Array("ldiff-mount-".utf8)

    /// The directory of a layer that only an additional store has.
    func foreign(_ id: LayerID) -> PathBytes? {
        guard !additional.homes.isEmpty, (try? StoreFiles.metadata(home.appending(id.component))) ?? nil == nil
        else { return nil }
        return additional.layer(id)
    }
    var links: PathBytes { home.appending("l") }

    /// Refuses names that are the store's own.
    func validate(_ id: LayerID) throws(LayerError) {
        if Self.isReserved(id.component) { throw DriverErrors.reserved(id, layout.driver) }
    }

    static func isReserved(_ name: PathBytes) -> Bool {
        reserved.contains(name.description)
            || probePrefixes.contains { name.bytes.starts(with: Array($0.utf8)) }
    }

    /// How directories begin in which Docker, containers/storage or ldiff try out the kernel.
    static let probePrefixes = [
        "check-overlayfs-support", "opaque-bug-check", "metacopy-check", "fsutils-dummy", "ldiff-probe", ".tmp-",
    ]

    /// Whether a complete layer of this id is there.
    ///
    /// One without a usable `link` was being made when a daemon died, unless a name in `l/` still leads to it.
    func exists(_ id: LayerID) -> Bool {
        guard !Self.isReserved(id.component) else { return false }
        return (try? link(of: id)) != nil
    }

    /// Throws `notFound` unless the layer is there.
    func require(_ id: LayerID, _ operation: String) throws(LayerError) {
        guard exists(id) else { throw DriverErrors.unknownLayer(operation, id) }
    }

    /// All complete layers, sorted.
    func layers() throws(LayerError) -> [LayerID] {
        var found: [LayerID] = []
        for name in try StoreFiles.names(in: home) where !Self.isReserved(name) {
            let id = LayerID(trusted: name)
            if try StoreFiles.isDirectory(layer(id)), exists(id) { found.append(id) }
        }
        return found
    }

    /// Whether a child was made on the layer, which must then never be written again.
    func isCommitted(_ id: LayerID) throws(LayerError) -> Bool {
        if foreign(id) != nil { return true }
        return try StoreFiles.metadata(layer(id).appending("committed")) != nil
    }
}
