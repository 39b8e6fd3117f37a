import LayerModel
import LinuxIO

extension OverlayStore {
    /// Makes the layer `id` on `parent`.
    ///
    /// Everything is built in a directory of the store's own and renamed to its place at the end, so a layer is never half
    /// there. `limit` runs on the new layer directory before anything is made inside, for a quota that its contents inherit.
    func create(
        _ id: LayerID, parent: LayerID?, limit: (PathBytes) throws(LayerError) -> Void = { _ in }
    ) throws(LayerError) {
        try validate(id)
        if exists(id) { throw DriverErrors.exists(id) }
        let lowers = try lowersOfChild(of: parent, child: id)
        let link = ShortLink.random()
        let building = try trash.newPath()
        do throws(LayerError) {
            try build(building, link, lowers, limit)
            if let parent { try commit(parent) }
            try makeLink(link, for: id)
            // What a crashed daemon left under this id is no layer.
            if let leftover = try trash.take(layer(id)) {
                log(.warning, "replacing the unfinished layer \(id)")
                try Trash.remove(leftover)
            }
            try StoreFiles.move(building, to: layer(id))
        } catch {
            try? StoreFiles.unlink(path(of: link))
            try? Trash.remove(building)
            throw error.code == .alreadyExists ? DriverErrors.exists(id) : error
        }
    }

    private func build(
        _ building: PathBytes, _ link: ShortLink, _ lowers: [ShortLink], _ limit: (PathBytes) throws(LayerError) -> Void
    ) throws(LayerError) {
        try StoreFiles.makeDirectory(building, mode: 0o710, owner: layout.layerOwner)
        try limit(building)
        try StoreFiles.makeDirectory(building.appending("diff"), mode: 0o755, owner: layout.contentOwner)
        if !lowers.isEmpty {
            try StoreFiles.makeDirectory(building.appending("work"), mode: layout.workMode, owner: layout.workOwner)
            try StoreFiles.write(
                LowerChain.text(lowers), to: building.appending("lower"), mode: 0o644, durable: true)
        }
        try StoreFiles.write(link.name.bytes, to: building.appending("link"), mode: 0o644, durable: true)
    }

    /// The lower links of a layer made on `parent`.
    private func lowersOfChild(of parent: LayerID?, child: LayerID) throws(LayerError) -> [ShortLink] {
        guard let parent else { return [] }
        guard parent != child else {
            throw LayerError(
                .invalidArgument, "create the layer", path: child.component,
                cause: .reason("a layer cannot be its own parent"))
        }
        guard let link = try link(of: parent) else {
            throw DriverErrors.unknownLayer("create a layer on the parent", parent)
        }
        let lowers = [link] + (try lowerLinks(of: parent))
        guard lowers.count <= Self.depthLimit else {
            throw LayerError(
                .limitExceeded, "create the layer", path: child.component,
                cause: .reason("max depth exceeded: more than \(Self.depthLimit) layers below"),
                hint: "flatten the image: export a container of it and import that")
        }
        return lowers
    }

    /// Marks a layer that is about to get a child.
    private func commit(_ parent: LayerID) throws(LayerError) {
        let path = layer(parent).appending("committed")
        guard foreign(parent) == nil else { return }
        guard try StoreFiles.metadata(path) == nil else { return }
        try record(of: parent).keepAcross { () throws(LayerError) in try StoreFiles.write([], to: path, mode: 0o600) }
    }

    /// Throws `notPermitted` for a layer that only an additional store has: neither it nor its mounts are ours.
    func refuseForeign(_ id: LayerID) throws(LayerError) {
        guard foreign(id) != nil else { return }
        throw LayerError(
            .notPermitted, "remove the layer", path: id.component,
            cause: .reason("it lies in an additional store, which is read-only"))
    }

    /// Takes the layer out of the store in one step, then takes it apart. The caller has unmounted it.
    ///
    /// An unknown layer is fine.
    func remove(_ id: LayerID) throws(LayerError) {
        try validate(id)
        try refuseForeign(id)
        let link = try writtenLink(of: id)
        guard let removed = try trash.take(layer(id)) else {
            return log(.debug, "no layer \(id) to remove")
        }
        if let link, try StoreFiles.readLink(path(of: link)) == ShortLink.target(id) {
            try StoreFiles.unlink(path(of: link))
        } else if link == nil {
            log(.warning, "refusing to remove empty link for layer \(id)")
        }
        try Trash.remove(removed)
    }
}
