import LayerModel

/// A gzip member that is made in memory.
public struct MemberBody: ~Copyable {
    private let deflater: PieceDeflater
    private let piece = Slab(capacity: PieceDeflater.window + GzipPiece.byteCount, headroom: PieceDeflater.window)
    private let output = Slab(capacity: PieceDeflater.outputBound(GzipPiece.byteCount))
    private var history = 0
    private var checksum = ChecksumCombiner()
    private var bytes = GzipMember.header
    private var byteCount: UInt64 = 0

    public init(level: Int) { deflater = PieceDeflater(level: level) }

    public mutating func append(_ bytes: RawSpan) {
        var at = 0
        while at < bytes.byteCount {
            let count = min(bytes.byteCount - at, piece.capacity - piece.end)
            piece.append(bytes.extracting(at..<at + count))
            at += count
            if piece.end == piece.capacity { flush() }
        }
    }

    /// The whole member.
    public consuming func finish() -> [UInt8] {
        flush()
        return bytes + GzipMember.trailer(checksum.checksum, byteCount)
    }

    private mutating func flush() {
        guard piece.count > 0 else { return }
        output.end = 0
        checksum.append(deflater.deflate(piece, history: history, into: output), length: piece.count)
        bytes += output.bytes.copied()
        byteCount += UInt64(piece.count)
        history = min(piece.count, PieceDeflater.window)
        piece.copy(piece.span(piece.end - history..<piece.end), at: piece.start - history)
        piece.end = piece.start
    }
}
