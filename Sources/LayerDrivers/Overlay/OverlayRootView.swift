import LayerModel
import LinuxIO

/// The layout of the first overlay driver, looked at: image layers are whole trees that share files by hard links, containers an
/// upper directory over one of them.
struct OverlayRootView: MergedView {
    static let reserved: Set<String> = [WorkArea.directoryName]
    /// The parent's id, empty for a base layer; Docker does not keep it and does not mind the file. Since every layer that is
    /// made here has one, it is also the proof that a directory with nothing but `root` in it is one.
    static let parentFile = "ldiff-parent"
    /// Docker's names and ours. `tmproot` and digits, in which Docker unpacks, is not ours to take apart alone; it goes with its
    /// layer, which is known by its lower, our mark, or Docker's name for it.
    static let parts = LayerParts(
        directories: ["root", "upper", "work", "merged"],
        files: ["lower-id", parentFile, UnfinishedLayers.fileName],
        // In this order: when the upper directory goes, the tree is there.
        essential: [
            ["upper", "lower-id"], ["upper", UnfinishedLayers.fileName], ["root", parentFile], ["root", "lower-id"],
            ["root", UnfinishedLayers.fileName],
        ])
    /// What an image's layer of Docker's or of earlier versions looks like under any name: it can be read, and nothing more.
    private static let readable = {
        var readable = parts
        readable.essential.append(["root"])
        return readable
    }()

    var parts: LayerParts { Self.parts }

    let home: PathBytes
    let seesUnfinished: Bool

    init(_ configuration: DriverConfiguration) {
        home = configuration.home
        seesUnfinished = configuration.seesUnfinished
    }

    func layer(_ id: LayerID) -> PathBytes { home.appending(id.component) }
    /// The whole tree of an image layer.
    func root(_ id: LayerID) -> PathBytes { layer(id).appending("root") }
    func upper(_ id: LayerID) -> PathBytes { layer(id).appending("upper") }
    func work(_ id: LayerID) -> PathBytes { layer(id).appending("work") }
    func merged(_ id: LayerID) -> PathBytes { layer(id).appending("merged") }
    var holdsPacked: Bool { false }
    func ownDirectories(_ id: LayerID) -> [PathBytes] {
        [id.component.appending("upper"), id.component.appending("work")]
    }
    private func lowerFile(_ id: LayerID) -> PathBytes { layer(id).appending("lower-id") }

    func validate(_ id: LayerID) throws(LayerError) {
        if Self.isReserved(id.component) { throw DriverErrors.reserved(id, .overlay) }
    }

    static func isReserved(_ name: PathBytes) -> Bool {
        reserved.contains(name.description)
            || OverlayView.probePrefixes.contains { name.bytes.starts(with: Array($0.utf8)) }
    }

    /// Whether the layer is a whole tree; that wins over everything else its directory holds.
    func isImage(_ id: LayerID) throws(LayerError) -> Bool { try StoreFiles.isDirectory(root(id)) }

    /// The image layer that a container's layer lies on; nil where the layer is an image or not complete.
    func lower(of id: LayerID) throws(LayerError) -> LayerID? {
        guard let text = try StoreFiles.read(lowerFile(id)), !text.isEmpty else { return nil }
        return try? LayerID(PathBytes(text))
    }

    /// Nothing but a layer's parts may lie in its directory: this layout has no record besides.
    func state(of id: LayerID) throws(LayerError) -> LayerState {
        guard !Self.isReserved(id.component) else { return .absent }
        do throws(LayerError) {
            guard try isReadable(id) else { return .absent }
            if try !isImage(id), try lower(of: id) == nil { return .absent }
            return try StoreFiles.metadata(unfinishedMark(id)) == nil ? .complete : .unfinished
        } catch {
            guard error.saysOtherForm else { throw error }
            return .absent
        }
    }

    func form(of id: LayerID) throws(LayerError) -> LayerForm {
        let form = try LayerForm.seen(at: layer(id)) { () throws(LayerError) in try look(at: id, Self.parts) }
        guard case .foreign = form, try isReadable(id) else { return form }
        return .foreign("it has a layer's form, but neither Docker's name nor a file of ours says that it is one")
    }

    /// Whether it looks like a layer. Somebody's own directory may, too: only what has the whole `form` is changed.
    func isReadable(_ id: LayerID) throws(LayerError) -> Bool {
        let form = try LayerForm.seen(at: layer(id)) { () throws(LayerError) in try look(at: id, Self.readable) }
        if case .ours = form { return true }
        return false
    }

    /// Whether a home with these names holds what looks like a layer of this driver.
    static func hasLayers(_ home: PathBytes, _ names: [PathBytes]) throws(LayerError) -> Bool {
        let view = OverlayRootView(DriverConfiguration(home: home))
        for name in names where !isReserved(name) {
            let id = LayerID(trusted: name)
            if StoreFiles.mayBe({ () throws(LayerError) in try view.isReadable(id) }) { return true }
        }
        return false
    }

    private func look(at id: LayerID, _ known: LayerParts) throws(LayerError) -> LayerForm {
        var parts = known
        guard try StoreFiles.isDirectory(layer(id)) else { return try parts.prove(id, layer(id), isRecorded: false) }
        // Docker unpacks beside what makes a layer.
        for name in try StoreFiles.names(in: layer(id)) where Self.isDockersWork(name) {
            parts.directories.insert(name.description)
        }
        return try parts.prove(id, layer(id), isRecorded: false)
    }

    private static func isDockersWork(_ name: PathBytes) -> Bool {
        let prefix = Array("tmproot".utf8)
        return name.bytes.starts(with: prefix) && name.bytes.count > prefix.count
            && name.bytes.dropFirst(prefix.count).allSatisfy { (0x30...0x39).contains($0) }
    }

    /// The parent as it was given, or as far as the layout tells: Docker keeps only the image below a container.
    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        if let text = try StoreFiles.read(layer(id).appending(Self.parentFile)) { return try? LayerID(PathBytes(text)) }
        return try isImage(id) ? nil : lower(of: id)
    }

    /// The directories whose merged view is the layer's tree, nearest first; an image is one.
    func stack(_ id: LayerID) throws(LayerError) -> [PathBytes] {
        guard try !isImage(id), let lower = try lower(of: id) else { return [root(id)] }
        return [upper(id), root(lower)]
    }
}
