import LayerModel
import LayerMounts
import LinuxIO

/// A parent's tree copied by hard links, on which a layer is unpacked before it becomes that layer's tree (drivers.md 5.6).
///
/// Unpacking removes a name before it writes it anew, so the inodes shared with the parent never change.
final class LinkedRoot: ApplyOutcome {
    private let store: OverlayRootStore
    private let id: LayerID
    private let locks: LayerLocks<LayerID>
    /// The copy, in the layer's directory under the name that Docker gives it too.
    let building: PathBytes

    init(_ store: OverlayRootStore, _ id: LayerID, _ locks: LayerLocks<LayerID>) {
        self.store = store
        self.id = id
        self.locks = locks
        building = store.layer(id).appending("tmproot-\(StoreFiles.randomText())")
    }

    func build(from parent: PathBytes) throws(LayerError) {
        try StoreFiles.makeDirectory(building, mode: 0o700, owner: .current)
        try StoreCopy.copyContents(parent, to: building, linking: true, workers: store.workers)
    }

    func open() throws(LayerError) -> OwnedDescriptor {
        try attempt("open", building) { () throws(SystemCallError) in try building.open([.readOnly, .directory]) }
    }

    func keep(_ size: RecordedSize) throws(LayerError) {
        try locks.withLock(id) { () throws(LayerError) in
            guard try MountTable.state(of: store.merged(id)) == .notMounted,
                try StoreFiles.isEmpty(store.upper(id))
            else {
                throw LayerError(
                    .inUse, "apply the layer", path: id.component,
                    cause: .reason("something else was written into it meanwhile"))
            }
            try store.install(building, as: id)
        }
    }

    func abandon() { try? Trash.remove(building) }
}
