import LayerModel
import LinuxIO

/// Docker's layout for aufs, looked at: `layers/ID` lists the ancestors, `diff/ID` is the branch, `mnt/ID` the mount
/// point.
struct AUFSView: StoreView {
    static let removing = Array("-removing".utf8)
    /// What lies in a directory in which a layer is made or taken apart.
    static let parts = LayerParts(
        directories: ["diff"], files: [AUFSClaim.fileName, "list", UnfinishedLayers.fileName], working: [],
        essential: [])

    let home: PathBytes
    let seesUnfinished: Bool

    init(_ configuration: DriverConfiguration) {
        home = configuration.home
        seesUnfinished = configuration.seesUnfinished
    }

    var lists: PathBytes { home.appending("layers") }
    func list(_ id: LayerID) -> PathBytes { lists.appending(id.component) }
    func contents(_ id: LayerID) -> PathBytes { home.appending("diff").appending(id.component) }
    func mountPoint(_ id: LayerID) -> PathBytes { home.appending("mnt").appending(id.component) }

    /// The file that says that the layer's contents are still to come.
    func unfinishedMark(_ id: LayerID) -> PathBytes {
        lists.appending(PathBytes(Array(".\(UnfinishedLayers.fileName)-".utf8) + id.component.bytes))
    }

    /// Refuses a directory that is no store of aufs.
    func requireStore() throws(LayerError) {
        for path in [lists, home.appending("diff")] {
            guard try StoreFiles.isDirectory(path) else {
                throw LayerError(
                    .notFound, "open the store", path: home,
                    cause: .reason("there is no directory \(path), so it is no store of aufs"),
                    hint: "name the driver's own directory, such as /var/lib/docker/aufs")
            }
        }
    }

    /// Refuses a home directory in which others keep something.
    func refuseForeign() throws(LayerError) {
        let names = try StoreFiles.isDirectory(home) ? StoreFiles.names(in: home).map(\.description) : []
        let parts = ["diff", "layers", "mnt"]
        // A kill may have come between the three.
        if names.allSatisfy({ parts.contains($0) || $0 == "lost+found" || $0 == WorkArea.directoryName }) { return }
        var missing: String?
        for part in parts where missing == nil {
            if try !StoreFiles.isDirectory(home.appending(part)) { missing = part }
        }
        guard let missing else { return }
        throw LayerError(
            .invalidArgument, "open the store", path: home,
            cause: .reason("it is not empty, and has no directory \(missing) as a store of aufs has"),
            hint: "name the driver's own directory, such as /var/lib/docker/aufs")
    }

    /// Refuses names that mean something else here: what is being removed, and files being written.
    func validate(_ id: LayerID) throws(LayerError) {
        if Self.isReserved(id.component) { throw DriverErrors.reserved(id, .aufs) }
    }

    static func isReserved(_ name: PathBytes) -> Bool {
        name.bytes.suffix(removing.count).elementsEqual(removing) || name.bytes.starts(with: Array(".tmp-".utf8))
            || name.bytes.starts(with: Array(TemporaryName.prefix.utf8))
    }

    /// The layer, if its list and its branch are there.
    func proven(_ id: LayerID) throws(LayerError) -> ProvenLayer? {
        guard !Self.isReserved(id.component) else { return nil }
        return try ProvenLayer(id, list: list(id), branch: contents(id))
    }

    /// Whether two empty directories of this name are all there is: a layer that was being made. Nothing is lost with them.
    func isHalfMade(_ id: LayerID) throws(LayerError) -> Bool {
        guard !Self.isReserved(id.component), try StoreFiles.metadata(list(id)) == nil else { return false }
        for path in [contents(id), mountPoint(id)] {
            guard try StoreFiles.isDirectory(path), try !StoreFiles.isMountPoint(path), try StoreFiles.isEmpty(path)
            else {
                return false
            }
        }
        return true
    }

    func state(of id: LayerID) throws(LayerError) -> LayerState {
        do throws(LayerError) {
            guard try proven(id) != nil else { return .absent }
            return try StoreFiles.metadata(unfinishedMark(id)) == nil ? .complete : .unfinished
        } catch {
            guard error.saysOtherForm else { throw error }
            return .absent
        }
    }

    func layers() throws(LayerError) -> [LayerID] {
        try StoreFiles.names(in: lists).map { LayerID(trusted: $0) }.filter { isListed($0) }
    }

    /// The layer's ancestors, the direct parent first; none for a base layer.
    ///
    /// Throws `notFound` for an unknown layer, `corruptLayer` where a line is no id.
    func ancestors(of id: LayerID) throws(LayerError) -> [LayerID] {
        guard !Self.isReserved(id.component), let text = try StoreFiles.read(list(id)) else {
            throw DriverErrors.unknownLayer("find the ancestors of", id)
        }
        var ancestors: [LayerID] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            do throws(LayerError) {
                ancestors.append(try LayerID(PathBytes(Array(line))))
            } catch {
                throw LayerError(
                    .corruptLayer, "read", path: list(id), cause: .reason("a line is no layer's name: \(error)"),
                    hint: "a crash or a full disk did this; remove the layer and unpack it again")
            }
        }
        return ancestors
    }

    /// The directories whose merged view is the layer's tree, nearest first.
    func stack(_ id: LayerID) throws(LayerError) -> [PathBytes] { try [contents(id)] + lowerPaths(of: id) }

    /// The directories of the layer's ancestors, nearest first; each must be there.
    func lowerPaths(of id: LayerID) throws(LayerError) -> [PathBytes] {
        try ancestors(of: id).map { (ancestor) throws(LayerError) in
            let path = contents(ancestor)
            guard try StoreFiles.isDirectory(path) else {
                throw LayerError(
                    .corruptLayer, "find the layers below", path: id.component,
                    cause: .reason("its ancestor \(ancestor) is gone"),
                    hint: "remove this layer and unpack the image again")
            }
            return path
        }
    }
}

/// What a directory of the store's own says of the layer that is made or taken apart in it: which branch is meant, by its
/// inode. So a branch without a list is known to be left over, and nothing else is taken for one.
struct AUFSClaim: Sendable, Equatable {
    static let fileName = "ldiff-claim"
    private static let heading = "ldiff-claim 1"
    private static let removing = "removing"

    let id: LayerID
    let device: UInt64
    let inode: UInt64
    /// The layer was whole, and is being removed: its mount point belongs to it.
    let isRemoved: Bool

    /// Of the branch that lies at `branch`.
    init?(_ id: LayerID, branch: PathBytes, isRemoved: Bool = false) throws(LayerError) {
        guard let found = try StoreFiles.metadata(branch) else { return nil }
        self.id = id
        self.isRemoved = isRemoved
        device = found.device
        inode = found.inode
    }

    /// What the file in `directory` says; nil without one.
    init?(in directory: PathBytes) throws(LayerError) {
        guard let bytes = try StoreFiles.read(directory.appending(Self.fileName)) else { return nil }
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        guard lines.count == 4, lines[0].elementsEqual(Self.heading.utf8),
            lines[3].isEmpty || lines[3].elementsEqual(Self.removing.utf8),
            let id = try? LayerID(PathBytes(Array(lines[1])))
        else { return nil }
        let numbers = String(decoding: lines[2], as: UTF8.self).split(separator: ":").map { UInt64($0) }
        guard numbers.count == 2, let device = numbers[0], let inode = numbers[1] else { return nil }
        self.id = id
        self.device = device
        self.inode = inode
        isRemoved = !lines[3].isEmpty
    }

    var bytes: [UInt8] {
        Array("\(Self.heading)\n".utf8) + id.component.bytes
            + Array("\n\(device):\(inode)\n\(isRemoved ? Self.removing : "")".utf8)
    }

    /// Whether the names of the layer belong to it: its branch lies at `path`, or was taken from there.
    func concerns(_ path: PathBytes) throws(LayerError) -> Bool {
        if isRemoved, try StoreFiles.metadata(path) == nil { return true }
        return try means(path)
    }

    /// Whether it is the branch at `path` that is meant.
    func means(_ path: PathBytes) throws(LayerError) -> Bool {
        guard let found = try StoreFiles.metadata(path) else { return false }
        return found.device == device && found.inode == inode
    }
}
