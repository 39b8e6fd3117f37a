import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// A store of zfs that is looked at: `zfs get` and `zpool list` are asked, and nothing is made, locked or swept. On OpenZFS no mount is
/// seen by anybody; zfs-fuse can show a layer's files only by mounting it.
final class ZFSReader: StoreReader {
    let name = DriverName.zfs
    let configuration: DriverConfiguration
    let platform: ZFSPlatform
    let view: ZFSView
    let mounts: ZFSMounts
    let locks: ZFSLocks
    let sizes: ZFSSizeRecords

    /// What `snapdir=visible` shows at the top of a dataset; auto-snapshot tools and a look into it have broken builds.
    static let controlDirectory = PathBytes(".zfs")

    /// Throws `driverUnavailable` where zfs cannot be used here, and where the root dataset cannot be listed.
    convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        try self.init(configuration, ZFSTool(log: configuration.log))
        _ = try view.list()
    }

    private init(_ configuration: DriverConfiguration, _ tool: ZFSTool) throws(LayerError) {
        self.configuration = configuration
        platform = try ZFSPlatform.detect()
        let options = try ZFSOptions(configuration)
        let root = if let named = options.root { named } else { try platform.dataset(holding: configuration.home) }
        view = ZFSView(root: root, graph: configuration.home.appending("graph"), query: tool.query)
        locks = try ZFSLocks(home: configuration.home)
        mounts = ZFSMounts(configuration, view, platform, options, locks, tool)
        sizes = ZFSSizeRecords(view, platform, home: configuration.home)
    }

    /// For a driver: with the one listing of its start.
    static func opening(_ configuration: DriverConfiguration, _ tool: ZFSTool) throws(LayerError) -> (
        ZFSReader, [ZFSDataset]
    ) {
        let reader = try ZFSReader(configuration, tool)
        return (reader, try reader.view.list())
    }

    // MARK: layers

    func state(of id: LayerID) throws(LayerError) -> LayerState { try view.find(id) != nil ? .complete : .absent }
    func layers() throws(LayerError) -> [LayerID] { try view.layers() }

    func sizeLimit(of id: LayerID) throws(LayerError) -> UInt64? {
        let quota = try view.require(id, "look at the limit of the layer").quota
        return quota > 0 ? quota : nil
    }

    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        try view.require(id, "find the parent of").origin.flatMap(view.names.parent)
    }

    // MARK: differences

    func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        let dataset = try view.require(id, "compare the layer")
        if let parent { _ = try view.require(parent, "compare with the layer") }
        let layer = try look(id)
        var trees = source(layer)
        guard let parent else { return ChangeSource(compared: trees, [layer]) }
        let below = try look(parent)
        trees.lowers = [below.path]
        // `zfs diff` would help, but takes a snapshot while it works.
        if platform == .fuse { trees.contents = fuseContents(dataset, parent) }
        return ChangeSource(compared: trees, [layer, below])
    }

    /// zfs-fuse has times of whole seconds only: what may have been written in one in which the clone was made is read.
    func fuseContents(_ dataset: ZFSDataset, _ parent: LayerID) -> ContentComparison {
        guard let origin = origin(dataset, parent), let second = creation(origin) else { return .always }
        return .changedInodesOrSince(second)
    }

    /// The snapshot of `parent` that a dataset is a clone of.
    func origin(_ dataset: ZFSDataset, _ parent: LayerID) -> String? {
        dataset.origin.flatMap { view.names.parent(origin: $0) == parent ? $0 : nil }
    }

    /// The second in which a snapshot was taken.
    private func creation(_ snapshot: String) -> Int64? {
        guard let text = try? view.query.get(["-Hp", "-o", "value", "creation", snapshot]) else { return nil }
        return Int64(String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
    }

    private func look(_ id: LayerID) throws(LayerError) -> any LayerLook {
        let dataset = try view.require(id, "look at the layer")
        return platform == .kernel ? try ZFSLook(dataset.name) : try ZFSMountedLook(id, mounts, view)
    }

    func files(of id: LayerID) throws(LayerError) -> LayerFiles { try LayerFiles(look(id)) }

    /// Of the whole tree: an empty mount point must not count as an empty layer.
    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage { try usage(look(id)) }

    func usage(_ layer: any LayerLook) throws(LayerError) -> DiskUsage {
        let size = try DiffEngine.size(source(layer))
        withExtendedLifetime(layer) {}
        return DiskUsage(byteCount: size.bytes, inodeCount: size.inodes)
    }

    func source(_ layer: any LayerLook) -> SourceOptions {
        var trees = newSource(layer.path)
        trees.ignoredAtTop = [Self.controlDirectory]
        return trees
    }

    func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        guard let dataset = try? view.find(id), isDirect(parent, of: dataset) else { return nil }
        return sizes.recorded(id, origin: dataset.origin)
    }

    func isDirect(_ parent: LayerID?, of dataset: ZFSDataset) -> Bool {
        guard let origin = dataset.origin else { return parent == nil }
        return parent != nil && view.names.parent(origin: origin) == parent
    }

    // MARK: facts

    /// Asked anew each time (K10).
    func status() -> [StatusRow] {
        let root = view.names.root
        let pool = root.prefix { $0 != "/" }
        var (poolName, health) = (String(pool), "not available")
        do throws(ZFSFailure) {
            // Without -p, which zfs-fuse's zpool does not have.
            let text = String(
                decoding: try view.query.pools(["-H", "-o", "name,health", String(pool)]), as: UTF8.self)
            let fields = text.split(whereSeparator: \.isNewline).first?.split(separator: "\t") ?? []
            if fields.count == 2 { (poolName, health) = (String(fields[0]), String(fields[1])) }
        } catch {
            poolName = "error while getting pool information \(error.text)"
        }
        let dataset = (try? view.look(root)) ?? nil
        func number(_ value: UInt64?) -> String { value.map { String($0) } ?? "not available" }
        return [
            StatusRow("Zpool", poolName), StatusRow("Zpool Health", health), StatusRow("Parent Dataset", root),
            StatusRow("Space Used By Parent", number(dataset?.used)),
            StatusRow("Space Available", number(dataset?.available)),
            StatusRow("Parent Quota", dataset?.quota == 0 ? "no" : number(dataset?.quota)),
            StatusRow("Compression", dataset?.compression ?? "not available"),
        ]
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        let dataset = try view.require(id, "describe the layer")
        return [MetadataItem("Dataset", PathBytes(dataset.name)), MetadataItem("Mountpoint", mounts.point(id))]
    }

    func look() throws(LayerError) -> [Finding] {
        var check = ZFSCheck(view, mounts, sizes, nil)
        return try check.run()
    }
}
