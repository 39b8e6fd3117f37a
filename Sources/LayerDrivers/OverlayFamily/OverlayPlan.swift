import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// What overlay2 and fuse-overlayfs tell others about a layer: how it is mounted, where it is unpacked.
enum OverlayPlan {
    /// The mount of a layer with parents. The layers below are named by their short links, which many fit the page of
    /// options; a committed layer is itself the uppermost of the lowers, so that nothing can be written to it.
    static func mount(
        _ view: OverlayView, _ id: LayerID, _ chain: LowerChain, readOnly: Bool, options: OverlayMountOptions,
        label: String
    ) throws(LayerError) -> OverlayMount {
        var plan = Lowers()
        if readOnly {
            plan.add(view.contents(id), view.foreign(id) == nil ? id.component.appending("diff") : view.contents(id))
        }
        if try view.isPacked(id) { try plan.add(packed: id, view) }
        for element in chain.elements {
            let path = view.path(of: element.link)
            let isPacked = try view.isPacked(element.id)
            let isBare = isPacked ? try StoreFiles.isEmpty(view.contents(element.id)) : false
            if !isBare {
                // A link in another store has no short form.
                let isOwn = path == view.links.appending(element.link.name)
                plan.add(path, isOwn ? PathBytes("l").appending(element.link.name) : path)
            }
            if isPacked { try plan.add(packed: element.id, view) }
        }
        var overlay = OverlayMount(
            lowers: plan.paths, relativeLowers: plan.relative, upper: readOnly ? nil : view.contents(id),
            work: readOnly ? nil : view.work(id), options: options, label: label)
        overlay.detached = plan.detached
        return overlay
    }

    /// The lower directories of a mount, as they are gathered.
    private struct Lowers {
        var paths: [PathBytes] = []
        var relative: [PathBytes] = []
        var detached: [Int: DetachedMount] = [:]

        mutating func add(_ path: PathBytes, _ short: PathBytes) {
            paths.append(path)
            relative.append(short)
        }

        mutating func add(packed id: LayerID, _ view: OverlayView) throws(LayerError) {
            detached[paths.count] = try PackedLook(view.packedPart(id), way: view.packedWay).mount
            add(view.packedPart(id), view.packedPart(id))
        }
    }

    /// The directories of a layer, as `docker inspect` shows them.
    static func metadata(_ view: OverlayView, _ id: LayerID) throws(LayerError) -> [MetadataItem] {
        var items: [MetadataItem] = []
        let lowers = try view.lowerPaths(of: id)
        if !lowers.isEmpty {
            items.append(
                MetadataItem("LowerDir", PathBytes(Array(lowers.map(\.bytes).joined(separator: [UInt8(ascii: ":")])))))
        }
        items.append(MetadataItem("MergedDir", view.merged(id)))
        items.append(MetadataItem("UpperDir", view.contents(id)))
        items.append(MetadataItem("WorkDir", view.work(id)))
        guard view.holdsPacked else { return items }
        let isPacked = try view.isPacked(id)
        items.append(MetadataItem("Form", PathBytes(isPacked ? "packed" : "directory")))
        if isPacked {
            items.append(MetadataItem("LayerTar", view.packedPart(id).appending(PackedNames.tar)))
            items.append(MetadataItem("LayerIndex", view.packedPart(id).appending(PackedNames.index)))
        }
        items.sort { $0.key < $1.key }
        return items
    }
}
