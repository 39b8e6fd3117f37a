import LayerModel
import LayerMounts
import LinuxIO

/// The layout of `OverlayRootView`, changed: how layers are made and taken out.
struct OverlayRootStore: MergedStore {
    let view: OverlayRootView
    let work: WorkArea
    let writer: StoreWriter
    let unfinished: UnfinishedLayers
    let directoryOwner: Owner
    let contentOwner: Owner
    let workers: Int?
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(_ view: OverlayRootView, _ configuration: DriverConfiguration) {
        self.view = view
        writer = StoreWriter()
        work = WorkArea(home: view.home, OverlayRootView.parts, writer)
        unfinished = UnfinishedLayers(writer)
        directoryOwner = configuration.directoryOwner
        contentOwner = configuration.rootOwner
        workers = configuration.workers
        log = configuration.log
    }

    /// Takes the layer out of the store in one step. The caller has unmounted it.
    func take(_ layer: ProvenLayer, _ lock: FileLock) throws(LayerError) -> WorkDirectory {
        let taken = try work.take(layer, lock)
        unfinished.forget(layer.id)
        return taken
    }

    // MARK: making

    /// A layer that is built aside.
    struct New: Sendable {
        let id: LayerID
        let parent: LayerID?
        let holder: WorkDirectory
    }

    /// Builds an empty layer: a base layer's tree, or an upper directory over the image below.
    func build(_ id: LayerID, parent: LayerID?, _ options: CreateOptions) throws(LayerError) -> New {
        try begin(id, parent, options) { (path) throws(LayerError) in
            guard let parent else {
                try writer.makeDirectory(path.appending("root"), mode: 0o755, owner: contentOwner)
                return
            }
            let stack = try view.stack(parent)
            guard let template = try StoreFiles.metadata(stack[0]) else {
                throw DriverErrors.unknownLayer("create a layer on the parent", parent)
            }
            var lower = parent
            if stack.count > 1, let below = try view.lower(of: parent) { lower = below }
            let upper = path.appending("upper")
            try writer.makeDirectory(upper, mode: template.mode & 0o7777, owner: contentOwner)
            try writer.makeDirectory(path.appending("work"), mode: 0o700, owner: contentOwner)
            try writer.write(lower.component.bytes, to: path.appending("lower-id"), mode: 0o600, durable: true)
            // A container's layer on another: it takes over what that one changed, marks included.
            if stack.count > 1 {
                try writer.copyContents(stack[0], to: upper, linking: false, workers: workers)
            }
        }
    }

    /// Builds an image layer's tree, the parent's by hard links, to be unpacked onto. Without a whole tree below there is none.
    func buildTree(_ id: LayerID, parent: LayerID?, _ options: CreateOptions) throws(LayerError) -> New {
        try begin(id, parent, options) { (path) throws(LayerError) in
            let root = path.appending("root")
            try writer.makeDirectory(root, mode: 0o755, owner: contentOwner)
            guard let parent else { return }
            try writer.copyContents(view.root(parent), to: root, linking: true, workers: workers)
        }
    }

    private func begin(
        _ id: LayerID, _ parent: LayerID?, _ options: CreateOptions,
        _ fill: (PathBytes) throws(LayerError) -> Void
    ) throws(LayerError) -> New {
        try view.validate(id)
        _ = try leftover(id)
        guard parent != id else { throw DriverErrors.ownParent(id) }
        if let parent { try view.require(parent, "create a layer on the parent") }
        let holder = try work.make(mode: 0o710, owner: directoryOwner)
        do throws(LayerError) {
            try fill(holder.path)
            try writer.write(
                parent?.component.bytes ?? [], to: holder.path.appending(OverlayRootView.parentFile), mode: 0o600,
                durable: parent != nil)
            if options.isUnfinished {
                let mark = holder.path.appending(UnfinishedLayers.fileName)
                try unfinished.write(mark)
                try unfinished.adopt(id, mark)
            }
        } catch {
            unfinished.forget(id)
            try? holder.remove()
            throw error
        }
        return New(id: id, parent: parent, holder: holder)
    }

    /// Gives a built layer its name. The caller holds the locks of the layer and its parent; `own` is that of what lies under
    /// the id.
    func publish(_ new: New, _ own: FileLock?) throws(LayerError) {
        if let parent = new.parent {
            try view.require(parent, "create a layer on the parent")
            if view.seesUnfinished { try unfinished.finish(parent, view.unfinishedMark(parent)) }
        }
        var removed: WorkDirectory?
        defer { discard(removed) }
        if let leftover = try leftover(new.id), let own { removed = try take(leftover, own) }
        do throws(LayerError) {
            try new.holder.publish(to: view.layer(new.id))
        } catch {
            throw error.code == .alreadyExists ? DriverErrors.exists(new.id) : error
        }
    }

    // MARK: applying to a layer that is there

    /// Makes the tree at `building` the layer's, which is an image layer from then on. The caller holds the layer's lock.
    ///
    /// From the rename on the layer is applied: what cannot be removed then is no error, `check` sees to it.
    func install(_ building: PathBytes, as id: LayerID) throws(LayerError) {
        try writer.move(building, to: view.root(id))
        do throws(LayerError) {
            try dropUpper(of: id)
        } catch {
            log(.warning, "left beside the tree of \(id): \(error)")
        }
    }

    /// Removes what an image layer no longer needs; it is unmounted. What holds something is nobody's leftover: it fails there.
    func dropUpper(of id: LayerID) throws(LayerError) {
        for name in ["upper", "merged"] { try writer.removeDirectory(view.layer(id).appending(name)) }
        try TreeRemoval.remove(view.work(id))
        try writer.unlink(view.layer(id).appending("lower-id"))
    }
}
