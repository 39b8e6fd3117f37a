import LayerCompression
public import LayerModel
public import LinuxIO

/// A file's contents as pieces, cut where zstd:chunked cuts them.
public struct CutPiece: Sendable, Equatable {
    public var offset: Int64
    public var byteCount: Int64
    public var digest: Digest

    /// Cuts a file that is read from its beginning. Runs of zeros are left out: nobody has to read them anywhere.
    public static func pieces(
        of file: borrowing OwnedDescriptor, cancel: CancelFlag? = nil
    ) throws(LayerError) -> [CutPiece] {
        var list = CutList()
        let slab = Slab(capacity: 256 << 10)
        var offset: Int64 = 0
        while true {
            try cancel?.check("read what may be reused")
            let count: Int
            do throws(SystemCallError) {
                count = try file.read(into: slab, 0..<slab.capacity, at: offset)
            } catch {
                throw LayerError(error, "read what may be reused", path: nil)
            }
            guard count > 0 else { break }
            offset += Int64(count)
            list.take(slab.span(0..<count))
        }
        return list.finish()
    }
}

private struct CutList {
    private var cutter = PieceCutter()
    private var pieces: [CutPiece] = []
    private var state = DigestState()
    private var start: Int64 = 0
    private var position: Int64 = 0

    mutating func take(_ window: RawSpan) {
        var at = 0
        while at < window.byteCount {
            let step = cutter.next(window, from: at)
            add(step, window)
            at = step.consumed
        }
    }

    mutating func finish() -> [CutPiece] {
        while let step = cutter.finish() { add(step, RawSpan()) }
        endPiece()
        return pieces
    }

    private mutating func add(_ step: PieceCutter.Step, _ window: RawSpan) {
        var zeros = step.zeros
        while zeros > 0 {
            let slab = IndexedZeros.slab
            let count = min(zeros, slab.count)
            state.update(slab.span(0..<count))
            zeros -= count
        }
        if !step.range.isEmpty { state.update(window.extracting(step.range)) }
        position += Int64(step.zeros + step.range.count)
        if step.cuts || step.zeroRun > 0 { endPiece() }
        if step.zeroRun > 0 {
            position += step.zeroRun
            start = position
        }
    }

    private mutating func endPiece() {
        guard position > start else { return }
        pieces.append(CutPiece(offset: start, byteCount: position - start, digest: state.finalize()))
        state = DigestState()
        start = position
    }
}

extension PartialLayer {
    /// The files that it has contents of, each with its name as the table has it, and whether it comes in several pieces.
    public func visitContents(_ body: (_ name: RawSpan, _ byteCount: Int64, _ digest: Digest, _ isCut: Bool) -> Void) {
        let table = index.table
        for entry in table.entries where !entry.pieces.isEmpty {
            guard let digest = entry.digest else { continue }
            body(table.name(entry), entry.size, digest, entry.pieces.count > 1 && table.format == .zstdChunked)
        }
    }
}
