import LayerCompression
import LayerModel
import LayerPacking
import LinuxIO

extension PackedLayerFiles {
    /// Throws `corruptLayer` where the index has another digest than the record says.
    func checkIndexDigest() throws(LayerError) {
        let path = path(PackedNames.index)
        var state = DigestState()
        try readPieces(path) { (piece) throws(LayerError) in state.update(piece) }
        guard state.finalize().bytes == record.index.digest else {
            throw LayerError(
                .corruptLayer, "read the index", path: path, cause: .reason("it has another digest than it had"),
                hint: "ldiff layer check --repair makes it again")
        }
    }

    private func requireTar(_ digest: Digest) throws(LayerError) {
        guard digest.bytes != record.tar.digest else { return }
        throw LayerError(
            .corruptLayer, "read the layer's tar", path: path(PackedNames.tar),
            cause: .reason("it has another digest than it had"), hint: "remove the layer and unpack it again")
    }

    /// Makes the index again from the tar, if that is the one it was made from, and the result is what the record says.
    func remakeIndex(_ writer: StoreWriter) throws(LayerError) {
        var options = PackOptions()
        options.parents = record.binding == .free ? .unknown : .none
        options.userAttributes = record.userAttributes
        var packer = LayerPacker(options)
        var state = DigestState()
        try readPieces(path(PackedNames.tar)) { (piece) throws(LayerError) in
            state.update(piece)
            var position = 0
            while position < piece.byteCount {
                position += try packer.step(piece.extracting(position..<piece.byteCount)).consumed
            }
        }
        let digest = state.finalize()
        try requireTar(digest)
        let packed = try packer.finish()
        let made = path(".tmp-" + StoreFiles.randomText())
        do throws(LayerError) {
            let file = try OpenFile(made)
            let result = try PackedIndex.write(
                packed, of: digest, tarBytes: record.tar.byteCount, options, into: FileSink(file))
            guard result.index == record.index else {
                throw LayerError(
                    .corruptLayer, "make the index again", path: path(PackedNames.index),
                    cause: .reason("it was made with other options, or by another version"),
                    hint: "remove the layer and unpack it again")
            }
            try file.sync()
            try writer.move(made, over: path(PackedNames.index))
            try writer.sync(directory)
        } catch {
            try? writer.unlink(made)
            throw error
        }
    }

    private func readPieces(
        _ path: PathBytes, _ body: (RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) {
        let file = try attempt("read", path) { () throws(SystemCallError) in try path.open([.readOnly, .noFollow]) }
        let slab = Slab(capacity: 1 << 20)
        while true {
            let count = try attempt("read", path) { () throws(SystemCallError) in
                try file.read(into: slab, 0..<slab.capacity)
            }
            guard count > 0 else { return }
            try body(slab.span(0..<count))
        }
    }
}
