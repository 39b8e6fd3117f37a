import LayerModel
import LayerMounts
import LinuxIO
import Synchronization

/// The datasets of a store: one below the root dataset for each layer (drivers.md 9.3).
///
/// A dataset is made with all its properties in one step, so it is either there as a whole or not at all. A layer on a
/// parent is a clone of a snapshot of the parent, which is marked to go when its last clone goes.
struct ZFSStore: Sendable {
    let tool: ZFSTool
    let names: ZFSNames
    private let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void
    private let cache = Cache()

    /// What is known of the layers, from the one listing at the start and from what this process did since.
    private final class Cache: Sendable {
        let layers = Mutex<[LayerID: ZFSDataset]>([:])
    }

    init(
        root: String, tool: ZFSTool, log: @escaping @Sendable (DriverConfiguration.LogLevel, String) -> Void
    ) {
        names = ZFSNames(root: root)
        self.tool = tool
        self.log = log
    }

    // MARK: what is there

    /// Lists everything at and below the root dataset, in one command, and learns the layers.
    ///
    /// Throws where the root dataset cannot be listed, and `invalidArgument` where it is no file system.
    func list() throws(LayerError) -> [ZFSDataset] {
        let text: [UInt8]
        do throws(ZFSFailure) {
            text = try tool.zfs(ZFSDataset.query(recursive: true) + [names.root])
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
        let layers = datasets.compactMap { dataset in layer(dataset).map { ($0, dataset) } }
        cache.layers.withLock { $0 = Dictionary(uniqueKeysWithValues: layers) }
        return datasets
    }

    /// Whose layer a dataset is: by our property, or, made by Docker, by its name and its legacy mount point.
    private func layer(_ dataset: ZFSDataset) -> LayerID? {
        guard dataset.kind == .fileSystem, let id = names.layer(dataset.name) else { return nil }
        if dataset.layer == ZFSNames.text(id) { return id }
        return dataset.mountpoint == PathBytes("legacy") && ZFSNames.isDockers(id) ? id : nil
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
        do throws(LayerError) { try names.validate(id) } catch { return nil }
        do throws(ZFSFailure) {
            let text = try tool.zfs(ZFSDataset.query(recursive: false) + [names.dataset(id)])
            guard let found = (try? ZFSDataset.parse(text))?.first, layer(found) == id else { return nil }
            remember(id, found)
            return found
        } catch {
            if error.kind == .missing { return nil }
            throw error.error("look for the layer", id.component)
        }
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

    func remember(_ id: LayerID, _ dataset: ZFSDataset) { cache.layers.withLock { $0[id] = dataset } }
    func forget(_ id: LayerID) { cache.layers.withLock { _ = $0.removeValue(forKey: id) } }

    // MARK: making and destroying

    /// Makes the layer `id`, as a clone of `parent` if there is one. A failure leaves nothing behind.
    ///
    /// What is called so already is never touched: not the layer, nor its clones (K10).
    func create(_ id: LayerID, parent: LayerID?, quota: String?) throws(LayerError) {
        try names.validate(id)
        let dataset = names.dataset(id)
        var properties = [
            "mountpoint=legacy", "canmount=noauto", "snapdir=hidden", "com.sun:auto-snapshot=false",
            "\(ZFSNames.property)=\(ZFSNames.text(id))",
        ]
        if let quota { properties.append("quota=\(quota)") }
        let settings = properties.flatMap { ["-o", $0] }
        do throws(ZFSFailure) {
            if let parent {
                try clone(dataset, of: names.origin(of: id, in: parent), settings)
            } else {
                try tool.zfs(["create"] + settings + [dataset])
            }
        } catch {
            switch error.kind {
            case .exists: throw DriverErrors.exists(id)
            case .missing:
                if let parent {
                    forget(parent)
                    throw DriverErrors.unknownLayer("create a layer on the parent", parent)
                }
                throw error.error("create the layer", id.component)
            default: throw error.error("create the layer", id.component)
            }
        }
        var made = ZFSDataset(name: dataset)
        made.kind = .fileSystem
        made.origin = parent.map { names.origin(of: id, in: $0) }
        made.mountpoint = PathBytes("legacy")
        made.layer = ZFSNames.text(id)
        remember(id, made)
    }

    private func clone(_ dataset: String, of origin: String, _ settings: [String]) throws(ZFSFailure) {
        do throws(ZFSFailure) {
            try tool.zfs(["snapshot", origin])
        } catch {
            // Left by a create that was killed; what is in it may be older than the parent is now.
            guard error.kind == .exists, dropSnapshot(origin) else { throw error }
            try tool.zfs(["snapshot", origin])
        }
        do throws(ZFSFailure) {
            try tool.zfs(["clone"] + settings + [origin, dataset])
        } catch {
            _ = dropSnapshot(origin)
            throw error
        }
        _ = dropSnapshot(origin)
    }

    /// Destroys a snapshot now, or with its last clone. False where that failed, which is logged.
    func dropSnapshot(_ snapshot: String) -> Bool {
        do throws(ZFSFailure) {
            try tool.zfs(["destroy", "-d", snapshot])
            return true
        } catch {
            if error.kind == .missing { return true }
            log(.warning, "zfs: destroying the snapshot \(snapshot): \(error.text)")
            return false
        }
    }

    /// Destroys the layer's dataset with its snapshots; an unknown one is fine (K10).
    ///
    /// One that is busy is tried again for a second; then it is renamed out of the way, so that the layer is gone for
    /// callers, and destroyed later. `unmount` runs before each try.
    func destroy(_ id: LayerID, unmount: () throws(LayerError) -> Void) throws(LayerError) {
        let dataset = names.dataset(id)
        var last: ZFSFailure?
        for attempt in 0..<Self.destroyTries {
            if attempt > 0 { ProcessState.sleep(milliseconds: Self.destroyPause) }
            try unmount()
            do throws(ZFSFailure) {
                try tool.zfs(["destroy", "-r", dataset])
                return forget(id)
            } catch {
                switch error.kind {
                case .missing:
                    log(.debug, "no layer \(id) to remove")
                    return forget(id)
                case .busy: last = error
                case .dependentClones:
                    throw error.error("remove the layer", id.component, hint: "remove the layers made on it first")
                default: throw error.error("remove the layer", id.component)
                }
            }
        }
        let holders = ZFSHolders.text(of: dataset)
        do throws(ZFSFailure) {
            try tool.zfs(["rename", dataset, names.removing(id)])
        } catch {
            if error.kind == .missing { return forget(id) }
            guard let last else { return }
            throw last.error("remove the layer", id.component, hint: holders ?? "see who uses it, and try again")
        }
        forget(id)
        log(.warning, "zfs: \(dataset) is busy and will be destroyed later" + (holders.map { ": " + $0 } ?? ""))
    }

    private static let destroyTries = 12
    private static let destroyPause: UInt32 = 100
}

/// Who keeps a dataset busy: mounts of it in other mount namespaces.
enum ZFSHolders {
    /// Processes that have `dataset` mounted, one for each mount namespace; nil where none is found.
    static func text(of dataset: String) -> String? {
        var seen: Set<String> = []
        var holders: [String] = []
        for name in (try? StoreFiles.names(in: PathBytes("/proc"))) ?? [] {
            let process = name.description
            guard process.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }) else { continue }
            let directory = PathBytes("/proc").appending(name)
            guard let space = try? StoreFiles.readLink(directory.appending("ns/mnt"))?.description,
                seen.insert(space).inserted,
                let text = try? StoreFiles.read(directory.appending("mountinfo")),
                let table = MountTable(parsing: text),
                let mount = table.entries.last(where: { $0.source == PathBytes(dataset) })
            else { continue }
            holders.append("process \(process) has it mounted at \(mount.mountPoint)")
            if holders.count == 5 { break }
        }
        return holders.isEmpty ? nil : holders.joined(separator: ", ")
    }
}
