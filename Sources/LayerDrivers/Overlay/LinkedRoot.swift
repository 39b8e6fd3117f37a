import LayerModel
import LayerMounts
import LinuxIO

/// A parent's tree copied by hard links inside a layer that is there already, onto which a layer is unpacked before it becomes
/// that layer's tree.
///
/// Unpacking removes a name before it writes it anew, and gives a file an inode of its own before a link's header changes it
/// (`mayShareFiles`), so the inodes shared with the parent never change.
final class LinkedRoot: ApplyOutcome {
    private let layers: MergedLayers<OverlayRootStore>
    private let id: LayerID
    private let holder: WorkDirectory
    private var store: OverlayRootStore { layers.store }
    private var view: OverlayRootView { layers.store.view }

    /// Makes the copy. The caller holds the layer's lock.
    init(_ layers: MergedLayers<OverlayRootStore>, _ id: LayerID, from parent: PathBytes) throws(LayerError) {
        let building = layers.store.view.layer(id).appending(ContentSwap.prefix + StoreFiles.randomText())
        holder = try WorkDirectory(making: building, mode: 0o700, owner: .current, layers.store.writer)
        self.layers = layers
        self.id = id
        do throws(LayerError) {
            try layers.store.writer.copyContents(
                parent, to: building, linking: true, workers: layers.store.workers)
        } catch {
            try? holder.remove()
            throw error
        }
    }

    var building: PathBytes { holder.path }

    func open() throws(LayerError) -> OwnedDescriptor {
        try attempt("open", building) { () throws(SystemCallError) in try building.open([.readOnly, .directory]) }
    }

    func keep(_ size: RecordedSize) throws(LayerError) {
        try layers.guarded.withLock(id) { (_) throws(LayerError) in
            try layers.requireUnmounted(id)
            guard try !view.isImage(id), try StoreFiles.isEmpty(view.upper(id)) else {
                throw LayerError(
                    .inUse, "apply the layer", path: id.component,
                    cause: .reason("something else was written into it meanwhile"))
            }
            try store.install(building, as: id)
            // Until the mark is gone the layer is swept with its maker: nothing may be reported as done.
            try layers.finish(id)
        }
        try layers.makeDurable(view.layer(id))
    }

    func abandon() { try? holder.remove() }
}
