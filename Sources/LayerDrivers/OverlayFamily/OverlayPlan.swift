import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// What overlay2 and fuse-overlayfs tell others about a layer: how it is mounted, where it is unpacked.
enum OverlayPlan {
    /// The mount of a layer with parents. The layers below are named by their short links, which many fit the page of
    /// options; a committed layer is itself the uppermost of the lowers, so that nothing can be written to it.
    static func mount(
        _ store: OverlayStore, _ id: LayerID, _ chain: LowerChain, readOnly: Bool, options: OverlayMountOptions,
        label: String
    ) -> OverlayMount {
        var lowers = chain.elements.map { store.path(of: $0.link) }
        // A link in another store has no short form.
        var relative = chain.elements.map { element in
            let path = store.path(of: element.link)
            return path == store.links.appending(element.link.name) ? PathBytes("l").appending(element.link.name) : path
        }
        guard !readOnly else {
            lowers.insert(store.contents(id), at: 0)
            relative.insert(store.foreign(id) == nil ? id.component.appending("diff") : store.contents(id), at: 0)
            return OverlayMount(lowers: lowers, relativeLowers: relative, options: options, label: label)
        }
        return OverlayMount(
            lowers: lowers, relativeLowers: relative, upper: store.contents(id), work: store.work(id), options: options,
            label: label)
    }

    /// Where a layer is unpacked: beside its contents while these are empty, else into them.
    static func target(
        _ store: OverlayStore, _ id: LayerID, _ locks: LayerLocks<LayerID>, dialect: WhiteoutDialect
    ) throws(LayerError) -> ApplyTarget {
        guard store.foreign(id) == nil else {
            throw LayerError(
                .notPermitted, "apply to the layer", path: id.component,
                cause: .reason("it lies in an additional store, which is read-only"))
        }
        let contents = store.contents(id)
        let lowers = try store.lowerPaths(of: id)
        let record = store.record(of: id)
        guard try StoreFiles.isEmpty(contents) else {
            try record.forget()
            return try ApplyTarget.into(contents, dialect: dialect, lowers: lowers)
        }
        return try ApplyTarget.beside(
            contents, dialect: dialect, lowers: lowers, sizeRule: .unpacked,
            locked: { (body) throws(LayerError) in
                try locks.withLock(id) { () throws(LayerError) in
                    // Who mounted it since would go on writing into the directory that is swapped out.
                    guard try MountTable.state(of: store.merged(id)) != .mounted else {
                        throw LayerError(
                            .inUse, "apply the layer", path: id.component, cause: .reason("it was mounted meanwhile"))
                    }
                    try body()
                }
            },
            record: { (size) throws(LayerError) in try record.store(size) })
    }

    /// The directories of a layer, as `docker inspect` shows them (drivers.md 6.8).
    static func metadata(_ store: OverlayStore, _ id: LayerID) throws(LayerError) -> [MetadataItem] {
        var items: [MetadataItem] = []
        let lowers = try store.lowerPaths(of: id)
        if !lowers.isEmpty {
            items.append(
                MetadataItem("LowerDir", PathBytes(Array(lowers.map(\.bytes).joined(separator: [UInt8(ascii: ":")])))))
        }
        items.append(MetadataItem("MergedDir", store.merged(id)))
        items.append(MetadataItem("UpperDir", store.contents(id)))
        items.append(MetadataItem("WorkDir", store.work(id)))
        return items
    }
}
