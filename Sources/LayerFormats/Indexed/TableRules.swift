import LayerCompression
import LayerModel

/// What is wrong with an object of a table.
struct TableProblem {
    var code = LayerError.Code.corruptLayer
    var reason: String

    init(_ reason: String, _ code: LayerError.Code = .corruptLayer) {
        self.reason = reason
        self.code = code
    }
}

/// The rules that the entries of a table keep among each other.
struct TableRules {
    private var seen = NameTable()
    private var cleaned = CleanName()
    /// Bytes of the open file that have pieces.
    private var covered: Int64 = 0
    private var contents: Int64 = 0
    /// Digests of runs of zeros by their length, the last few.
    private var zeroDigests: [(Int64, Digest)] = []

    /// Adds an object; says what is wrong with it, or nothing.
    mutating func add(_ object: TableObject, to table: inout IndexTable) -> TableProblem? {
        object.isChunk ? addChunk(object, to: &table) : addEntry(object, to: &table)
    }

    private mutating func addEntry(_ object: TableObject, to table: inout IndexTable) -> TableProblem? {
        if let last = table.entries.last, isOpen(last) { return TableProblem("the file before it lacks pieces") }
        var entry = object.entry
        if let problem = checkNames(entry, table) { return problem }
        entry.pieces = table.pieces.count..<table.pieces.count
        covered = 0
        let hasContents = entry.kind == .reg && entry.size > 0
        guard !hasContents else {
            guard entry.digest != nil else { return TableProblem("it has no digest") }
            let (sum, isOver) = contents.addingReportingOverflow(entry.size)
            if isOver { return TableProblem("the files are too large", .limitExceeded) }
            contents = sum
            table.entries.append(entry)
            return addPiece(object, to: &table)
        }
        if object.hasContentsField { return TableProblem("it has no contents, but pieces of them") }
        table.entries.append(entry)
        return nil
    }

    private mutating func addChunk(_ object: TableObject, to table: inout IndexTable) -> TableProblem? {
        guard let last = table.entries.last, isOpen(last), covered > 0 else {
            return TableProblem("a piece that belongs to no file")
        }
        guard bytesEqual(table.text(last.name), table.text(object.name)) else {
            return TableProblem("a piece of another file than the one before it")
        }
        guard object.entry.endOffset == nil, object.entry.digest == nil else {
            return TableProblem("a piece that says what only files say")
        }
        return addPiece(object, to: &table)
    }

    /// Whether a file's pieces do not reach its end yet.
    private func isOpen(_ entry: IndexTable.Entry) -> Bool {
        entry.kind == .reg && entry.size > 0 && covered < entry.size
    }

    private mutating func addPiece(_ object: TableObject, to table: inout IndexTable) -> TableProblem? {
        let entry = table.entries[table.entries.count - 1]
        guard let offset = object.offset, offset > 0 else { return TableProblem("a piece without a place") }
        guard object.chunkOffset ?? 0 == covered else { return TableProblem("pieces overlap or leave a gap") }
        let isLastOfGzip = table.format == .estargz && (object.chunkSize ?? 0) == 0
        let isOnly = table.format == .zstdChunked && !object.isChunk && object.chunkSize == nil
        let byteCount = isLastOfGzip || isOnly ? entry.size - covered : object.chunkSize ?? 0
        guard byteCount > 0, byteCount <= entry.size - covered else {
            return TableProblem("pieces are longer than the file, or empty")
        }
        if isOnly, object.chunkDigest != nil || object.isZeros {
            return TableProblem("a file of one piece has fields of several")
        }
        if table.format == .zstdChunked, !object.isChunk, !isOnly, byteCount == entry.size {
            return TableProblem("a file of one piece has fields of several")
        }
        if !isOnly, object.chunkDigest == nil { return TableProblem("a piece without a digest") }
        if object.isZeros, object.chunkDigest != digest(zeros: byteCount) {
            return TableProblem("a run of zeros has the digest of something else")
        }
        if let last = table.pieces.last {
            let isLater =
                offset > last.offset
                || table.format == .estargz && offset == last.offset
                    && object.innerOffset ?? 0 >= last.innerOffset + last.byteCount
            guard isLater else { return TableProblem("pieces overlap, or lie in another order than the files") }
        }
        table.pieces.append(
            IndexTable.Piece(
                offset: offset, innerOffset: object.innerOffset ?? 0, fileOffset: covered, byteCount: byteCount,
                digest: object.chunkDigest ?? entry.digest, isZeros: object.isZeros))
        table.entries[table.entries.count - 1].pieces = entry.pieces.lowerBound..<table.pieces.count
        covered += byteCount
        return nil
    }

    private mutating func checkNames(_ entry: IndexTable.Entry, _ table: IndexTable) -> TableProblem? {
        let name = table.text(entry.name)
        guard name.byteCount <= 4096, table.text(entry.linkName).byteCount <= 4096 else {
            return TableProblem("its name is too long")
        }
        var start = 0
        for index in 0...name.byteCount {
            guard index == name.byteCount || name[index] == UInt8(ascii: "/") else {
                if name[index] == 0 { return TableProblem("its name has a NUL in it") }
                continue
            }
            let component = name.extracting(start..<index)
            if component.byteCount > 259 { return TableProblem("a part of its name is too long") }
            if bytes(component, equal: "..") { return TableProblem("its name leads out of the layer", .unsafePath) }
            start = index + 1
        }
        if entry.kind == .hardlink {
            cleaned.set(table.text(entry.linkName))
            guard seen.contains(cleaned.hash) else {
                return TableProblem("a link to a file that does not come before it")
            }
        }
        cleaned.set(name)
        return seen.insert(cleaned.hash, bit: false) == nil ? nil : TableProblem("it comes twice")
    }

    private mutating func digest(zeros count: Int64) -> Digest {
        if let known = zeroDigests.first(where: { $0.0 == count }) { return known.1 }
        var state = DigestState()
        let zeros = IndexedZeros.slab
        var left = count
        while left > 0 {
            let part = Int(min(left, Int64(zeros.capacity)))
            state.update(zeros.span(0..<part))
            left -= Int64(part)
        }
        if zeroDigests.count == 64 { zeroDigests.removeFirst() }
        zeroDigests.append((count, state.finalize()))
        return state.finalize()
    }

    /// Looks at what only the end shows; `tableOffset` is where the table begins in the layer, its frame's header included.
    mutating func finish(
        _ table: inout IndexTable, tableOffset: UInt64, _ limits: IndexLimits
    ) -> LayerError? {
        func error(_ reason: String, _ entry: IndexTable.Entry, _ code: LayerError.Code = .corruptLayer) -> LayerError {
            LayerError(
                code, "read the table of contents", path: PathBytes(table.text(entry.name).copied()),
                cause: .reason(reason))
        }
        if let last = table.entries.last, isOpen(last) { return error("it lacks pieces", last) }
        if contents > limits.contents {
            return LayerError(
                .limitExceeded, "read the table of contents", cause: .reason("the files are too large"))
        }
        for entry in table.entries where !entry.pieces.isEmpty {
            let next =
                entry.pieces.upperBound < table.pieces.count
                ? table.pieces[entry.pieces.upperBound].offset : tableOffset
            let end = entry.endOffset ?? next
            guard let last = entry.pieces.last, table.pieces[last].offset < end || table.format == .estargz,
                end <= next, end <= tableOffset, table.pieces[last].offset < tableOffset
            else { return error("its pieces lie outside the layer's data", entry) }
            guard table.format == .estargz || entry.endOffset != nil else { return error("it has no end", entry) }
            for index in entry.pieces {
                let piece = table.pieces[index]
                let pieceEnd = index + 1 < entry.pieces.upperBound ? table.pieces[index + 1].offset : end
                // What is not longer than our own pieces harms nobody.
                guard piece.byteCount > PieceCutter.longest, !piece.isZeros, table.format == .zstdChunked else {
                    continue
                }
                let (bound, isOver) = Int64(pieceEnd - piece.offset).multipliedReportingOverflow(by: limits.ratio)
                // A file of zeros only is one piece, which does not say what it is.
                if !isOver, piece.byteCount > bound, piece.digest != digest(zeros: piece.byteCount) {
                    return error("it is compressed more than can be", entry, .limitExceeded)
                }
            }
        }
        return nil
    }
}
