import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// What overlay2, overlay and fuse-overlayfs do alike: they differ in what a mount is, and in what a layer's directory holds.
struct MergedLayers<Store: MergedStore>: Sendable {
    let store: Store
    let mounts: CountedMounts
    let guarded: LayerGuard
    /// Whether names must be on disk before a layer is told to be there.
    private let isDurable: Bool
    private var view: Store.View { store.view }

    /// Opens a store for writing: takes away what ended processes left half made.
    init(_ store: Store, _ configuration: DriverConfiguration) throws(LayerError) {
        self.store = store
        let view = store.view
        mounts = CountedMounts(configuration, store.writer) { view.owns($0) }
        guarded = LayerGuard { (id) throws(LayerError) in try view.lockedPlace(id) }
        isDurable = configuration.sync == .fileSystem
        store.work.sweep(configuration.log)
        guard configuration.seesUnfinished else { return }
        try store.unfinished.takeOver(StoreFiles.names(in: view.home), in: view, configuration) {
            (id) throws(LayerError) in try remove(id)
        }
    }

    /// Unmounts and removes a layer. `beforehand` runs in between, with the layer's directory.
    func remove(_ id: LayerID, _ beforehand: (PathBytes) -> Void = { _ in }) throws(LayerError) {
        try view.validate(id)
        let path = view.home.appending(id.component)
        // Before anything is locked: what is no layer is nobody's business here.
        guard try view.form(of: id).proven("remove the layer", id, path) != nil else {
            return mounts.log(.debug, "no layer \(id) to remove")
        }
        let removed = try guarded.withLock(id) { (own) throws(LayerError) -> WorkDirectory? in
            guard let own, let layer = try view.form(of: id).proven("remove the layer", id, path) else { return nil }
            try refuseOthers(id)
            try mounts.clear(layer.path, view.merged(id))
            beforehand(layer.path)
            return try store.take(layer, own)
        }
        store.discard(removed)
    }

    /// Throws `invalidArgument` for what only looks like a layer: it can be read, and is never written to.
    func requireProven(_ id: LayerID, _ operation: String) throws(LayerError) {
        _ = try view.form(of: id).proven(operation, id, view.layer(id))
    }

    /// Throws `inUse` for a layer that another process is making.
    private func refuseOthers(_ id: LayerID) throws(LayerError) {
        let mark = view.unfinishedMark(id)
        if view.seesUnfinished { try store.unfinished.adopt(id, mark) }
        if try store.unfinished.isOthers(id, mark) { throw DriverErrors.beingMade(id) }
    }

    /// Takes a layer out again that was published from `holder`, and no other.
    func takeBack(_ id: LayerID, _ holder: WorkDirectory) throws(LayerError) {
        // Its lock is held since it was made, so it is the same layer still.
        guard try holder.lock.isAt(view.layer(id)), case .ours(let layer) = try view.form(of: id) else { return }
        store.discard(try store.take(layer, holder.lock))
    }

    /// Takes the layer out and apart, if it is what it was when it was looked at.
    func mend(_ id: LayerID, unless isWhole: () throws(LayerError) -> Bool) throws(LayerError) {
        let removed = try guarded.withLock(id) { (own) throws(LayerError) -> WorkDirectory? in
            guard let own, case .ours(let layer) = try view.form(of: id), try !isWhole() else { return nil }
            try mounts.clear(layer.path, view.merged(id))
            return try store.take(layer, own)
        }
        try removed?.remove()
    }

    /// Removes a directory in a layer in which an ended process worked. The caller holds the layer's lock.
    func clear(_ path: PathBytes) throws(LayerError) {
        try WorkDirectory(leftAt: path, store.writer)?.remove(tries: 1)
    }

    func put(
        _ id: LayerID, _ unmount: (PathBytes) throws(LayerError) -> Void = CountedMounts.detach
    ) throws(LayerError) {
        guard !Store.View.isReserved(id.component) else { return }
        try guarded.withLock(id) { (_) throws(LayerError) in try mounts.release(view.merged(id), unmount) }
    }

    func finish(_ id: LayerID) throws(LayerError) {
        guard view.seesUnfinished else { return }
        try store.unfinished.finish(id, view.unfinishedMark(id))
    }

    /// Unmounts every layer of the store, and nothing else: what others mounted stays, at the home directory (K7) and in it.
    func cleanup() throws(LayerError) {
        var first: LayerError?
        for point in try OverlayHome.mountPoints(view) {
            do throws(LayerError) {
                try mounts.end(point)
            } catch {
                if first == nil { first = error }
            }
        }
        if let first { throw first }
    }

    /// Throws `inUse` where the layer has been mounted since its contents were begun: who did so would go on writing into what
    /// is swapped out.
    func requireUnmounted(_ id: LayerID) throws(LayerError) {
        guard try MountTable.state(of: view.merged(id)) != .mounted else {
            throw LayerError(
                .inUse, "apply the layer", path: id.component, cause: .reason("it was mounted meanwhile"))
        }
    }

    /// Puts the names of a layer that is complete on disk, where that was asked for.
    func makeDurable(_ directories: PathBytes...) throws(LayerError) {
        guard isDurable else { return }
        for directory in directories { try store.writer.sync(directory) }
    }
}

extension MergedLayers<OverlayStore> {
    /// Opens the store that overlay2 and fuse-overlayfs share, made where it is missing.
    init(
        _ configuration: DriverConfiguration, _ layout: OverlayStore.Layout, _ view: OverlayView,
        packing: PackSettings? = nil
    ) throws(LayerError) {
        let store = OverlayStore(view, layout, configuration, packing)
        try OverlayHome.make(configuration, holdsPacked: view.holdsPacked, store.writer)
        try self.init(store, configuration)
    }

    func create(
        _ id: LayerID, parent: LayerID?, _ options: CreateOptions, limit: LayerLimit? = nil
    ) throws(LayerError) {
        try view.validate(id)
        try guarded.withLock(id, sharing: parent) { (own) throws(LayerError) in
            try store.create(id, parent: parent, options, limit: limit, own: own)
        }
    }

    /// Where a layer that is not there yet is unpacked.
    func newLayerTarget(
        _ id: LayerID, parent: LayerID?, _ options: CreateOptions, limit: LayerLimit? = nil, dialect: WhiteoutDialect
    ) throws(LayerError) -> ApplyTarget {
        if let parent { try view.require(parent, "create a layer on the parent") }
        let lowers = if let parent { try view.stack(parent) } else { LayerStack() }
        let new = try store.build(id, parent: parent, options, limit: limit)
        let layers = self
        let outcome = NewLayer(
            in: new.holder,
            NewLayer.Steps(
                publish: { (size) throws(LayerError) in
                    try lowers.check()
                    try layers.publish(new, size)
                },
                takeBack: { () throws(LayerError) in try layers.takeBack(id, new.holder) }))
        let contents = new.holder.path.appending("diff")
        return try ApplyTarget(
            outcome,
            { () throws(LayerError) in
                try attempt("open", contents) { () throws(SystemCallError) in
                    try contents.open([.readOnly, .directory])
                }
            }, at: contents, dialect, lowers.paths, .unpacked
        ).keeping(
            lowers.looks,
            packing: store.packing.map {
                PackPlan(id, hasParent: parent != nil, at: new.holder.path.appending(OverlayView.packedName), $0)
            })
    }

    /// Gives a new layer its name, under the locks of it and its parent.
    fileprivate func publish(_ new: NewOverlayLayer, _ size: RecordedSize) throws(LayerError) {
        try guarded.withLock(new.id, sharing: new.parent) { (own) throws(LayerError) in
            try store.publish(new, own)
            if (try? view.isPacked(new.id)) == false { try? view.record(of: new.id).store(size, store.writer) }
        }
        try makeDurable(view.home, view.links)
    }

    /// Where a layer is unpacked whose parent is not there yet.
    func stagedTarget(_ id: LayerID, dialect: WhiteoutDialect) throws(LayerError) -> StagedTarget {
        try view.validate(id)
        _ = try store.leftover(id)
        let holder = try store.stage(id)
        let contents = holder.path.appending("diff")
        do throws(LayerError) {
            let root = try attempt("open", contents) { () throws(SystemCallError) in
                try contents.open([.readOnly, .directory])
            }
            return StagedTarget(root: root, dialect: dialect, outcome: StagedOverlayLayer(id, holder, self))
        } catch {
            try? holder.remove()
            throw error
        }
    }

    /// The layer's tree: its own directory where it has no parent, else what `mount` shows at the mount point.
    func get(
        _ id: LayerID, _ options: MountOptions,
        _ mount: (_ merged: PathBytes, _ below: LowerChain, _ readOnly: Bool) throws(LayerError) -> Void
    ) throws(LayerError) -> PathBytes {
        try view.require(id, "mount the layer")
        return try guarded.withLock(id) { (_) throws(LayerError) in
            try view.require(id, "mount the layer")
            if !options.isForFilling { try finish(id) }
            let access = options.access
            let chain = try view.chain(of: id)
            let isCommitted = try view.isCommitted(id)
            // Whoever may write into it may do so within one tick of the clock, which the record does not see.
            if !isCommitted, access != .readOnly { try view.record(of: id).forget(store.writer) }
            // A base layer is its own tree.
            let isPacked = try view.isPacked(id)
            guard isPacked || !chain.elements.isEmpty else {
                try access.requireUnprotected(id)
                return view.contents(id)
            }
            let merged = view.merged(id)
            // A helper that died left a mount at which every look fails: that is replaced too (K11).
            try mounts.acquire(merged, access) { () throws(LayerError) in
                try store.restoreLinks(chain)
                try mount(merged, chain, isCommitted)
            }
            return merged
        }
    }

    /// Where the layer is unpacked, if that need not be its mounted tree: `parent` is its own, and nobody has it mounted.
    func applyTarget(
        for id: LayerID, onto parent: LayerID?, dialect: WhiteoutDialect
    ) throws(LayerError) -> ApplyTarget? {
        try view.require(id, "apply the layer")
        if let parent { try view.require(parent, "apply the layer onto") }
        guard try view.parent(of: id) == parent, try MountTable.state(of: view.merged(id)) != .mounted else {
            return nil
        }
        try store.refuseForeign(id, "apply to the layer")
        let (contents, record) = (view.contents(id), view.record(of: id))
        let lowers = try view.stackBelowContents(of: id)
        let hasParent = parent != nil
        let (store, guarded, layers) = (store, guarded, self)
        return try guarded.withLock(id) { (_) throws(LayerError) in
            if view.seesUnfinished { try store.unfinished.beginFilling(id, view.unfinishedMark(id)) }
            guard try StoreFiles.isEmpty(contents), try !view.isPacked(id) else {
                return try store.writer.target(
                    into: contents, dialect: dialect, lowers: lowers.paths,
                    begin: { () throws(LayerError) in try record.forget(store.writer) },
                    finish: { () throws(LayerError) in try layers.finish(id) }
                ).keeping(lowers.looks)
            }
            let steps = ContentSwap.Steps(
                locked: { (swap) throws(LayerError) in
                    try guarded.withLock(id) { (_) throws(LayerError) in
                        try layers.requireUnmounted(id)
                        try lowers.check()
                        try swap()
                        // Until the mark is gone the layer is swept with its maker: nothing may be reported as done.
                        try layers.finish(id)
                    }
                    try layers.makeDurable(store.view.layer(id))
                },
                finished: { size in
                    // A size that cannot be kept is counted when it is asked for.
                    try? record.store(size, store.writer)
                })
            let packing = store.packing.map {
                PackPlan(id, hasParent: hasParent, at: ContentSwap.place(beside: contents), $0)
            }
            return try store.writer.target(
                beside: contents, dialect: dialect, lowers: lowers.paths, sizeRule: .unpacked, steps
            ).keeping(lowers.looks, packing: packing)
        }
    }

    /// Keeps a size where the layer can no longer change.
    func record(_ size: RecordedSize, of id: LayerID) {
        guard view.foreign(id) == nil, (try? view.isCommitted(id)) == true, (try? view.isPacked(id)) == false else {
            return
        }
        try? view.record(of: id).store(size, store.writer)
    }

    func repair() throws(LayerError) -> [Finding] {
        var check = OverlayCheck(view, self)
        return try check.run()
    }
}

/// A layer of the overlay family that is unpacked before its parent is there.
private final class StagedOverlayLayer: StagedOutcome {
    private let id: LayerID
    private let holder: WorkDirectory
    private let layers: MergedLayers<OverlayStore>
    private let placed = Monitor<NewOverlayLayer?>(nil)

    init(_ id: LayerID, _ holder: WorkDirectory, _ layers: MergedLayers<OverlayStore>) {
        self.id = id
        self.holder = holder
        self.layers = layers
    }

    func place(on parent: LayerID) throws(LayerError) -> LayerStack {
        try layers.store.view.require(parent, "create a layer on the parent")
        let store = layers.store
        let new = try store.place(id, on: parent, try store.lowersOfChild(of: parent, child: id), holder)
        placed.change { $0 = new }
        return try store.view.stack(parent)
    }

    func keep(_ size: RecordedSize) throws(LayerError) {
        guard let new = placed.change({ $0 }) else { preconditionFailure("a layer is placed before it is kept") }
        try layers.publish(new, size)
    }

    func takeBack() throws(LayerError) { try layers.takeBack(id, holder) }
    func abandon() { try? holder.remove() }
}
