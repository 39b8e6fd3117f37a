/// The data extents of a sparse file, bounded in number and checked before anyone sees them (R8).
struct SparseMap {
    struct Extent: BitwiseCopyable {
        var offset: Int64
        var length: Int64
    }

    private(set) var extents: [Extent] = []
    /// An offset whose length has not come yet.
    private var offset: Int64?
    /// The number being read from a map in text, nil between numbers.
    private var number: Int64?
    /// Extents that a map in text has announced.
    private var announced: Int64?

    var count: Int { extents.count }
    var hasHalfExtent: Bool { offset != nil }

    mutating func removeAll() {
        extents.removeAll(keepingCapacity: true)
        offset = nil
        number = nil
        announced = nil
    }

    /// Takes an extent's offset; nil stands for a malformed number.
    mutating func takeOffset(_ value: Int64?) -> TarProblem? {
        guard let value, value >= 0, offset == nil else { return TarProblem(.invalidHeader, .badSparseMap) }
        offset = value
        return nil
    }

    /// Takes the length that belongs to the offset before it.
    mutating func takeLength(_ value: Int64?, _ limits: TarLimits) -> TarProblem? {
        guard let value, value >= 0, let start = offset else { return TarProblem(.invalidHeader, .badSparseMap) }
        guard extents.count < limits.sparseExtents else { return TarProblem(.limitExceeded, .sparseMapTooLong) }
        extents.append(Extent(offset: start, length: value))
        offset = nil
        return nil
    }

    /// Takes the entries of an old GNU header or extension block, up to the first that begins with NUL.
    mutating func takeEntries(_ bytes: [UInt8], at start: Int, count: Int, _ limits: TarLimits) -> TarProblem? {
        let block = bytes.span
        for index in 0..<count {
            let at = start + index * 24
            if block[at] == 0 { break }
            if let problem = takeOffset(TarNumber.parse(from: at, count: 12, in: block)) { return problem }
            if let problem = takeLength(TarNumber.parse(from: at + 12, count: 12, in: block), limits) {
                return problem
            }
        }
        return nil
    }

    /// Takes a map of format 0.1, `offset,length,...`, which must have the announced number of extents.
    mutating func takeList(_ text: Span<UInt8>, announced: Int64, _ limits: TarLimits) -> TarProblem? {
        var start = 0
        let end = text.count
        // A map of no extents is an empty text, not one empty number.
        for index in min(1, end)..<end + min(1, end) where index == end || text[index] == UInt8(ascii: ",") {
            let value = PaxReader.decimal(text.extracting(start..<index))
            if let problem = offset == nil ? takeOffset(value) : takeLength(value, limits) { return problem }
            start = index + 1
        }
        let isComplete = offset == nil && Int64(extents.count) == announced
        return isComplete ? nil : TarProblem(.invalidHeader, .badSparseMap)
    }

    enum TextResult {
        case more
        case complete
        case problem(TarProblem)
    }

    /// Takes a block of a map of format 1.0: the number of extents, then offsets and lengths, a line each.
    mutating func takeText(_ bytes: [UInt8], _ limits: TarLimits) -> TextResult {
        let block = bytes.span
        for index in block.indices {
            if let digit = PaxReader.digit(block[index]) {
                let (shifted, overflow) = (number ?? 0).multipliedReportingOverflow(by: 10)
                let (sum, carry) = shifted.addingReportingOverflow(Int64(digit))
                if overflow || carry { return .problem(TarProblem(.invalidHeader, .badSparseMap)) }
                number = sum
                continue
            }
            guard block[index] == UInt8(ascii: "\n"), let value = number else {
                return .problem(TarProblem(.invalidHeader, .badSparseMap))
            }
            number = nil
            if let problem = takeLine(value, limits) { return .problem(problem) }
            if offset == nil && Int64(extents.count) == announced { return .complete }
        }
        return .more
    }

    private mutating func takeLine(_ value: Int64, _ limits: TarLimits) -> TarProblem? {
        guard announced != nil else {
            announced = value
            let isTooMany = value > Int64(limits.sparseExtents)
            return isTooMany ? TarProblem(.limitExceeded, .sparseMapTooLong) : nil
        }
        return offset == nil ? takeOffset(value) : takeLength(value, limits)
    }

    /// Checks that the extents are sorted, apart, inside the file and together as long as the stored bytes; then
    /// drops the empty ones.
    mutating func finish(size: Int64, stored: Int64) -> TarProblem? {
        var end: Int64 = 0
        var total: Int64 = 0
        for extent in extents {
            let (next, overflow) = extent.offset.addingReportingOverflow(extent.length)
            guard !overflow, extent.offset >= end, next <= size else {
                return TarProblem(.invalidHeader, .badSparseMap)
            }
            end = next
            // Cannot overflow: the extents are apart and end within `size`.
            total += extent.length
        }
        guard total == stored else { return TarProblem(.invalidHeader, .sparseSizeMismatch) }
        extents.removeAll { $0.length == 0 }
        return nil
    }
}
