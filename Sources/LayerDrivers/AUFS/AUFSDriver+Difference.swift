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

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        if let refusal { throw refusal }
        guard try isDirectParent(parent, of: id), try system.state(of: store.mountPoint(id)) == .notMounted else {
            return try mountedTarget(id)
        }
        let contents = store.contents(id)
        let lowers = try store.lowerPaths(of: id)
        guard try StoreFiles.isEmpty(contents) else {
            return try ApplyTarget.into(contents, dialect: .aufs, lowers: lowers)
        }
        return try ApplyTarget.beside(
            contents, dialect: .aufs, lowers: lowers, sizeRule: .unpacked,
            locked: { [locks] (body) throws(LayerError) in try locks.withLock(id, body) })
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
        return try walkedUsage(store.contents(id))
    }
}
