import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// A store of aufs that is looked at: on any kernel, with or without aufs.
final class AUFSReader: StoreReader {
    let name = DriverName.aufs
    let configuration: DriverConfiguration
    let view: AUFSView
    /// Whether unions get `dirperm1`; nil where nobody has tried it.
    let usesDirperm1: @Sendable () -> Bool?

    /// Throws `notFound` where there is no store of aufs.
    convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        _ = try AUFSDriver.options(configuration)
        self.init(configuration) { nil }
        try view.requireStore()
    }

    /// For a driver, which makes its home itself.
    init(_ configuration: DriverConfiguration, usesDirperm1: @escaping @Sendable () -> Bool?) {
        self.configuration = configuration
        self.usesDirperm1 = usesDirperm1
        view = AUFSView(configuration)
    }

    func state(of id: LayerID) throws(LayerError) -> LayerState { try view.state(of: id) }
    func layers() throws(LayerError) -> [LayerID] { try view.layers() }

    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        try view.require(id, "find the parent of")
        return try view.ancestors(of: id).first
    }

    func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try view.require(id, "compare the layer")
        if let parent { try view.require(parent, "compare with the layer") }
        var trees = newSource(view.contents(id))
        trees.dialect = .aufs
        trees.lowers = try view.lowerPaths(of: id)
        if try view.ancestors(of: id).first == parent { return ChangeSource(native: trees) }
        trees.base = if let parent { try view.stack(parent) } else { [] }
        return ChangeSource(compared: trees)
    }

    func files(of id: LayerID) throws(LayerError) -> LayerFiles {
        try view.require(id, "open the files of the layer")
        return try LayerFiles(in: view.stack(id), dialect: .aufs)
    }

    // MARK: facts

    func status() -> [StatusRow] {
        [
            StatusRow("Root Dir", view.home.description),
            StatusRow("Backing Filesystem", (try? FileSystemKind.of(view.home).name) ?? "<unknown>"),
            StatusRow("Dirs", ((try? view.layers().count) ?? 0).description),
            StatusRow("Dirperm1 Supported", usesDirperm1()?.description ?? "unknown"),
        ]
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] {
        try view.require(id, "describe the layer")
        let ancestors = try view.ancestors(of: id)
        let names = ancestors.map(\.component.bytes).joined(separator: [UInt8(ascii: ":")])
        return [
            MetadataItem("DiffDir", view.contents(id)), MetadataItem("LayersFile", view.list(id)),
            MetadataItem("MountDir", view.mountPoint(id)), MetadataItem("Parents", PathBytes(Array(names))),
        ]
    }

    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try view.require(id, "measure the layer")
        return try walkedUsage(view.contents(id))
    }

    func look() throws(LayerError) -> [Finding] {
        var check = AUFSCheck(view, nil)
        return try check.run()
    }
}
