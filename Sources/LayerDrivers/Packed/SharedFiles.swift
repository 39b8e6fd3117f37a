import LayerModel
import LayerPacking
import LinuxIO
import Synchronization

/// Which layers of a store have which tar, so that one that comes again is not kept twice.
///
/// It only says where to look: what is so, that layer's record and files say at that moment.
final class KnownLayers: Sendable {
    /// Ids of layers, by the digests of their tars and of what these came from. Nil until somebody asks.
    private let known = Mutex<[Digest: Set<Int64>]?>(nil)

    /// Those that may have a tar or a source with this digest. `records` gives what the store holds, and is asked once.
    func layers(
        _ digest: Digest, _ records: () throws(LayerError) -> [(Int64, PackRecord)]
    ) throws(LayerError) -> [Int64] {
        try known.withLock { (known) throws(LayerError) in
            if known == nil {
                var found: [Digest: Set<Int64>] = [:]
                for (id, record) in try records() { Self.insert(id, record, into: &found) }
                known = found
            }
            return known?[digest]?.sorted(by: >) ?? []
        }
    }

    func insert(_ id: Int64, _ record: PackRecord) {
        known.withLock { known in
            guard var found = known.take() else { return }
            Self.insert(id, record, into: &found)
            known = consume found
        }
    }

    func remove(_ id: Int64, _ record: PackRecord) {
        known.withLock { known in
            for digest in Self.digests(record) {
                known?[digest]?.remove(id)
                if known?[digest]?.isEmpty == true { known?[digest] = nil }
            }
        }
    }

    private static func insert(_ id: Int64, _ record: PackRecord, into found: inout [Digest: Set<Int64>]) {
        for digest in digests(record) { found[digest, default: []].insert(id) }
    }

    private static func digests(_ record: PackRecord) -> Set<Digest> {
        Set([record.tar.digest, record.source?.digest ?? []].compactMap { Digest(bytes: $0) })
    }
}

extension PackedLayerFiles {
    /// The files of which several layers may have the same.
    private var shared: [String] {
        [PackedNames.tar, PackedNames.index] + (record.extra == nil ? [] : [PackedNames.extra])
    }

    /// Which of another layer's files have the bytes of this one's.
    private func equals(in other: PackedLayerFiles) -> [String] {
        func isSame(_ one: PackedFile, _ two: PackedFile) -> Bool {
            one.byteCount == two.byteCount && one.digest == two.digest && !one.digest.isEmpty
        }
        guard isSame(record.tar, other.record.tar) else { return [] }
        var names = [PackedNames.tar]
        // What lies in the third file the tar says; the index is another one of a lowest layer.
        if let extra = record.extra, extra.byteCount == other.record.extra?.byteCount {
            names.append(PackedNames.extra)
        }
        if isSame(record.index, other.record.index) { names.append(PackedNames.index) }
        return names
    }

    /// Lets those files of this layer that have the same bytes be those of `other`, under names of their own: what becomes of one of
    /// the layers does not touch the other's. Where that fails they stay what they are. Says whether all are the other's now.
    func become(_ other: PackedLayerFiles, _ writer: StoreWriter) -> Bool {
        let new = path(".tmp-" + StoreFiles.randomText())
        let names = equals(in: other)
        do throws(LayerError) {
            for name in names {
                try writer.link(other.path(name), as: new)
                try writer.move(new, over: path(name))
                // Where both are one file already that leaves both names.
                try writer.unlink(new)
            }
        } catch {
            // Too many names, another file system, no room; or the other layer was removed meanwhile.
            try? writer.unlink(new)
            return false
        }
        return names.count == shared.count
    }

    /// Makes a layer in the empty directory `place` of the files of this one, with a record of its own.
    func link(into place: PathBytes, _ record: PackRecord, _ writer: StoreWriter) throws(LayerError) {
        for name in shared { try writer.link(path(name), as: place.appending(name)) }
        let text = try OpenFile(place.appending(PackedNames.record))
        try text.write(record.text.rawBytes, at: 0)
    }

    /// Puts all of the layer on disk, names included.
    func sync(_ writer: StoreWriter) throws(LayerError) {
        for name in shared + [PackedNames.record] {
            let path = path(name)
            try attempt("sync", path) { () throws(SystemCallError) in try path.open([.readOnly, .noFollow]).sync() }
        }
        try writer.sync(directory)
    }
}
