import LayerModel
import LayerPacking
import LinuxIO

extension OverlayCheck {
    /// The files of a packed layer must be those of its record. An index is made again from its tar; nothing else can be.
    mutating func packed(_ id: LayerID) throws(LayerError) {
        let part = view.packedPart(id)
        try findings.addLeftovers(in: part, of: id)
        let files: PackedLayerFiles
        do throws(LayerError) {
            files = try PackedLayerFiles(recordedIn: part)
            try files.checkTar()
        } catch {
            guard error.code == .corruptLayer || error.code == .notFound else { throw error }
            findings.add(.packed, error.path ?? part, "\(error); remove the layer \(id) and unpack it again")
            return
        }
        do throws(LayerError) {
            try files.checkIndex()
            try files.checkIndexDigest()
        } catch {
            guard error.code == .corruptLayer || error.code == .notFound else { throw error }
            findings.add(
                .packed, files.path(PackedNames.index), "the index is not the one that was made",
                "it is made again from the layer's tar"
            ) { (mender) throws(LayerError) in
                try mender.guarded.withLock(id) { (_) throws(LayerError) in
                    try files.remakeIndex(mender.store.writer)
                }
            }
        }
    }
}
