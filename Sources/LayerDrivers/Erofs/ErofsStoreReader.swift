import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// A store of erofs that is looked at. Packed layers are mounted at no path for that, and seen by nobody.
final class ErofsStoreReader: StoreReader {
    let name = DriverName.erofs
    let configuration: DriverConfiguration
    let options: ErofsOptions
    let facts: OverlayFacts
    private let reading: OverlayReading
    var view: OverlayView { reading.view }

    /// Throws `notFound` without a store, `invalidArgument` for what is none of erofs's.
    convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        let options = try ErofsOptions(configuration)
        let view = OverlayView(configuration, .erofs)
        try view.requireHome()
        try OverlayView.refuseForeign(view.home, .erofs)
        self.init(configuration, options, try OverlayFacts(view.home, userXattr: options.userXattr))
    }

    /// For a driver, which has looked at the home already.
    init(_ configuration: DriverConfiguration, _ options: ErofsOptions, _ facts: OverlayFacts) {
        self.configuration = configuration
        self.options = options
        self.facts = facts
        reading = OverlayReading(
            view: OverlayView(configuration, .erofs, packedWay: options.way), dialect: facts.dialect,
            marksAreSound: facts.opaqueMarksAreSound)
    }

    func state(of id: LayerID) throws(LayerError) -> LayerState { try view.state(of: id) }
    func layers() throws(LayerError) -> [LayerID] { try view.layers() }
    func parent(of id: LayerID) throws(LayerError) -> LayerID? { try reading.parent(of: id) }

    func changeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try reading.require(id, parent)
        return try reading.trees(of: id, since: parent, newSource(view.contents(id)))
    }

    func sizeSource(of id: LayerID, since parent: LayerID?) throws(LayerError) -> ChangeSource {
        try reading.require(id, parent)
        return try reading.sizeTrees(of: id, since: parent, newSource(view.contents(id)))
    }

    func recordedSize(of id: LayerID, since parent: LayerID?) -> RecordedSize? {
        reading.recordedSize(of: id, since: parent)
    }

    func storedStream(of id: LayerID, since parent: LayerID?) throws(LayerError) -> StoredStream? {
        try reading.require(id, parent)
        guard try view.parent(of: id) == parent, let files = try view.packedFiles(id) else { return nil }
        return try StoredStream(files)
    }

    func status() -> [StatusRow] {
        [
            StatusRow("Backing Filesystem", facts.fileSystemName),
            StatusRow("Supports d_type", facts.reportsFileTypes.description),
            StatusRow("Using metacopy", facts.usesMetacopy.description),
            StatusRow("Native Overlay Diff", facts.opaqueMarksAreSound.description),
            StatusRow("userxattr", facts.usesUserAttributes.description),
            StatusRow("EROFS", ErofsMount.isSupported.description),
            StatusRow("Form", options.form.rawValue),
            StatusRow("Packed Layers", packedCount),
        ]
    }

    private var packedCount: String {
        do throws(LayerError) {
            let layers = try view.layers()
            var packed = 0
            for id in layers where try view.isPacked(id) { packed += 1 }
            return "\(packed) of \(layers.count)"
        } catch {
            return "not available"
        }
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] { try reading.metadata(of: id) }

    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try view.require(id, "measure the layer")
        var usage = try walkedUsage(view.contents(id))
        if try view.isPacked(id) {
            let files = try PackedLayerFiles(recordedIn: view.packedPart(id))
            usage.byteCount += files.byteCount
            usage.inodeCount += files.fileCount
        }
        return usage
    }

    func sizeLimit(of id: LayerID) throws(LayerError) -> UInt64? {
        try view.require(id, "look at the limit of the layer")
        return ProjectQuota.byteLimit(of: view.contents(id), in: view.home)
    }

    func files(of id: LayerID) throws(LayerError) -> LayerFiles { try reading.files(of: id) }
    func look() throws(LayerError) -> [Finding] { try reading.check() }
}
