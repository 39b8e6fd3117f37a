import LayerModel
import LayerMounts
import LinuxIO
import Synchronization

/// What a store's datasets are, asked and never changed.
///
/// A dataset is a layer where it is proven to be one: by our property, which was given in the command that made it, or, made by
/// Docker, by its whole form. No name is a proof: others keep datasets beside ours, and snapshots of ours.
struct ZFSView: Sendable {
    let names: ZFSNames
    let query: ZFSQuery
    /// Where the layers are mounted.
    let graph: PathBytes
    private let cache = Cache()

    /// What is known of the layers, from the one listing at the start and from what this process did since.
    private final class Cache: Sendable {
        let layers = Mutex<[LayerID: ZFSDataset]>([:])
    }

    init(root: String, graph: PathBytes, query: ZFSQuery) {
        names = ZFSNames(root: root)
        self.graph = graph
        self.query = query
    }

    // MARK: what is there

    /// Lists everything at and below the root dataset, in one command, and learns the layers.
    ///
    /// Throws where the root dataset cannot be listed, and `invalidArgument` where it is no file system.
    func list() throws(LayerError) -> [ZFSDataset] {
        let text: [UInt8]
        do throws(ZFSFailure) {
            text = try query.get(ZFSDataset.query(recursive: true) + [names.root])
        } catch {
            throw error.error(
                "Cannot find root filesystem", PathBytes(names.root), hint: "zfs list shows what there is")
        }
        let datasets = try ZFSDataset.parse(text)
        guard datasets.contains(where: { $0.name == names.root && $0.kind == .fileSystem }) else {
            throw LayerError(
                .invalidArgument, "open the driver zfs", path: PathBytes(names.root),
                cause: .reason("it is no file system"), hint: "name a dataset of this kind with the option zfs.fsname")
        }
        let layers = proven(datasets)
        cache.layers.withLock { $0 = layers }
        return datasets
    }

    /// The layers of a whole listing.
    private func proven(_ datasets: [ZFSDataset]) -> [LayerID: ZFSDataset] {
        var layers: [LayerID: ZFSDataset] = [:]
        for dataset in datasets {
            if let id = layer(dataset) { layers[id] = dataset }
        }
        // BuildKit's names prove nothing. That a layer was cloned from one, of a snapshot such as Docker makes, does.
        var below: Set<LayerID> = []
        for dataset in layers.values {
            var next = dataset.origin
            while let origin = next, ZFSNames.isDockersOrigin(origin), let parent = names.parent(origin: origin),
                below.insert(parent).inserted
            {
                next = datasets.first { $0.name == names.dataset(parent) }?.origin
            }
        }
        for dataset in datasets where dataset.kind == .fileSystem && dataset.layer == nil {
            guard let id = names.layer(dataset.name), below.contains(id), ZFSNames.isBuildKits(id),
                hasDockersForm(dataset)
            else { continue }
            layers[id] = dataset
        }
        return layers
    }

    /// Whose layer a dataset is, as far as it tells itself.
    func layer(_ dataset: ZFSDataset) -> LayerID? {
        guard dataset.kind == .fileSystem, let id = names.layer(dataset.name) else { return nil }
        if let owner = dataset.layer { return owner == ZFSNames.text(id) ? id : nil }
        guard hasDockersForm(dataset) else { return nil }
        guard let origin = dataset.origin else { return ZFSNames.isDockers(id) ? id : nil }
        guard let parent = names.parent(origin: origin) else { return nil }
        if ZFSNames.isDockers(id) { return id }
        // A clone of a layer, of a snapshot such as Docker makes.
        return ZFSNames.isBuildKits(id) && ZFSNames.isDockersOrigin(origin)
            && (ZFSNames.isDockers(parent) || ZFSNames.isBuildKits(parent)) ? id : nil
    }

    /// Docker gives its datasets the mount point `legacy`, and nothing else; zfs-fuse needs a path, which the driver sets. The
    /// origin, if there is one, is a snapshot of another dataset of the store.
    private func hasDockersForm(_ dataset: ZFSDataset) -> Bool {
        guard dataset.hasOwnMountpoint, let name = names.component(dataset.name) else { return false }
        return [PathBytes("legacy"), graph.appending(PathBytes(Array(name.utf8)))].contains(dataset.mountpoint)
            && (dataset.origin.map { names.parent(origin: $0) != nil } ?? true)
    }

    /// The layers, as they are now.
    func layers() throws(LayerError) -> [LayerID] {
        _ = try list()
        return cache.layers.withLock { $0.keys.sorted() }
    }

    /// Whether there is such a layer as far as this process knows, without asking.
    func isKnown(_ id: LayerID) -> Bool { cache.layers.withLock { $0[id] != nil } }

    /// The layer's dataset, nil where there is none. What is not known is looked up (K10).
    func find(_ id: LayerID) throws(LayerError) -> ZFSDataset? {
        if let known = cache.layers.withLock({ $0[id] }) { return known }
        return try prove(id).first
    }

    /// Asks what is there now: the layer's dataset, with its snapshots and what lies in it behind it if `recursive`. Nothing where there is
    /// no such dataset, and where it is no layer.
    func prove(_ id: LayerID, recursive: Bool = false) throws(LayerError) -> [ZFSDataset] {
        do throws(LayerError) { try names.validate(id) } catch { return [] }
        let text: [UInt8]
        do throws(ZFSFailure) {
            text = try query.get(ZFSDataset.query(recursive: recursive) + [names.dataset(id)])
        } catch {
            guard error.kind == .missing else { throw error.error("look for the layer", id.component) }
            forget(id)
            return []
        }
        let found = try ZFSDataset.parse(text)
        guard let dataset = found.first, dataset.name == names.dataset(id), isLayer(id, dataset) else {
            forget(id)
            return []
        }
        remember(id, dataset)
        return found
    }

    /// Also one that only a whole listing proved, if it is the same still.
    private func isLayer(_ id: LayerID, _ dataset: ZFSDataset) -> Bool {
        if layer(dataset) == id { return true }
        return dataset.layer == nil && hasDockersForm(dataset)
            && cache.layers.withLock { $0[id]?.guid == dataset.guid && !dataset.guid.isEmpty }
    }

    /// Asks for one dataset or snapshot, whatever it is; nil where there is none.
    func look(_ name: String) throws(LayerError) -> ZFSDataset? {
        let text: [UInt8]
        do throws(ZFSFailure) {
            text = try query.get(ZFSDataset.query(recursive: false) + [name])
        } catch {
            if error.kind == .missing { return nil }
            throw error.error("look at", PathBytes(name))
        }
        return try ZFSDataset.parse(text).first
    }

    /// The layer's dataset, or the error for an unknown layer.
    func require(_ id: LayerID, _ operation: String) throws(LayerError) -> ZFSDataset {
        guard let found = try find(id) else { throw DriverErrors.unknownLayer(operation, id) }
        return found
    }

    /// Whether a layer was made on this one, as far as this process knows.
    func hasChildren(_ id: LayerID) -> Bool {
        cache.layers.withLock { layers in
            layers.values.contains { dataset in dataset.origin.flatMap(names.parent) == id }
        }
    }

    /// The clones of a dataset's snapshots, in all of the pool; asked only to explain a refusal.
    func clones(of dataset: String) -> [String] {
        let pool = String(dataset.prefix { $0 != "/" })
        guard let text = try? query.get(["-rHp", "-o", "name,value", "origin", pool]) else { return [] }
        return String(decoding: text, as: UTF8.self).split(separator: "\n").compactMap { line in
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count == 2, fields[1].hasPrefix(dataset + "@") else { return nil }
            return String(fields[0])
        }
    }

    func remember(_ id: LayerID, _ dataset: ZFSDataset) { cache.layers.withLock { $0[id] = dataset } }
    func forget(_ id: LayerID) { cache.layers.withLock { _ = $0.removeValue(forKey: id) } }
}
