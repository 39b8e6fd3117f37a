import Glibc
import LayerDrivers
package import LayerModel
import LinuxIO

/// Gives Docker's records of images and containers to another driver, so that its daemon finds its layers in their new store.
///
/// Docker keeps the records of images and layers in `image/DRIVER` of its directory, and the driver's name in each container's
/// `config.v2.json`. The first are copied; of the others, what was there is kept beside as `config.v2.json.DRIVER`.
package final class DockerMove: Sendable {
    private let root: PathBytes
    private let from: DriverName
    private let to: DriverName
    private let locks: DockerLocks

    /// Looks whether the records can be moved, before anything is written.
    ///
    /// `root` is Docker's directory, such as /var/lib/docker. Throws `notFound` where it has no records of the driver `from`,
    /// `inUse` while a daemon runs, `alreadyExists` where it has other records of the driver `to`.
    package init(of root: PathBytes, from: DriverName, to: DriverName) throws(LayerError) {
        guard from != to else {
            throw LayerError(
                .invalidArgument, "move Docker's records", path: root,
                cause: .reason("both stores are of the driver \(from.rawValue)"))
        }
        self.root = root
        self.from = from
        self.to = to
        locks = try DockerLocks(root, "move Docker's records")
        guard try Self.isDirectory(images(from)) else {
            throw LayerError(
                .notFound, "move Docker's records", path: images(from),
                cause: .reason("Docker has no records of this driver"))
        }
        let (known, wanted) = (try layers(to), try layers(from))
        guard known.isEmpty || known == wanted else {
            throw LayerError(
                .alreadyExists, "move Docker's records", path: images(to),
                cause: .reason("Docker has other images of this driver already"),
                hint: "move that directory away if they are not needed")
        }
        _ = try containers()
    }

    /// Copies the records, and names the new driver in those of containers. Returns how many containers those were.
    package func run() throws(LayerError) -> Int {
        let records = try containers()
        if try !hasSameLayers() { try copyImages() }
        for (path, record) in records {
            let kept = PathBytes(path.bytes + Array(".\(from.rawValue)".utf8))
            if try Self.metadata(kept) == nil { try Self.write(record.original, to: kept, like: path) }
            try Self.write(record.moved, to: path, like: path)
        }
        return records.count
    }

    // MARK: images

    private func images(_ driver: DriverName) -> PathBytes { root.appending("image").appending(driver.rawValue) }

    private func layers(_ driver: DriverName) throws(LayerError) -> Set<PathBytes> {
        let database = images(driver).appending("layerdb")
        var names: Set<PathBytes> = []
        for part in ["sha256", "mounts"] {
            for name in try DockerRecords.names(in: database.appending(part)) {
                names.insert(PathBytes(part + "/").joined(name))
            }
        }
        return names
    }

    /// Whether an earlier run, or somebody else, has copied them.
    private func hasSameLayers() throws(LayerError) -> Bool {
        let wanted = try layers(from)
        guard !wanted.isEmpty else { return false }
        return try layers(to) == wanted
    }

    /// Copied beside and moved to its place, so that the records are there as a whole or not at all. Empty ones that a daemon
    /// has made go out of the way, and are kept.
    private func copyImages() throws(LayerError) {
        let digits = String(UInt64.random(in: .min ... .max), radix: 16)
        let part = PathBytes("\(TemporaryName.prefix)\(to.rawValue)-\(digits)")
        let target = PathBytes(to.rawValue)
        let folder = root.appending("image")
        do throws(LayerError) {
            try Self.attempt("copy Docker's records", folder) { () throws(SystemCallError) in
                let parent = try folder.open([.pathOnly, .directory])
                try part.withName { (name) throws(SystemCallError) in try parent.makeDirectory(name, mode: 0o700) }
            }
            var options = TreeCopyOptions()
            options.attributes = .all
            options.sourcePath = images(from)
            let (source, copy) = try Self.attempt("copy Docker's records", images(from)) {
                () throws(SystemCallError) in
                (
                    LockedFile(try images(from).open([.readOnly, .directory])),
                    LockedFile(try folder.appending(part).open([.readOnly, .directory]))
                )
            }
            _ = try TreeCopy.copy(source.file, to: copy.file, options: options)
            try Self.attempt("write to disk", folder) { () throws(SystemCallError) in
                try copy.file.syncFileSystem()
                let parent = try folder.open([.readOnly, .directory])
                if try target.withName({ (name) throws(SystemCallError) in try parent.metadataIfPresent(name) }) != nil
                {
                    let old = PathBytes("\(to.rawValue).before-\(digits)")
                    try Self.rename(target, to: old, in: parent)
                }
                try Self.rename(part, to: target, in: parent)
                try parent.sync()
            }
        } catch {
            try? TreeRemoval.remove(folder.appending(part))
            throw error
        }
    }

    // MARK: containers

    private struct MovedRecord {
        let original: [UInt8]
        let moved: [UInt8]
    }

    /// The records of the containers whose layers are the old driver's, by their paths.
    private func containers() throws(LayerError) -> [(PathBytes, MovedRecord)] {
        var found: [(PathBytes, MovedRecord)] = []
        let folder = root.appending("containers")
        for name in try DockerRecords.names(in: folder) {
            let path = folder.appending(name).appending("config.v2.json")
            guard let bytes = try Self.read(path) else { continue }
            guard let record = ContainerRecord(bytes) else {
                throw LayerError(
                    .corruptLayer, "read Docker's record of a container", path: path,
                    cause: .reason("it names no driver"), hint: "remove the container with docker rm first")
            }
            guard record.driver == from.rawValue else { continue }
            found.append((path, MovedRecord(original: bytes, moved: record.moved(to: to))))
        }
        return found
    }

    // MARK: files

    private static func attempt<Result>(
        _ operation: String, _ path: PathBytes, _ body: () throws(SystemCallError) -> Result
    ) throws(LayerError) -> Result {
        do throws(SystemCallError) { return try body() } catch { throw LayerError(error, operation, path: path) }
    }

    private static func rename(_ name: PathBytes, to target: PathBytes, in parent: borrowing OwnedDescriptor)
        throws(SystemCallError)
    {
        try name.withName { (name) throws(SystemCallError) in
            try target.withName { (target) throws(SystemCallError) in
                try parent.rename(name, to: target, in: parent, exclusive: true)
            }
        }
    }

    private static func metadata(_ path: PathBytes) throws(LayerError) -> EntryMetadata? {
        do throws(SystemCallError) { return try path.open([.pathOnly, .noFollow]).metadata() } catch {
            if error.errno == ENOENT || error.errno == ENOTDIR { return nil }
            throw LayerError(error, "look at", path: path)
        }
    }

    private static func isDirectory(_ path: PathBytes) throws(LayerError) -> Bool {
        try metadata(path)?.kind == .directory
    }

    /// A record as a whole; nil where there is none. Docker's are some kilobytes.
    private static func read(_ path: PathBytes) throws(LayerError) -> [UInt8]? {
        try attempt("read Docker's record of a container", path) { () throws(SystemCallError) in
            guard let file = try path.openRegular() else { return nil }
            return try file.contents(limit: 16 << 20)
        }
    }

    /// Puts bytes into a file, in one step and on disk, with the mode and owner of another.
    private static func write(_ bytes: [UInt8], to path: PathBytes, like model: PathBytes) throws(LayerError) {
        guard let (directory, name) = path.splitLast(), let like = try metadata(model) else { return }
        let part = PathBytes(Array(TemporaryName.prefix.utf8) + name.bytes)
        try attempt("write Docker's record of a container", path) { () throws(SystemCallError) in
            let parent = try directory.open([.readOnly, .directory])
            try part.withName { (part) throws(SystemCallError) in
                do throws(SystemCallError) { try parent.unlink(part) } catch {
                    if error.errno != ENOENT { throw error }
                }
                do throws(SystemCallError) {
                    let file = try parent.open(part, [.create, .exclusive, .noFollow, .writeOnly], mode: 0o600)
                    try file.writeAll(bytes.rawBytes)
                    try file.setOwner(uid: like.uid, gid: like.gid)
                    try file.setMode(like.mode & 0o7777)
                    try file.sync()
                    try name.withName { (name) throws(SystemCallError) in
                        try parent.rename(part, to: name, in: parent)
                    }
                } catch {
                    try? parent.unlink(part)
                    throw error
                }
            }
            try parent.sync()
        }
    }
}

extension PathBytes {
    fileprivate func joined(_ name: PathBytes) -> PathBytes { PathBytes(bytes + name.bytes) }
}
