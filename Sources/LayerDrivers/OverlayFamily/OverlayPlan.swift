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
    ) -> OverlayMount {
        var lowers = chain.elements.map { view.path(of: $0.link) }
        // A link in another store has no short form.
        var relative = chain.elements.map { element in
            let path = view.path(of: element.link)
            return path == view.links.appending(element.link.name) ? PathBytes("l").appending(element.link.name) : path
        }
        guard !readOnly else {
            lowers.insert(view.contents(id), at: 0)
            relative.insert(view.foreign(id) == nil ? id.component.appending("diff") : view.contents(id), at: 0)
            return OverlayMount(lowers: lowers, relativeLowers: relative, options: options, label: label)
        }
        return OverlayMount(
            lowers: lowers, relativeLowers: relative, upper: view.contents(id), work: view.work(id), options: options,
            label: label)
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
        return items
    }
}
