import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

extension ZFSDriver {
    /// What `snapdir=visible` shows at the top of a dataset; auto-snapshot tools and a look into it have broken builds.
    private static let controlDirectory = PathBytes(".zfs")

    // MARK: differences

    /// Both trees, mounted. Where `zfs diff` can tell what may differ, only that is looked at.
    public func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        let dataset = try store.require(id, "compare the layer")
        if let parent { _ = try store.require(parent, "compare with the layer") }
        var source = try comparedTrees(id, parent)
        source.trees.ignoredAtTop = [Self.controlDirectory]
        guard let parent else { return source }
        let origin = dataset.origin.flatMap { store.names.parent(origin: $0) == parent ? $0 : nil }
        switch platform {
        case .kernel:
            source.trees.changedInodes = origin.flatMap { candidates(dataset.name, $0, source.trees) }
            // They are few, so those that look alike are read, too.
            if source.trees.changedInodes != nil { source.trees.contents = .always }
        case .fuse:
            source.trees.contents = origin.flatMap(creation).map { .changedInodesOrSince($0) } ?? .always
        }
        return source
    }

    /// Inodes that may differ between a clone and the parent that it was made from; nil: any.
    ///
    /// What was done to the parent since its snapshot was taken counts as well: reading its files is enough.
    private func candidates(_ dataset: String, _ origin: String, _ trees: SourceOptions) -> Set<UInt64>? {
        guard let cut = origin.firstIndex(of: "@"), let lower = trees.lowers.first else { return nil }
        let parent = String(origin[..<cut])
        do throws(ZFSFailure) {
            // What programs wrote through memory maps is not in the pool yet.
            for path in [trees.upper, lower] { try? path.open([.readOnly, .directory]).syncFileSystem() }
            var search = try CandidateSearch(new: trees.upper, old: lower)
            // `zfs diff` takes a snapshot of its own: whatever was written in the pool before can be asked for after it.
            try search.add(store.tool.zfs(["diff", "-FH", origin, dataset]), of: .new)
            let written = try store.tool.zfs(["get", "-Hp", "-o", "value", "written" + origin[cut...], parent])
            if written != Array("0\n".utf8) {
                try search.add(store.tool.zfs(["diff", "-FH", origin, parent]), of: .old)
            }
            return search.found
        } catch {
            configuration.log(.debug, "zfs: comparing everything: \(error.text)")
            return nil
        }
    }

    /// The second in which a snapshot was taken.
    private func creation(_ snapshot: String) -> Int64? {
        guard let text = try? store.tool.zfs(["get", "-Hp", "-o", "value", "creation", snapshot]) else { return nil }
        return Int64(String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
    }

    // MARK: sizes

    public func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        guard let dataset = try? store.find(id), isDirect(parent, of: dataset) else { return nil }
        return sizes.recorded(id, origin: dataset.origin)
    }

    /// As `changeSource`. The size of a layer that was applied, or has children, is kept; not on zfs-fuse, where counting a
    /// layer changes the times of access in it.
    public func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        let dataset = try store.require(id, "measure the layer")
        let isKept =
            platform == .kernel && isDirect(parent, of: dataset) && references.count(mountpoint(id)) == 0
            && (sizes.isExpected(id) || store.hasChildren(id))
        var source = try changeSource(of: id, since: parent)
        // After mounting, which frees a log that writing left.
        if isKept { source.recording = ZFSSizeRecording(sizes, id, origin: dataset.origin) }
        return source
    }

    private func isDirect(_ parent: LayerID?, of dataset: ZFSDataset) -> Bool {
        guard let origin = dataset.origin else { return parent == nil }
        return parent != nil && store.names.parent(origin: origin) == parent
    }

    // MARK: applying

    /// The layer's tree itself, where whiteouts delete.
    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        let dataset = try store.require(id, "apply the layer")
        if let parent { _ = try store.require(parent, "apply onto the layer") }
        try sizes.forget(id)
        // Without times of access, which would be written after the layer was counted.
        let layer = try mount(id, options: MountOptions(readOnly: true))
        let path = layer.path
        let root = try attempt("open the layer", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory])
        }
        let log = configuration.log
        // A base layer of which nobody else makes use: what is unpacked is all that is counted.
        let isSole = parent == nil && isDirect(nil, of: dataset) && references.count(path) == 1
        let isEmpty = try StoreFiles.isEmpty(path)
        let outcome = try ZFSApply(id, layer, sizes, isBare: isSole && isEmpty) { log(.warning, $0) }
        return ApplyTarget(
            root: root, path: path, dialect: .tree, lowers: nil, sizeRule: .headerSum, outcome: outcome)
    }

    public func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try LayerFiles(mounted: mount(id, options: MountOptions(readOnly: true)))
    }

    // MARK: facts

    /// Asked anew each time (K10).
    public func status() -> [StatusRow] {
        let root = store.names.root
        let pool = root.prefix { $0 != "/" }
        var (poolName, health) = (String(pool), "not available")
        do throws(ZFSFailure) {
            // Without -p, which zfs-fuse's zpool does not have.
            let text = String(
                decoding: try store.tool.zpool(["list", "-H", "-o", "name,health", String(pool)]), as: UTF8.self)
            let fields = text.split(whereSeparator: \.isNewline).first?.split(separator: "\t") ?? []
            if fields.count == 2 { (poolName, health) = (String(fields[0]), String(fields[1])) }
        } catch {
            poolName = "error while getting pool information \(error.text)"
        }
        let text = try? store.tool.zfs(ZFSDataset.query(recursive: false) + [root])
        let dataset = text.flatMap { try? ZFSDataset.parse($0) }?.first
        func number(_ value: UInt64?) -> String { value.map { String($0) } ?? "not available" }
        return [
            StatusRow("Zpool", poolName), StatusRow("Zpool Health", health), StatusRow("Parent Dataset", root),
            StatusRow("Space Used By Parent", number(dataset?.used)),
            StatusRow("Space Available", number(dataset?.available)),
            StatusRow("Parent Quota", dataset?.quota == 0 ? "no" : number(dataset?.quota)),
            StatusRow("Compression", dataset?.compression ?? "not available"),
        ]
    }

    public func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        let dataset = try store.require(id, "describe the layer")
        return [MetadataItem("Dataset", PathBytes(dataset.name)), MetadataItem("Mountpoint", mountpoint(id))]
    }

    /// Of the whole tree, mounted: an empty mount point must not count as an empty layer.
    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        let layer = try mount(id, options: MountOptions(readOnly: true))
        var trees = newSource(layer.path)
        trees.ignoredAtTop = [Self.controlDirectory]
        let size = try DiffEngine.size(trees)
        try layer.release()
        return DiskUsage(byteCount: size.bytes, inodeCount: size.inodes)
    }
}
