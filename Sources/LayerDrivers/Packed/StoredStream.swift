public import LayerEngine
public import LayerModel
import LayerPacking
public import LinuxIO
import Synchronization

/// A packed layer's own tar, open to be read.
public struct StoredStream: ~Copyable, Sendable {
    private let tar: OwnedDescriptor
    private let path: PathBytes
    /// Its length.
    public let byteCount: UInt64
    /// The digest that it had when it came.
    public let digest: Digest
    /// Whether it was made here of a directory, with all that this host's files have: it is none to be given to others.
    let isMadeHere: Bool
    private let entryCount: UInt64
    private let fileBytes: UInt64

    private static let piece = 1 << 20

    /// Opens the tar of a packed layer.
    init(_ files: PackedLayerFiles) throws(LayerError) {
        let path = files.path(PackedNames.tar)
        guard let digest = Digest(bytes: files.record.tar.digest) else {
            throw LayerError(
                .corruptLayer, "read the layer's tar", path: path, cause: .reason("its record has no digest of it"),
                hint: "remove the layer and unpack it again")
        }
        tar = try attempt("read the layer's tar", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .noFollow])
        }
        self.path = path
        byteCount = files.record.tar.byteCount
        self.digest = digest
        isMadeHere = files.record.isMadeHere
        entryCount = files.record.entries
        fileBytes = files.record.uniqueFileBytes
    }

    /// Writes all of it into `sink`, which is not finished.
    ///
    /// Throws `corruptLayer` where it has another length than it had.
    public consuming func write<Sink: ByteSink & ~Copyable>(
        into sink: inout Sink, cancel: CancelFlag, progress: Progress?
    ) throws(LayerError) -> DiffReport {
        let pool = SlabPool(slabCapacity: Self.piece, keep: 4)
        var done: UInt64 = 0
        while true {
            try cancel.check("read the layer's tar")
            let slab = pool.take()
            let path = path
            let count = try attempt("read the layer's tar", path) { () throws(SystemCallError) in
                try tar.read(into: slab, 0..<slab.capacity)
            }
            guard count > 0 else { break }
            slab.end = count
            done += UInt64(count)
            try sink.write(slab, returningTo: pool)
            progress?.bytes.store(done, ordering: .relaxed)
        }
        guard done == byteCount else {
            throw LayerError(
                .corruptLayer, "read the layer's tar", path: path,
                cause: .reason("it has \(done) bytes, and the record says \(byteCount)"),
                hint: "remove the layer and unpack it again")
        }
        var report = DiffReport()
        report.entries = Int(entryCount)
        report.bytes = done
        report.size = fileBytes
        return report
    }
}
