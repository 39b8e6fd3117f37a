import LayerCompression
import LayerModel

/// The text of a table of contents, as it is made: compressed to the frame that it will be, or kept until its length is known.
final class TableText {
    private var frame: ZstdSink<MemorySink>?
    private let packed = PackedText()
    private var state = DigestState()
    /// Bytes of the text.
    private(set) var byteCount: UInt64 = 0

    init(_ options: IndexedLayerOptions) throws(LayerError) {
        guard options.format == .zstdChunked else { return }
        frame = try ZstdSink(MemorySink(), level: options.level, workers: 1)
    }

    func append(_ text: RawSpan) throws(LayerError) {
        byteCount += UInt64(text.byteCount)
        guard frame == nil else { return try writeFrame(text) }
        state.update(text)
        try packed.append(text)
    }

    private func writeFrame(_ text: RawSpan) throws(LayerError) { try frame?.write(text) }

    /// The text as a zstd frame.
    func finishFrame() throws(LayerError) -> [UInt8] {
        try frame?.finish()
        return frame?.base.bytes ?? []
    }

    /// The digest of the text, where it is no frame.
    var digest: Digest { state.finalize() }

    func forEach(_ body: (RawSpan) throws(LayerError) -> Void) throws(LayerError) { try packed.forEach(body) }
}

/// Zeros that several have need of.
enum IndexedZeros {
    static let slab = Slab(capacity: 1 << 20, zeroed: 1 << 20)
}
