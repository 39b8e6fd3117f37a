import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// A store of fuse-overlayfs that is looked at. The program is needed for mounts only.
final class FuseOverlayFSReader: StoreReader {
    let name = DriverName.fuseOverlayFS
    let configuration: DriverConfiguration
    let options: FuseOverlayFSOptions
    private let reading: OverlayReading
    var view: OverlayView { reading.view }
    var dialect: WhiteoutDialect { reading.dialect }

    /// Throws `notFound` without a store, `invalidArgument` for what is none of fuse-overlayfs's.
    convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        let options = try FuseOverlayFSOptions(configuration)
        self.init(configuration, options)
        try view.requireHome()
        try OverlayView.refuseForeign(view.home, .fuseOverlayFS)
    }

    /// For a driver, which looks at the home itself.
    init(_ configuration: DriverConfiguration, _ options: FuseOverlayFSOptions) {
        self.configuration = configuration
        self.options = options
        reading = OverlayReading(
            view: OverlayView(configuration, .fuseOverlayFS),
            dialect: WhiteoutDialect(.fuseOverlayFS, userXattr: options.userXattr), marksAreSound: true)
    }

    func state(of id: LayerID) throws(LayerError) -> LayerState { try view.state(of: id) }
    func layers() throws(LayerError) -> [LayerID] { try view.layers() }
    func parent(of id: LayerID) throws(LayerError) -> LayerID? { try reading.parent(of: id) }

    func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try reading.require(id, parent)
        flush(id)
        return try reading.trees(of: id, since: parent, newSource(view.contents(id)))
    }

    func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try reading.require(id, parent)
        flush(id)
        return try reading.sizeTrees(of: id, since: parent, newSource(view.contents(id)))
    }

    /// The helper lets the kernel keep what was written; the upper directory must have it before it is read. Nothing is written
    /// that was not written before.
    private func flush(_ id: LayerID) {
        let merged = view.merged(id)
        if (try? MountTable.state(of: merged)) == .mounted { try? FuseOverlayHelper.flush(merged) }
    }

    func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        reading.recordedSize(of: id, since: parent)
    }

    func status() -> [StatusRow] {
        let helper = try? FuseOverlayHelper(program: options.mountProgram, extra: options.mountOptions)
        return [
            StatusRow("Backing Filesystem", (try? FileSystemKind.of(view.home).name) ?? "<unknown>"),
            StatusRow("Mount Program", helper?.program.description ?? "<missing>"),
            StatusRow("Version", helper?.version() ?? "<unknown>"),
        ]
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] { try reading.metadata(of: id) }

    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try view.require(id, "measure the layer")
        return try walkedUsage(view.contents(id))
    }

    func files(of id: LayerID) throws(LayerError) -> LayerFiles { try reading.files(of: id) }
    func look() throws(LayerError) -> [Finding] { try reading.check() }
}
