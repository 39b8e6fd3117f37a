/// The sparse forms: old GNU headers with extension blocks, and PAX 0.0, 0.1 and 1.0 (R8).
extension TarDecoder {
    /// Begins an entry of type 'S', whose map starts in the header and may go on in extension blocks.
    mutating func startOldSparse() -> TarProblem? {
        guard header.format == .gnu else { return TarProblem(.invalidHeader, .sparseInWrongFormat) }
        guard let realSize = TarNumber.parse(Layout.gnuRealSize, in: block.span) else {
            return TarProblem(.invalidHeader, .badNumber)
        }
        guard realSize >= 0 else { return TarProblem(.invalidHeader, .negativeSize) }
        fields.size = realSize
        beginMap()
        let problem = sparse.takeEntries(
            block, at: Layout.gnuSparseMap, count: Layout.gnuSparseMapEntries, limits)
        if let problem { return problem }
        guard block[Layout.gnuIsExtended] == 0 else {
            state = .sparseBlocks
            return nil
        }
        return finishMap()
    }

    /// Takes an extension block of an old GNU map.
    mutating func takeMapBlock() -> TarProblem? {
        if let problem = countMapBlock() { return problem }
        if let problem = sparse.takeEntries(mapBlock, at: 0, count: Layout.extensionEntries, limits) {
            return problem
        }
        return mapBlock[Layout.extensionIsExtended] == 0 ? finishMap() : nil
    }

    /// Begins a sparse entry of version 0.0 or 0.1, with its map in the records, or 1.0, with its map in the body.
    mutating func startPaxSparse(_ version: PaxValues.SparseVersion) -> TarProblem? {
        if version == .unknown { return TarProblem(.invalidHeader, .unknownSparseVersion) }
        if TarType.isBodyless(fields.type) { return TarProblem(.invalidHeader, .sparseInWrongFormat) }
        if pax.has(.sparseName) { texts.name = paxPlace(.sparseName) }
        let sizeKey: PaxValues.Key = pax.has(.sparseSize) ? .sparseSize : .sparseRealSize
        if pax.has(sizeKey) {
            guard let size = pax.number(sizeKey) else { return TarProblem(.invalidHeader, .badPaxNumber) }
            guard size >= 0 else { return TarProblem(.invalidHeader, .negativeSize) }
            fields.size = size
        }
        beginMap()
        if version == .mapInBody {
            state = .sparseText
            return nil
        }
        guard let announced = pax.number(.sparseBlocks) else { return TarProblem(.invalidHeader, .badSparseMap) }
        if pax.sparse.count > 0 {
            swap(&sparse, &pax.sparse)
            guard Int64(sparse.count) == announced else { return TarProblem(.invalidHeader, .badSparseMap) }
        } else if let problem = pax.readMap(into: &sparse, announced: announced, limits) {
            return problem
        }
        return finishMap()
    }

    /// Takes a block of a map of format 1.0, which is part of the stored bytes.
    mutating func takeMapText() -> TarProblem? {
        if let problem = countMapBlock() { return problem }
        let blockSize = Int64(Layout.blockSize)
        guard storedByteCount >= blockSize else { return TarProblem(.invalidHeader, .sparseSizeMismatch) }
        storedByteCount -= blockSize
        switch sparse.takeText(mapBlock, limits) {
        case .more: return nil
        case .problem(let problem): return problem
        case .complete: return finishMap()
        }
    }

    private mutating func beginMap() {
        sparse.removeAll()
        mapBlocksRead = 0
        isSparse = true
    }

    private mutating func countMapBlock() -> TarProblem? {
        mapBlocksRead += 1
        let isTooLong = mapBlocksRead > limits.sparseMapText / Layout.blockSize
        return isTooLong ? TarProblem(.limitExceeded, .sparseMapTooLong) : nil
    }

    private mutating func finishMap() -> TarProblem? {
        if let problem = sparse.finish(size: fields.size, stored: storedByteCount) { return problem }
        return finishEntry()
    }
}
