import Glibc
package import LayerDrivers
package import LayerModel
import LinuxIO

/// What Docker's daemon keeps of the layers of a store, beside it in `image/DRIVER/layerdb`.
///
/// The driver overlay keeps no parents of image layers: only these records tell.
package struct DockerRecords: Sendable {
    /// The parent of each image layer that has one, by the store's ids.
    package let parents: [LayerID: LayerID]
    /// The record of each layer, by the store's ids.
    let directories: [LayerID: PathBytes]

    /// Reads the records of the store's driver below Docker's data directory; none where there are none.
    ///
    /// Throws where they are there and cannot be read. A record that is incomplete is left out, as Docker does.
    package init(of store: any StoreReader) throws(LayerError) {
        let configuration = store.configuration
        try self.init(
            database: configuration.root.appending("image").appending(store.name.rawValue).appending("layerdb"))
    }

    /// Reads the records in a directory like `/var/lib/docker/image/overlay/layerdb`.
    package init(database: PathBytes) throws(LayerError) {
        let records = database.appending("sha256")
        var ids: [[UInt8]: LayerID] = [:]
        var chains: [[UInt8]: [UInt8]] = [:]
        for name in try Self.names(in: records) {
            let record = records.appending(name)
            guard let text = try Self.read(record.appending("cache-id")), let id = try? LayerID(PathBytes(text)) else {
                continue
            }
            ids[name.bytes] = id
            // `sha256:` and the name of the parent's record.
            if let parent = try Self.read(record.appending("parent")), parent.starts(with: "sha256:".utf8) {
                chains[name.bytes] = Array(parent.dropFirst(7))
            }
        }
        var parents: [LayerID: LayerID] = [:]
        for (name, parent) in chains {
            guard let id = ids[name], let below = ids[parent] else { continue }
            parents[id] = below
        }
        self.parents = parents
        var directories: [LayerID: PathBytes] = [:]
        for (name, id) in ids { directories[id] = records.appending(PathBytes(name)) }
        self.directories = directories
    }

    /// The digest that a layer's tar had, if Docker kept it, and how large the layer counts as.
    func facts(_ record: PathBytes) throws(LayerError) -> (diffID: Digest?, size: UInt64) {
        let diff = try Self.read(record.appending("diff")).map { String(decoding: $0, as: UTF8.self) }
        let size = try Self.read(record.appending("size")).map { String(decoding: $0, as: UTF8.self) }
        return (diff.flatMap { Digest(parsing: $0) }, size.flatMap { UInt64($0) } ?? 0)
    }

    /// A layer's tar-split metadata, if Docker kept them.
    static func tarSplit(_ record: PathBytes) -> PathBytes { record.appending("tar-split.json.gz") }

    /// The names in a directory of Docker's, in no order; none where there is no such directory.
    static func names(in directory: PathBytes) throws(LayerError) -> [PathBytes] {
        do throws(SystemCallError) {
            let opened = try directory.open([.readOnly, .directory])
            var reader = DirectoryReader()
            var names: [PathBytes] = []
            while let entry = try reader.next(of: opened) { names.append(PathBytes(reader.name(of: entry).copied())) }
            return names
        } catch {
            // ENOENT, ENOTDIR: Docker never used this store.
            if error.errno == ENOENT || error.errno == ENOTDIR { return [] }
            throw LayerError(error, "read Docker's records", path: directory)
        }
    }

    /// A short file without white space at its end; nil where there is none.
    private static func read(_ path: PathBytes) throws(LayerError) -> [UInt8]? {
        do throws(SystemCallError) {
            guard let file = try path.openRegular() else { return nil }
            let slab = Slab(capacity: 4096)
            var bytes = slab.span(0..<(try file.read(into: slab, 0..<slab.capacity))).copied()
            while let last = bytes.last, last <= UInt8(ascii: " ") { bytes.removeLast() }
            return bytes.isEmpty ? nil : bytes
        } catch {
            throw LayerError(error, "read Docker's records", path: path)
        }
    }
}
