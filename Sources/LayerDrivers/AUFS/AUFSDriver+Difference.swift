import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

extension AUFSDriver {
    public func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        guard try isDirectParent(parent, of: id) else { return try comparedTrees(id, parent) }
        var trees = newSource(store.contents(id))
        trees.dialect = .aufs
        trees.lowers = try store.lowerPaths(of: id)
        return ChangeSource(native: trees)
    }

    /// Whether the layer's branch is the difference to `parent`; both must exist.
    private func isDirectParent(_ parent: LayerID?, of id: LayerID) throws(LayerError) -> Bool {
        try store.require(id, "compare the layer")
        if let parent { try store.require(parent, "compare with the layer") }
        return try store.ancestors(of: id).first == parent
    }

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        if let refusal { throw refusal }
        guard try isDirectParent(parent, of: id), try system.state(of: store.mountPoint(id)) == .notMounted else {
            return try mountedTarget(id)
        }
        let contents = store.contents(id)
        let lowers = try store.lowerPaths(of: id)
        guard try StoreFiles.isEmpty(contents) else {
            let root = try attempt("open", contents) { () throws(SystemCallError) in
                try contents.open([.readOnly, .directory])
            }
            return ApplyTarget(
                root: root, path: contents, dialect: .aufs, lowers: lowers, sizeRule: .walked, outcome: InPlaceApply())
        }
        let locks = locks
        let swap = try ContentSwap(
            contents: contents, locked: { (body) throws(LayerError) in try locks.withLock(id, body) },
            record: { (_) throws(LayerError) in })
        let root: OwnedDescriptor
        do throws(LayerError) {
            root = try swap.open()
        } catch {
            swap.abandon()
            throw error
        }
        return ApplyTarget(
            root: root, path: contents, dialect: .aufs, lowers: lowers, sizeRule: .unpacked, outcome: swap)
    }

    public func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try store.require(id, "open the files of the layer")
        return try LayerFiles(in: [store.contents(id)] + store.lowerPaths(of: id), dialect: .aufs)
    }

    // MARK: facts

    public func status() -> [StatusRow] {
        [
            StatusRow("Root Dir", store.home.description),
            StatusRow("Backing Filesystem", (try? FileSystemKind.of(store.home).name) ?? "<unknown>"),
            StatusRow("Dirs", ((try? store.layers().count) ?? 0).description),
            StatusRow("Dirperm1 Supported", (usesDirperm1 ?? false).description),
        ]
    }

    public func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        let ancestors = try store.ancestors(of: id)
        let names = ancestors.map(\.component.bytes).joined(separator: [UInt8(ascii: ":")])
        return [
            MetadataItem("DiffDir", store.contents(id)), MetadataItem("LayersFile", store.list(id)),
            MetadataItem("MountDir", store.mountPoint(id)), MetadataItem("Parents", PathBytes(Array(names))),
        ]
    }

    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try store.require(id, "measure the layer")
        let size = try DiffEngine.size(newSource(store.contents(id)))
        return DiskUsage(byteCount: size.bytes, inodeCount: size.inodes)
    }
}
