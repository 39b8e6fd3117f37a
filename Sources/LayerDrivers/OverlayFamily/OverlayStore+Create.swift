import LayerModel
import LinuxIO

/// A layer that is built aside, and what must still be so when it gets its name.
struct NewOverlayLayer: Sendable {
    let id: LayerID
    let parent: LayerID?
    let link: ShortLink
    /// The links below, the parent's own first.
    let lowers: [ShortLink]
    let holder: WorkDirectory
}

/// Limits a new layer's directory, before anything is made inside.
typealias LayerLimit = @Sendable (PathBytes) throws(LayerError) -> Void

extension OverlayStore {
    /// Makes the empty layer `id` on `parent`. The caller holds the locks of both; `own` is that of what lies under the id.
    func create(
        _ id: LayerID, parent: LayerID?, _ options: CreateOptions, limit: LayerLimit?, own: FileLock?
    ) throws(LayerError) {
        let new = try build(id, parent: parent, options, limit: limit)
        do throws(LayerError) {
            try publish(new, own)
        } catch {
            abandon(id, new.holder)
            throw error
        }
    }

    /// Everything is built in a directory of the store's own and renamed to its place at the end, so a layer is never half
    /// there.
    func build(
        _ id: LayerID, parent: LayerID?, _ options: CreateOptions, limit: LayerLimit?
    ) throws(LayerError) -> NewOverlayLayer {
        try view.validate(id)
        _ = try leftover(id)
        let lowers = try lowersOfChild(of: parent, child: id)
        let holder = try stage(id, limit)
        do throws(LayerError) {
            let new = try place(id, on: parent, lowers, holder)
            let path = holder.path
            if options.isUnfinished {
                try unfinished.write(path.appending(UnfinishedLayers.fileName))
                try unfinished.adopt(id, path.appending(UnfinishedLayers.fileName))
            }
            return new
        } catch {
            unfinished.forget(id)
            try? holder.remove()
            throw error
        }
    }

    /// A directory for a layer's contents, wherever the layer will lie.
    func stage(_ id: LayerID, _ limit: LayerLimit? = nil) throws(LayerError) -> WorkDirectory {
        let holder = try work.make(mode: 0o710, owner: layout.layerOwner)
        do throws(LayerError) {
            try limit?(holder.path)
            try writer.makeDirectory(holder.path.appending("diff"), mode: 0o755, owner: layout.contentOwner)
            return holder
        } catch {
            try? holder.remove()
            throw error
        }
    }

    /// Gives a layer that is built aside its place on `parent`, or as a base layer.
    func place(
        _ id: LayerID, on parent: LayerID?, _ lowers: [ShortLink], _ holder: WorkDirectory
    ) throws(LayerError) -> NewOverlayLayer {
        let link = ShortLink.random()
        let path = holder.path
        // A packed base layer is mounted as others are.
        if !lowers.isEmpty || view.holdsPacked {
            try writer.makeDirectory(path.appending("work"), mode: layout.workMode, owner: layout.workOwner)
        }
        if !lowers.isEmpty {
            try writer.write(LowerChain.text(lowers), to: path.appending("lower"), mode: 0o644, durable: true)
        }
        try writer.write(link.name.bytes, to: path.appending("link"), mode: 0o644, durable: true)
        return NewOverlayLayer(id: id, parent: parent, link: link, lowers: lowers, holder: holder)
    }

    /// Gives a built layer its name. The caller holds the locks of the layer and its parent.
    ///
    /// Throws `alreadyExists` where the store has one by now; nothing is left of this one in the store then.
    func publish(_ new: NewOverlayLayer, _ own: FileLock?) throws(LayerError) {
        let (id, target) = (new.id, view.home.appending(new.id.component))
        var removed: WorkDirectory?
        defer { discard(removed) }
        if let leftover = try leftover(id), let own {
            log(.warning, "replacing the unfinished layer \(id)")
            removed = try take(leftover, own)
        }
        if let parent = new.parent {
            guard try view.link(of: parent) == new.lowers.first else {
                throw DriverErrors.unknownLayer("create a layer on the parent", parent)
            }
            try commit(parent)
        }
        // While this is held no check takes the new name in `l/` for one that leads nowhere.
        let links = try FileLock.take(view.links, .shared)
        defer { withExtendedLifetime(links) {} }
        let linkPath = view.links.appending(new.link.name)
        try writer.makeLink(linkPath, to: ShortLink.target(id))
        do throws(LayerError) {
            try new.holder.publish(to: target)
        } catch {
            try? writer.unlink(linkPath)
            throw error.code == .alreadyExists ? DriverErrors.exists(id) : error
        }
    }

    /// The lower links of a layer made on `parent`.
    func lowersOfChild(of parent: LayerID?, child: LayerID) throws(LayerError) -> [ShortLink] {
        guard let parent else { return [] }
        guard parent != child else { throw DriverErrors.ownParent(child) }
        guard try view.knows(parent), let link = try view.link(of: parent) else {
            throw DriverErrors.unknownLayer("create a layer on the parent", parent)
        }
        let lowers = [link] + (try view.lowerLinks(of: parent))
        guard lowers.count <= Self.depthLimit else {
            throw LayerError(
                .limitExceeded, "create the layer", path: child.component,
                cause: .reason("max depth exceeded: more than \(Self.depthLimit) layers below"),
                hint: "flatten the image: export a container of it and import that")
        }
        return lowers
    }

    /// Marks a layer that is about to get a child, which makes it what it is.
    private func commit(_ parent: LayerID) throws(LayerError) {
        let path = view.layer(parent).appending("committed")
        guard view.foreign(parent) == nil else { return }
        if view.seesUnfinished { try unfinished.finish(parent, view.unfinishedMark(parent)) }
        guard try StoreFiles.metadata(path) == nil else { return }
        try view.record(of: parent).keepAcross(writer) { () throws(LayerError) in
            try writer.write([], to: path, mode: 0o600)
        }
    }
}
