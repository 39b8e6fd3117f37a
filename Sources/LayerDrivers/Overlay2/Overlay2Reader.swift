import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// A store of overlay2 that is looked at.
final class Overlay2Reader: StoreReader {
    let name = DriverName.overlay2
    let configuration: DriverConfiguration
    let options: Overlay2Options
    let facts: OverlayFacts
    private let reading: OverlayReading
    var view: OverlayView { reading.view }

    /// Throws `notFound` without a store, `invalidArgument` for what is none of overlay2's.
    convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        let options = try Overlay2Options(configuration)
        let view = OverlayView(configuration, .overlay2, additional: options.additional)
        try view.requireHome()
        try OverlayView.refuseForeign(view.home, .overlay2)
        self.init(configuration, options, try OverlayFacts(view.home, userXattr: options.userXattr))
    }

    /// For a driver, which has looked at the home already.
    init(_ configuration: DriverConfiguration, _ options: Overlay2Options, _ facts: OverlayFacts) {
        self.configuration = configuration
        self.options = options
        self.facts = facts
        reading = OverlayReading(
            view: OverlayView(configuration, .overlay2, additional: options.additional), dialect: facts.dialect,
            marksAreSound: facts.opaqueMarksAreSound)
    }

    var additionalImageStores: [PathBytes] { options.additional.homes }

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

    func status() -> [StatusRow] {
        [
            StatusRow("Backing Filesystem", facts.fileSystemName),
            StatusRow("Supports d_type", facts.reportsFileTypes.description),
            StatusRow("Using metacopy", facts.usesMetacopy.description),
            StatusRow("Native Overlay Diff", facts.opaqueMarksAreSound.description),
            StatusRow("userxattr", facts.usesUserAttributes.description),
        ]
    }

    func metadata(of id: LayerID) throws(LayerError) -> [MetadataItem] { try reading.metadata(of: id) }

    func readWriteDiskUsage(of id: LayerID) throws(LayerError) -> DiskUsage {
        try view.require(id, "measure the layer")
        return try walkedUsage(view.contents(id))
    }

    func sizeLimit(of id: LayerID) throws(LayerError) -> UInt64? {
        try view.require(id, "look at the limit of the layer")
        return ProjectQuota.byteLimit(of: view.contents(id), in: view.home)
    }

    func files(of id: LayerID) throws(LayerError) -> LayerFiles { try reading.files(of: id) }
    func look() throws(LayerError) -> [Finding] { try reading.check() }
}
