import LayerEngine
import LayerModel
import LayerPacking
import LinuxIO

/// What a store of the layout that overlay2 and fuse-overlayfs share answers when it is looked at. In how mounts spell
/// deletions the two differ.
struct OverlayReading: Sendable {
    let view: OverlayView
    let dialect: WhiteoutDialect
    /// Whether a layer's own directory tells its difference.
    let marksAreSound: Bool

    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        try view.require(id, "find the parent of")
        return try view.parent(of: id)
    }

    /// The layer's own directory over the layers below it, compared with the view of `parent`.
    ///
    /// Nothing is mounted: what a mount would show is looked up as the kernel does.
    func trees(of id: LayerID, since parent: LayerID?, _ trees: SourceOptions) throws(LayerError) -> ChangeSource {
        var looks = PackedLooks(view.packedWay)
        let trees = try own(id, trees, &looks)
        // Of a packed layer that was written to since, one directory alone does not tell what it is.
        let isAlone = trees.upper != view.contents(id) ? true : try !view.isPacked(id)
        if try view.parent(of: id) == parent, marksAreSound, isAlone { return ChangeSource(native: trees, looks.forms) }
        return try compared(trees, parent, &looks)
    }

    /// The layer's own directories over those below it.
    private func own(
        _ id: LayerID, _ trees: SourceOptions, _ looks: inout PackedLooks
    ) throws(LayerError) -> SourceOptions {
        var trees = trees
        trees.dialect = dialect
        let own = try view.own(id, &looks)
        trees.upper = own[0]
        trees.lowers = try own.dropFirst() + view.lowers(of: id, &looks)
        return trees
    }

    private func compared(
        _ trees: SourceOptions, _ parent: LayerID?, _ looks: inout PackedLooks
    ) throws(LayerError) -> ChangeSource {
        var trees = trees
        trees.base = if let parent { try view.own(parent, &looks) + view.lowers(of: parent, &looks) } else { [] }
        return ChangeSource(compared: trees, looks.forms)
    }

    /// Sizes are right whatever marks the kernel writes.
    func sizeTrees(of id: LayerID, since parent: LayerID?, _ trees: SourceOptions) throws(LayerError) -> ChangeSource {
        guard try view.parent(of: id) == parent else { return try self.trees(of: id, since: parent, trees) }
        var looks = PackedLooks(view.packedWay)
        let trees = try own(id, trees, &looks)
        if try view.isPacked(id), try !view.isAsPacked(id) { return try compared(trees, parent, &looks) }
        return ChangeSource(native: trees, looks.forms)
    }

    /// Throws `notFound` unless both are there.
    func require(_ id: LayerID, _ parent: LayerID?) throws(LayerError) {
        try view.require(id, "compare the layer")
        if let parent { try view.require(parent, "compare with the layer") }
    }

    func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        do throws(LayerError) {
            guard try view.knows(id), try view.parent(of: id) == parent else { return nil }
            if let packed = try view.packedFiles(id)?.record {
                return RecordedSize(byteCount: packed.uniqueFileBytes, entryCount: packed.entries + 1)
            }
            return view.record(of: id).load()
        } catch {
            return nil
        }
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        try view.require(id, "describe the layer")
        return try OverlayPlan.metadata(view, id)
    }

    func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try view.require(id, "open the files of the layer")
        return try LayerFiles(in: view.stack(id), dialect: dialect)
    }

    func check() throws(LayerError) -> [Finding] {
        var check = OverlayCheck(view, nil)
        return try check.run()
    }
}
