import LayerModel
import LayerMounts
import LinuxIO

/// A reserved directory of a store in which layers are built and taken apart, so that a layer is either there as a
/// whole or not at all, whenever the process ends (drivers.md 15).
struct Trash: Sendable {
    /// containers/storage keeps its own temporary directories under this name too, and lists no layers in it.
    static let directoryName = "tempdirs"
    private static let newPrefix = Array("ldiff-new-".utf8)
    private static let oldPrefix = Array("ldiff-old-".utf8)

    let directory: PathBytes

    init(home: PathBytes) { directory = home.appending(Self.directoryName) }

    /// An unused path in which something can be built before it is renamed to its place.
    func newPath() throws(LayerError) -> PathBytes {
        try StoreFiles.makeDirectory(directory, mode: 0o700, owner: .current)
        return directory.appending(PathBytes(Self.newPrefix + Array(StoreFiles.randomText().utf8)))
    }

    /// Takes `path` out of the store in one step; returns where it lies now, or nil where nothing was.
    func take(_ path: PathBytes) throws(LayerError) -> PathBytes? {
        guard try StoreFiles.metadata(path) != nil else { return nil }
        try StoreFiles.makeDirectory(directory, mode: 0o700, owner: .current)
        let target = directory.appending(PathBytes(Self.oldPrefix + Array(StoreFiles.randomText().utf8)))
        try StoreFiles.move(path, to: target)
        return target
    }

    /// What an earlier process left half made or half removed.
    func leftovers() throws(LayerError) -> [PathBytes] {
        try StoreFiles.names(in: directory).filter {
            $0.bytes.starts(with: Self.newPrefix) || $0.bytes.starts(with: Self.oldPrefix)
        }.map { directory.appending($0) }
    }

    /// Removes a tree with everything mounted in it; an absent one is fine (drivers.md 1.11).
    static func remove(_ path: PathBytes) throws(LayerError) {
        try KernelMount.unmountAll(atOrBelow: path)
        // A mount that another namespace is letting go of keeps a directory busy for a moment.
        for attempt in 0... {
            do throws(LayerError) {
                try TreeRemoval.remove(path)
                return
            } catch {
                // ENOTEMPTY: an unpacking that has not heard yet that its stream broke goes on writing into it.
                guard error.code == .inUse || error.code == .alreadyExists, attempt < 50 else { throw error }
                try KernelMount.unmountAll(atOrBelow: path)
                ProcessState.sleep(milliseconds: 100)
            }
        }
    }
}
