import LayerCompression
package import LayerEngine
package import LayerModel
import LayerMounts
import LayerPacking
package import LinuxIO

/// Layers of which each is shown at a path of its own, whoever mounts it: `<layers>/<id>/fs`.
///
/// `fs` is a directory with the layer's contents; or it is packed, and `fs` is a link to where the layer in `packed` beside it is
/// mounted. After a restart of the machine the link leads nowhere until the layer is mounted again, and whoever uses it meanwhile
/// is told so, instead of seeing an empty layer. What else may lie there a change of form left that did not end.
package struct PackedContentsView: Sendable {
    /// Where the layers lie.
    let layers: PathBytes
    /// Where they are mounted. No other store's are.
    let mounts: PathBytes

    /// `layers` must be absolute.
    package init(layers: PathBytes) {
        self.layers = layers
        let name = String(Digest.of(layers.bytes.rawBytes).hexadecimal.prefix(16))
        mounts = PathBytes("/run/containerd-ldiff/erofs").appending(name)
    }

    /// Names that may lie beside `fs`.
    enum Part {
        static let packed = "packed"
        /// A layer that is being packed.
        static let packing = "packing"
        /// The link, before it takes the place of the directory.
        static let link = "link"
        /// A packed layer that is being unpacked.
        static let unpacking = "unpacking"
        static let all = [packed, packing, link, unpacking]
    }

    func layer(_ id: Int64) -> PathBytes { layers.appending("\(id)") }
    func contents(_ id: Int64) -> PathBytes { layer(id).appending("fs") }
    func part(_ name: String, of id: Int64) -> PathBytes { layer(id).appending(name) }

    /// Whether the layer is packed.
    package func isPacked(_ id: Int64) throws(LayerError) -> Bool { try StoreFiles.readLink(contents(id)) != nil }

    /// The files of a layer that is packed, as long as its record says.
    package func files(_ id: Int64) throws(LayerError) -> PackedLayerFiles {
        try PackedLayerFiles(part(Part.packed, of: id))
    }

    /// What is recorded of a layer that is packed, whatever its files are.
    func record(_ id: Int64) throws(LayerError) -> PackRecord {
        try PackedLayerFiles(recordedIn: part(Part.packed, of: id)).record
    }

    /// Where the layer of these files is mounted. The name has a part of the index's digest: whatever an earlier store at the same
    /// path left mounted is not taken for it, unless it shows the same.
    func mountPoint(_ id: Int64, _ files: PackedLayerFiles) -> PathBytes {
        let digest = Digest(bytes: files.record.index.digest).map { $0.hexadecimal.prefix(16) } ?? ""
        return mounts.appending("\(id)-\(digest)")
    }

    /// The id in the name of a mount point.
    static func id(ofMount name: PathBytes) -> Int64? {
        let parts = name.bytes.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        let random = PathBytes(Array("-".utf8) + (parts.last ?? []))
        guard parts.count == 2, StoreFiles.isRandomName(random, Array("-".utf8)),
            let id = Int64(String(decoding: parts[0], as: UTF8.self)), Array("\(id)".utf8) == Array(parts[0])
        else { return nil }
        return id
    }

    /// Allocated bytes and inodes of a packed layer, its directory included.
    package func usage(_ id: Int64) throws(LayerError) -> (bytes: Int64, inodes: Int64) {
        let place = part(Part.packed, of: id)
        var (bytes, inodes) = (Int64(0), Int64(0))
        for path in try [place] + StoreFiles.names(in: place).map({ place.appending($0) }) {
            guard let found = try StoreFiles.metadata(path) else { continue }
            bytes += Int64(clamping: found.blocks * 512)
            inodes += 1
        }
        return (bytes, inodes)
    }

    /// The tar of a packed layer, as it came; nil for others. One that was made here has more in it than others may see of this host,
    /// and its difference is compared as that of a directory.
    package func stream(_ id: Int64) throws(LayerError) -> (stream: PackedStream, diffID: Digest)? {
        guard try isPacked(id) else { return nil }
        let files = try files(id)
        guard !files.record.isMadeHere, let diffID = Digest(bytes: files.record.tar.digest) else { return nil }
        return (PackedStream(files), diffID)
    }

    /// What is wrong with a packed layer; nil where nothing is. Reads its index, and not its tar.
    package func problem(_ id: Int64) throws(LayerError) -> (text: String, isIndex: Bool)? {
        let files: PackedLayerFiles
        do throws(LayerError) {
            files = try PackedLayerFiles(recordedIn: part(Part.packed, of: id))
            try files.checkTar()
        } catch {
            guard error.code == .corruptLayer || error.code == .notFound else { throw error }
            return ("\(error)", false)
        }
        do throws(LayerError) {
            try files.checkIndex()
            try files.checkIndexDigest()
        } catch {
            guard error.code == .corruptLayer || error.code == .notFound else { throw error }
            return ("\(error)", true)
        }
        return nil
    }
}

/// A packed layer's tar, to be written as often as is wanted.
package struct PackedStream: Sendable {
    private let files: PackedLayerFiles

    init(_ files: PackedLayerFiles) { self.files = files }

    /// Writes all of it into `sink`, which is not finished.
    package func write<Sink: ByteSink & ~Copyable>(
        into sink: inout Sink, cancel: CancelFlag
    ) throws(LayerError) -> DiffReport {
        try StoredStream(files).write(into: &sink, cancel: cancel, progress: nil)
    }
}
