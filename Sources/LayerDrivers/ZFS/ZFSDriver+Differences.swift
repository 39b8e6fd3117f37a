import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

extension ZFSDriver {
    // MARK: differences

    /// Both trees, mounted. Where `zfs diff` can tell what may differ, only that is looked at.
    public func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        let dataset = try store.view.require(id, "compare the layer")
        if let parent { _ = try store.view.require(parent, "compare with the layer") }
        let layer = try look(id)
        var trees = looking.source(layer)
        guard let parent else { return ChangeSource(compared: trees, [layer]) }
        let below = try look(parent)
        trees.lowers = [below.path]
        switch platform {
        case .kernel:
            trees.changedInodes = looking.origin(dataset, parent).flatMap {
                candidates(dataset.name, $0, layer.point, below.point)
            }
            // They are few, so those that look alike are read, too.
            if trees.changedInodes != nil { trees.contents = .always }
        case .fuse: trees.contents = looking.fuseContents(dataset, parent)
        }
        return ChangeSource(compared: trees, [layer, below])
    }

    private func look(_ id: LayerID) throws(LayerError) -> ZFSMountedLook {
        try ZFSMountedLook(id, mounts, store.view)
    }

    /// Inodes that may differ between a clone and the parent that it was made from; nil: any.
    ///
    /// What was done to the parent since its snapshot was taken counts as well: reading its files is enough.
    private func candidates(
        _ dataset: String, _ origin: String, _ upper: PathBytes, _ lower: PathBytes
    ) -> Set<UInt64>? {
        guard let cut = origin.firstIndex(of: "@") else { return nil }
        let parent = String(origin[..<cut])
        do throws(ZFSFailure) {
            // What programs wrote through memory maps is not in the pool yet.
            for path in [upper, lower] { try? path.open([.readOnly, .directory]).syncFileSystem() }
            var search = try CandidateSearch(new: upper, old: lower)
            // `zfs diff` takes a snapshot of its own: whatever was written in the pool before can be asked for after it.
            try search.add(store.tool.zfs(["diff", "-FH", origin, dataset]), of: .new)
            let written = try store.view.query.get(["-Hp", "-o", "value", "written" + origin[cut...], parent])
            if written != Array("0\n".utf8) {
                try search.add(store.tool.zfs(["diff", "-FH", origin, parent]), of: .old)
            }
            return search.found
        } catch {
            configuration.log(.debug, "zfs: comparing everything: \(error.text)")
            return nil
        }
    }

    public func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try changeSource(of: id, since: parent)
    }

    /// As `changeSource`. The size of a layer that was applied, or has children, is kept; not on zfs-fuse, where counting a
    /// layer changes the times of access in it.
    public func recordingSizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        let dataset = try store.view.require(id, "measure the layer")
        let isKept =
            platform == .kernel && looking.isDirect(parent, of: dataset)
            && mounts.references.count(mountpoint(id)) == 0
            && (looking.sizes.isExpected(id) || store.view.hasChildren(id))
        var source = try changeSource(of: id, since: parent)
        // After mounting, which frees a log that writing left.
        if isKept { source.recording = ZFSSizeRecording(sizes, id, origin: dataset.origin) }
        return source
    }

    public func files(of id: LayerID) throws(LayerError) -> LayerFiles { try LayerFiles(look(id)) }

    /// Of the whole tree, mounted: an empty mount point must not count as an empty layer.
    public func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try looking.usage(look(id))
    }

    // MARK: applying

    /// The layer's tree itself, where whiteouts delete.
    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        let dataset = try store.view.require(id, "apply the layer")
        if let parent { _ = try store.view.require(parent, "apply onto the layer") }
        // Without times of access, which would be written after the layer was counted.
        let layer = try mount(id, options: MountOptions(access: .looking))
        let path = layer.path
        let root = try attempt("open the layer", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory])
        }
        // A base layer of which nobody else makes use: what is unpacked is all that is counted.
        let isSole = parent == nil && looking.isDirect(nil, of: dataset) && mounts.references.count(path) == 1
        let isEmpty = try StoreFiles.isEmpty(path)
        let outcome = try ZFSApply(id, layer, store, sizes, locks, isBare: isSole && isEmpty)
        // Not before it is known that nobody else is unpacking.
        do throws(LayerError) { try sizes.forget(id) } catch {
            outcome.abandon()
            throw error
        }
        return ApplyTarget(
            root: root, path: path, dialect: .tree, lowers: nil, sizeRule: .headerSum,
            isFilled: parent == nil && !isEmpty,
            outcome: outcome)
    }

    /// A dataset which is no layer before it is kept.
    public func newLayerTarget(
        _ id: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError) -> ApplyTarget {
        let quota = try checked(id, parent, options)
        let building = try locks.withLock(id, sharing: parent) { () throws(LayerError) in
            try beforeCreating(id, parent)
            if try store.view.look(store.names.dataset(id)) != nil { throw DriverErrors.exists(id) }
            return try store.build(id, parent: parent, quota: quota)
        }
        let point = mounts.graph.appending(PathBytes(Array((store.names.component(building) ?? "").utf8)))
        let outcome = ZFSNewLayer(self, id, parent: parent, building, at: point)
        do throws(LayerError) {
            var mountpoint = PathBytes("legacy")
            try mounts.mount(building, at: point, &mountpoint, MountOptions(access: .looking))
            let root = try attempt("open the layer", point) { () throws(SystemCallError) in
                try point.open([.readOnly, .directory])
            }
            return ApplyTarget(
                root: root, path: point, dialect: .tree, lowers: nil, sizeRule: .headerSum, outcome: outcome)
        } catch {
            outcome.abandon()
            throw error
        }
    }
}
