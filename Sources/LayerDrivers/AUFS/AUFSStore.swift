import LayerModel
import LayerMounts
import LinuxIO

/// Docker's layout for aufs: `layers/ID` lists the ancestors, `diff/ID` is the branch, `mnt/ID` the mount point
/// (drivers.md 8.2).
struct AUFSStore: Sendable {
    static let removing = Array("-removing".utf8)

    let home: PathBytes
    private let directoryOwner: Owner
    private let rootOwner: Owner
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(_ configuration: DriverConfiguration) {
        home = configuration.home
        directoryOwner = configuration.directoryOwner
        rootOwner = configuration.rootOwner
        log = configuration.log
    }

    var lists: PathBytes { home.appending("layers") }
    func list(_ id: LayerID) -> PathBytes { lists.appending(id.component) }
    func contents(_ id: LayerID) -> PathBytes { home.appending("diff").appending(id.component) }
    func mountPoint(_ id: LayerID) -> PathBytes { home.appending("mnt").appending(id.component) }

    /// Makes the home directory and its three parts.
    func makeHome() throws(LayerError) {
        try StoreFiles.makeDirectory(home, mode: 0o710, owner: directoryOwner, parents: true)
        for name in ["mnt", "diff", "layers"] {
            try StoreFiles.makeDirectory(home.appending(name), mode: 0o710, owner: directoryOwner)
        }
    }

    /// Refuses names that mean something else here: what is being removed, and files being written.
    func validate(_ id: LayerID) throws(LayerError) {
        if Self.isReserved(id.component) { throw DriverErrors.reserved(id, .aufs) }
    }

    static func isReserved(_ name: PathBytes) -> Bool {
        name.bytes.suffix(removing.count).elementsEqual(removing) || name.bytes.starts(with: Array(".tmp-".utf8))
            || name.bytes.starts(with: Array(".ldiff-".utf8))
    }

    func exists(_ id: LayerID) -> Bool {
        guard !Self.isReserved(id.component), let found = try? StoreFiles.metadata(list(id)) else { return false }
        return EntryKind(mode: found.mode) == .regular
    }

    func require(_ id: LayerID, _ operation: String) throws(LayerError) {
        guard exists(id) else { throw DriverErrors.unknownLayer(operation, id) }
    }

    func layers() throws(LayerError) -> [LayerID] {
        try StoreFiles.names(in: lists).map { LayerID(trusted: $0) }.filter { exists($0) }
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

    // MARK: making and removing

    /// Makes the layer; `layers/ID`, which is what makes it exist, comes last. A failure leaves nothing (K9).
    func create(_ id: LayerID, parent: LayerID?) throws(LayerError) {
        try validate(id)
        if exists(id) { throw DriverErrors.exists(id) }
        var text: [UInt8] = []
        if let parent {
            guard parent != id else {
                throw LayerError(
                    .invalidArgument, "create the layer", path: id.component,
                    cause: .reason("a layer cannot be its own parent"))
            }
            guard exists(parent) else { throw DriverErrors.unknownLayer("create a layer on the parent", parent) }
            for line in [parent] + (try ancestors(of: parent)) { text += line.component.bytes + [UInt8(ascii: "\n")] }
        }
        do throws(LayerError) {
            for path in [mountPoint(id), contents(id)] {
                // What an unfinished creation or removal left under this name is no layer.
                if try StoreFiles.metadata(path) != nil { try discard(path) }
                try StoreFiles.makeDirectory(path, mode: 0o755, owner: rootOwner)
            }
            try StoreFiles.write(text, to: list(id), mode: 0o644, durable: true)
        } catch {
            // It may be there: not durable, but then a layer without directories.
            try? StoreFiles.unlink(list(id))
            for path in [mountPoint(id), contents(id)] { try? Trash.remove(path) }
            throw error
        }
    }

    /// Removes an unmounted layer: first both directories go out of the way, each in one step, then the list, then the trees.
    /// A crash in between leaves `-removing` directories, or a layer without directories that `remove` or `sweep` ends.
    func remove(_ id: LayerID) throws(LayerError) {
        try validate(id)
        var doomed: [(path: PathBytes, aside: PathBytes)] = []
        do throws(LayerError) {
            for path in [mountPoint(id), contents(id)] {
                if let aside = try setAside(path) { doomed.append((path, aside)) }
            }
            try StoreFiles.unlink(list(id))
        } catch {
            // The layer stays, with what belongs to it.
            for (path, aside) in doomed { try? StoreFiles.move(aside, to: path) }
            throw error
        }
        for (_, aside) in doomed { try Trash.remove(aside) }
    }

    /// Renames `path` to `path-removing`; nil where nothing was.
    ///
    /// A name that another mount namespace still shows a mount on is busy for a while: tried again, then an error.
    private func setAside(_ path: PathBytes) throws(LayerError) -> PathBytes? {
        let target = PathBytes(path.bytes + Self.removing)
        // An earlier removal that was cut short.
        if try StoreFiles.metadata(target) != nil { try Trash.remove(target) }
        guard try StoreFiles.metadata(path) != nil else { return nil }
        for attempt in 0... {
            do throws(LayerError) {
                try StoreFiles.move(path, to: target)
                return target
            } catch {
                guard error.code == .inUse, attempt < 5 else { throw error }
                ProcessState.sleep(milliseconds: 100)
            }
        }
        return nil
    }

    private func discard(_ path: PathBytes) throws(LayerError) {
        log(.warning, "replacing the unfinished \(path)")
        if let renamed = try setAside(path) { try Trash.remove(renamed) }
    }
}
