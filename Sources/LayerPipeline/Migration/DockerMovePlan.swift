import Glibc
import LayerDrivers
package import LayerModel
import LinuxIO

/// What has to be done so that Docker finds its images and containers with another driver; it only looks, also beside a
/// running daemon, whose records may then change.
package struct DockerMovePlan: Sendable {
    let root: PathBytes
    let from: DriverName
    let to: DriverName

    /// Looks whether the records can be moved.
    ///
    /// `root` is Docker's directory, such as /var/lib/docker. Throws `notFound` where it has no records of the driver `from`,
    /// `alreadyExists` where it has other records of the driver `to`.
    package init(of root: PathBytes, from: DriverName, to: DriverName) throws(LayerError) {
        guard from != to else {
            throw LayerError(
                .invalidArgument, "move Docker's records", path: root,
                cause: .reason("both stores are of the driver \(from.rawValue)"))
        }
        self.root = root
        self.from = from
        self.to = to
        try check()
    }

    /// Looks again, since time has passed.
    func check() throws(LayerError) {
        guard try Self.metadata(images(from))?.kind == .directory else {
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

    /// How many containers would get another driver.
    package var containerCount: Int {
        get throws(LayerError) { try containers().count }
    }

    // MARK: images

    func images(_ driver: DriverName) -> PathBytes { root.appending("image").appending(driver.rawValue) }

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
    func hasSameLayers() throws(LayerError) -> Bool {
        let wanted = try layers(from)
        guard !wanted.isEmpty else { return false }
        return try layers(to) == wanted
    }

    // MARK: containers

    struct MovedRecord {
        let original: [UInt8]
        let moved: [UInt8]
    }

    /// The records of the containers whose layers are the old driver's, by their paths.
    func containers() throws(LayerError) -> [(PathBytes, MovedRecord)] {
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

    static func metadata(_ path: PathBytes) throws(LayerError) -> EntryMetadata? {
        do throws(SystemCallError) { return try path.open([.pathOnly, .noFollow]).metadata() } catch {
            if error.errno == ENOENT || error.errno == ENOTDIR { return nil }
            throw LayerError(error, "look at", path: path)
        }
    }

    /// A record as a whole; nil where there is none. Docker's are some kilobytes.
    static func read(_ path: PathBytes) throws(LayerError) -> [UInt8]? {
        do throws(SystemCallError) {
            guard let file = try path.openRegular() else { return nil }
            return try file.contents(limit: 16 << 20)
        } catch {
            throw LayerError(error, "read Docker's record of a container", path: path)
        }
    }
}

extension PathBytes {
    fileprivate func joined(_ name: PathBytes) -> PathBytes { PathBytes(bytes + name.bytes) }
}
