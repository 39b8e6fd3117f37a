import LayerModel
import LinuxIO

/// The layout of `OverlayView`, changed: how layers are made and taken out.
struct OverlayStore: MergedStore {
    /// In what the two drivers differ.
    struct Layout: Sendable {
        var driver: DriverName
        /// Owner of the layer's directory.
        var layerOwner: Owner
        /// Owner and mode of the overlay's work directory.
        var workOwner: Owner
        var workMode: UInt32
        /// Owner of `diff`.
        var contentOwner: Owner
    }

    /// The most lower layers a layer may have.
    static let depthLimit = 128

    let view: OverlayView
    let layout: Layout
    /// How layers are packed; nil where they are not.
    let packing: PackSettings?
    let work: WorkArea
    let writer: StoreWriter
    let unfinished: UnfinishedLayers
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(
        _ view: OverlayView, _ layout: Layout, _ configuration: DriverConfiguration, _ packing: PackSettings? = nil
    ) {
        self.view = view
        self.packing = packing
        self.layout = layout
        writer = StoreWriter()
        work = WorkArea(home: view.home, view.parts, writer)
        unfinished = UnfinishedLayers(writer)
        log = configuration.log
    }

    /// Throws `notPermitted` for a layer that only an additional store has: neither it nor its mounts are ours.
    func refuseForeign(_ id: LayerID, _ operation: String) throws(LayerError) {
        guard view.foreign(id) != nil else { return }
        throw LayerError(
            .notPermitted, operation, path: id.component,
            cause: .reason("it lies in an additional store, which is read-only"))
    }

    /// Makes the links in `l/` anew by which layers of the chain are mounted, where they are missing or lead elsewhere.
    func restoreLinks(_ chain: LowerChain) throws(LayerError) {
        for lost in chain.elements where lost.isLost {
            log(.warning, "made the link l/\(lost.link.name) to \(lost.id) anew: it was missing or led elsewhere")
            try setLink(lost.link, to: lost.id)
        }
    }

    /// The layer's own short link, made anew where it is missing or leads to another layer.
    func ownLink(_ id: LayerID) throws(LayerError) -> ShortLink {
        guard let link = try view.link(of: id) else { throw DriverErrors.unknownLayer("mount the layer", id) }
        if try view.layer(of: link) != id { try setLink(link, to: id) }
        return link
    }

    /// Lets the name in this store's `l/` lead to the layer, whatever it led to.
    func setLink(_ link: ShortLink, to id: LayerID) throws(LayerError) {
        try writer.unlink(view.links.appending(link.name))
        try writer.makeLink(view.links.appending(link.name), to: ShortLink.target(id))
    }

    /// Takes the layer out of the store in one step. The caller has unmounted it.
    func take(_ layer: ProvenLayer, _ lock: FileLock) throws(LayerError) -> WorkDirectory {
        let link = try view.writtenLink(of: layer.id)
        let taken = try work.take(layer, lock)
        if let link {
            // Not when it leads to the layer that this one is a copy of.
            if try view.layer(of: link) == layer.id { try writer.unlink(view.path(of: link)) }
        } else {
            log(.warning, "refusing to remove empty link for layer \(layer.id)")
        }
        unfinished.forget(layer.id)
        return taken
    }
}
