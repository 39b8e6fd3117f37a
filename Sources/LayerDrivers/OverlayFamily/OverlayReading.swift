import LayerEngine
import LayerModel
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
        var trees = trees
        let isDirect = try view.parent(of: id) == parent
        trees.dialect = dialect
        trees.lowers = try view.lowerPaths(of: id)
        if isDirect, marksAreSound { return ChangeSource(native: trees) }
        trees.base = if let parent { try view.stack(parent) } else { [] }
        return ChangeSource(compared: trees)
    }

    /// Sizes are right whatever marks the kernel writes.
    func sizeTrees(of id: LayerID, since parent: LayerID?, _ trees: SourceOptions) throws(LayerError) -> ChangeSource {
        guard try view.parent(of: id) == parent else { return try self.trees(of: id, since: parent, trees) }
        var trees = trees
        trees.dialect = dialect
        trees.lowers = try view.lowerPaths(of: id)
        return ChangeSource(native: trees)
    }

    /// Throws `notFound` unless both are there.
    func require(_ id: LayerID, _ parent: LayerID?) throws(LayerError) {
        try view.require(id, "compare the layer")
        if let parent { try view.require(parent, "compare with the layer") }
    }

    func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        do throws(LayerError) {
            guard try view.knows(id), try view.parent(of: id) == parent else { return nil }
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
