import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// A store of the driver overlay that is looked at.
final class OverlayRootReader: StoreReader {
    let name = DriverName.overlay
    let configuration: DriverConfiguration
    let facts: OverlayFacts
    let view: OverlayRootView

    /// Throws `notFound` without a store, `invalidArgument` for what is none of overlay's.
    convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        let userXattr = try Self.userXattr(configuration)
        let view = OverlayRootView(configuration)
        try view.requireHome()
        try OverlayView.refuseForeign(view.home, .overlay)
        self.init(configuration, try OverlayFacts(view.home, userXattr: userXattr))
    }

    /// For a driver, which has looked at the home already.
    init(_ configuration: DriverConfiguration, _ facts: OverlayFacts) {
        self.configuration = configuration
        self.facts = facts
        view = OverlayRootView(configuration)
    }

    /// The one option: where the marks lie, for a store of another user namespace; nil: as mounts need it here.
    static func userXattr(_ configuration: DriverConfiguration) throws(LayerError) -> Bool? {
        var userXattr: Bool?
        for option in try configuration.options(for: .overlay) {
            guard option.key == "userxattr" else { throw DriverConfiguration.unknown(option.key, .overlay) }
            userXattr = try option.boolean()
        }
        return userXattr
    }

    func state(of id: LayerID) throws(LayerError) -> LayerState { try view.state(of: id) }
    func layers() throws(LayerError) -> [LayerID] { try view.layers() }

    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        try view.require(id, "find the parent of")
        return try view.parent(of: id)
    }

    func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try view.require(id, "compare the layer")
        if let parent { try view.require(parent, "compare with the layer") }
        let own = try view.stack(id)
        var trees = newSource(own[0])
        let below = if let parent { try view.stack(parent) } else { [PathBytes]() }
        if own.count == 1, below.count <= 1 {
            // Two image layers share the inodes of what is equal, so comparing them looks at little.
            trees.lowers = below
            return ChangeSource(compared: trees)
        }
        trees.dialect = facts.dialect
        trees.lowers = Array(own.dropFirst())
        // A container's layer straight on an image: its upper directory is the difference.
        if own.count == 2, below == trees.lowers, facts.opaqueMarksAreSound { return ChangeSource(native: trees) }
        trees.base = below
        return ChangeSource(compared: trees)
    }

    func status() -> [StatusRow] {
        [
            StatusRow("Backing Filesystem", facts.fileSystemName),
            StatusRow("Supports d_type", facts.reportsFileTypes.description),
        ]
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        try view.require(id, "describe the layer")
        guard try !view.isImage(id), let lower = try view.lower(of: id) else {
            return [MetadataItem("RootDir", view.root(id))]
        }
        return [
            MetadataItem("LowerDir", view.root(lower)), MetadataItem("MergedDir", view.merged(id)),
            MetadataItem("UpperDir", view.upper(id)), MetadataItem("WorkDir", view.work(id)),
        ]
    }

    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try view.require(id, "measure the layer")
        return try walkedUsage(view.stack(id)[0])
    }

    func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try view.require(id, "open the files of the layer")
        return try LayerFiles(in: view.stack(id))
    }

    func look() throws(LayerError) -> [Finding] {
        var check = OverlayRootCheck(view, nil)
        return try check.run()
    }
}
