import LayerModel
import LayerMounts
import LinuxIO

/// The layout of the first overlay driver: image layers are whole trees that share files by hard links, containers an
/// upper directory over one of them (drivers.md 5.3).
struct OverlayRootStore: MergedStore {
    static let reserved: Set<String> = [Trash.directoryName]
    /// Where earlier drivers, Docker's among them, copied a parent's tree to before they renamed it to `root`.
    static let unfinishedPrefixes = ["tmproot", ContentSwap.prefix, ".tmp-"]
    /// The parent's id; Docker does not keep it and does not mind the file.
    static let parentFile = "ldiff-parent"

    let home: PathBytes
    let trash: Trash
    let directoryOwner: Owner
    let workers: Int?
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(_ configuration: DriverConfiguration) {
        home = configuration.home
        directoryOwner = configuration.directoryOwner
        trash = Trash(home: configuration.home)
        log = configuration.log
        workers = configuration.workers
    }

    func layer(_ id: LayerID) -> PathBytes { home.appending(id.component) }
    /// The whole tree of an image layer.
    func root(_ id: LayerID) -> PathBytes { layer(id).appending("root") }
    func upper(_ id: LayerID) -> PathBytes { layer(id).appending("upper") }
    func work(_ id: LayerID) -> PathBytes { layer(id).appending("work") }
    func merged(_ id: LayerID) -> PathBytes { layer(id).appending("merged") }
    private func lowerFile(_ id: LayerID) -> PathBytes { layer(id).appending("lower-id") }

    func validate(_ id: LayerID) throws(LayerError) {
        if Self.isReserved(id.component) { throw DriverErrors.reserved(id, .overlay) }
    }

    static func isReserved(_ name: PathBytes) -> Bool {
        reserved.contains(name.description)
            || OverlayStore.probePrefixes.contains { name.bytes.starts(with: Array($0.utf8)) }
    }

    /// Whether the layer is a whole tree; that wins over everything else its directory holds.
    func isImage(_ id: LayerID) throws(LayerError) -> Bool { try StoreFiles.isDirectory(root(id)) }

    /// The image layer that a container's layer lies on; nil where the layer is an image or not complete.
    func lower(of id: LayerID) throws(LayerError) -> LayerID? {
        guard let text = try StoreFiles.read(lowerFile(id)), !text.isEmpty else { return nil }
        return try? LayerID(PathBytes(text))
    }

    func exists(_ id: LayerID) -> Bool {
        guard !Self.isReserved(id.component) else { return false }
        if (try? isImage(id)) == true { return true }
        return (try? lower(of: id)) ?? nil != nil
    }

    func require(_ id: LayerID, _ operation: String) throws(LayerError) {
        guard exists(id) else { throw DriverErrors.unknownLayer(operation, id) }
    }

    func layers() throws(LayerError) -> [LayerID] {
        var found: [LayerID] = []
        for name in try StoreFiles.names(in: home) where !Self.isReserved(name) {
            let id = LayerID(trusted: name)
            if exists(id) { found.append(id) }
        }
        return found
    }

    /// The parent as it was given, or as far as the layout tells: Docker keeps only the image below a container.
    func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        if let text = try StoreFiles.read(layer(id).appending(Self.parentFile)) { return try? LayerID(PathBytes(text)) }
        return try isImage(id) ? nil : lower(of: id)
    }

    // MARK: making

    /// Makes the layer; it is built aside and renamed to its place at the end.
    func create(_ id: LayerID, parent: LayerID?, work workOwner: Owner) throws(LayerError) {
        try validate(id)
        if exists(id) { throw DriverErrors.exists(id) }
        guard parent != id else {
            throw LayerError(
                .invalidArgument, "create the layer", path: id.component,
                cause: .reason("a layer cannot be its own parent"))
        }
        if let parent { try require(parent, "create a layer on the parent") }
        let building = try trash.newPath()
        do throws(LayerError) {
            try StoreFiles.makeDirectory(building, mode: 0o710, owner: directoryOwner)
            if let parent {
                try build(building, on: parent, workOwner)
            } else {
                try StoreFiles.makeDirectory(building.appending("root"), mode: 0o755, owner: workOwner)
            }
            if let leftover = try trash.take(layer(id)) { try Trash.remove(leftover) }
            try StoreFiles.move(building, to: layer(id))
        } catch {
            try? Trash.remove(building)
            throw error.code == .alreadyExists ? DriverErrors.exists(id) : error
        }
    }

    private func build(_ building: PathBytes, on parent: LayerID, _ owner: Owner) throws(LayerError) {
        let isImage = try isImage(parent)
        let lower = isImage ? parent : try lower(of: parent)
        guard let lower, let template = try StoreFiles.metadata(isImage ? root(parent) : upper(parent)) else {
            throw DriverErrors.unknownLayer("create a layer on the parent", parent)
        }
        let newUpper = building.appending("upper")
        try StoreFiles.makeDirectory(newUpper, mode: template.mode & 0o7777, owner: owner)
        try StoreFiles.makeDirectory(building.appending("work"), mode: 0o700, owner: owner)
        try StoreFiles.write(lower.component.bytes, to: building.appending("lower-id"), mode: 0o600, durable: true)
        try StoreFiles.write(
            parent.component.bytes, to: building.appending(Self.parentFile), mode: 0o600, durable: true)
        if !isImage {
            // A container's layer on another: it takes over what that one changed, marks included.
            try StoreCopy.copyContents(upper(parent), to: newUpper, linking: false, workers: workers)
        }
    }

    /// Takes the layer out of the store in one step, then apart. The caller has unmounted it.
    func remove(_ id: LayerID) throws(LayerError) {
        try validate(id)
        guard let removed = try trash.take(layer(id)) else { return log(.debug, "no layer \(id) to remove") }
        try Trash.remove(removed)
    }

    /// Makes the tree at `building` the layer's, which is an image layer from then on.
    ///
    /// From the rename on the layer is applied: what cannot be removed then is no error, `check` and the next start see to it.
    func install(_ building: PathBytes, as id: LayerID) throws(LayerError) {
        try StoreFiles.move(building, to: root(id))
        do throws(LayerError) {
            try dropUpper(of: id)
        } catch {
            log(.warning, "left beside the tree of \(id): \(error)")
        }
    }

    /// Removes what an image layer no longer needs.
    func dropUpper(of id: LayerID) throws(LayerError) {
        for name in ["upper", "work", "merged"] { try Trash.remove(layer(id).appending(name)) }
        try StoreFiles.unlink(layer(id).appending("lower-id"))
    }
}
