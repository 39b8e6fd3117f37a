import LayerModel
import LinuxIO

/// A store whose layers have a directory each, in which `merged` is the mount point, as far as it is only looked at.
protocol MergedView: StoreView {
    var home: PathBytes { get }
    /// What a layer's directory may hold.
    var parts: LayerParts { get }
    static func isReserved(_ name: PathBytes) -> Bool
    /// Refuses names that are the store's own.
    func validate(_ id: LayerID) throws(LayerError)
    /// The layer's directory.
    func layer(_ id: LayerID) -> PathBytes
    /// The mount point.
    func merged(_ id: LayerID) -> PathBytes
    /// Whether the store may have layers that are packed: a mount of one shows directories that lie at no path.
    var holdsPacked: Bool { get }
    /// Directories below the store that a mount of the layer is made of: one of them is in every such mount.
    func ownDirectories(_ id: LayerID) -> [PathBytes]
    /// What lies under the layer's name in this store.
    func form(of id: LayerID) throws(LayerError) -> LayerForm
    func parent(of id: LayerID) throws(LayerError) -> LayerID?
}

extension MergedView {
    /// The file that says that the layer's contents are still to come.
    func unfinishedMark(_ id: LayerID) -> PathBytes { layer(id).appending(UnfinishedLayers.fileName) }

    /// All complete layers of this store, sorted.
    func layers() throws(LayerError) -> [LayerID] {
        var found: [LayerID] = []
        for name in try StoreFiles.names(in: home) where !Self.isReserved(name) {
            let id = LayerID(trusted: name)
            let isDirectory = StoreFiles.mayBe { () throws(LayerError) in try StoreFiles.isDirectory(layer(id)) }
            if isDirectory, isListed(id) { found.append(id) }
        }
        return found
    }

    /// The directory that is locked while something is done to the layer.
    func lockedPlace(_ id: LayerID) throws(LayerError) -> PathBytes? {
        guard !Self.isReserved(id.component), case .ours(let layer) = try form(of: id) else { return nil }
        return layer.path
    }

    /// Refuses a home directory that is none, before it is looked at.
    func requireHome() throws(LayerError) {
        guard try StoreFiles.isDirectory(home) else {
            throw LayerError(
                .notFound, "open the store", path: home, cause: .reason("there is no store"),
                hint: "name the driver's own directory, such as /var/lib/docker/overlay2")
        }
    }
}
