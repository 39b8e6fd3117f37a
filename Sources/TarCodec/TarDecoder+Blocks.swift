/// Collecting blocks and payloads, and what single header blocks mean.
extension TarDecoder {
    @inline(__always)
    mutating func collectHeader(_ input: inout Input) -> Bool {
        let count = min(Layout.blockSize - blockFilled, input.left)
        Self.copy(input.take(count), into: &block, at: blockFilled)
        return collected(count)
    }

    mutating func collectMapBlock(_ input: inout Input) -> Bool {
        if mapBlock.isEmpty { mapBlock = [UInt8](repeating: 0, count: Layout.blockSize) }
        let count = min(Layout.blockSize - blockFilled, input.left)
        Self.copy(input.take(count), into: &mapBlock, at: blockFilled)
        return collected(count)
    }

    @inline(__always)
    private mutating func collected(_ count: Int) -> Bool {
        blockFilled += count
        offset &+= UInt64(count)
        guard blockFilled == Layout.blockSize else { return false }
        blockFilled = 0
        return true
    }

    @inline(__always)
    private static func copy(_ source: Span<UInt8>, into target: inout [UInt8], at start: Int) {
        var whole = target.mutableSpan
        var part = whole._mutatingExtracting(start..<start + source.count)
        for index in 0..<source.count { part[index] = source[index] }
    }

    /// Reads on in a meta payload, or passes over what the caller left of a body.
    mutating func skipOrCollect(_ input: inout Input) {
        let count = Int(min(Int64(input.left), remaining))
        let bytes = input.take(count)
        if state == .meta {
            switch metaType {
            case TarType.gnuLongName: longName.append(copying: bytes)
            case TarType.gnuLongLink: longLink.append(copying: bytes)
            default: pax.payload.append(copying: bytes)
            }
        }
        let padding = min(input.left, remainingPadding)
        _ = input.take(padding)
        remaining -= Int64(count)
        remainingPadding -= padding
        offset &+= UInt64(count + padding)
    }

    /// Takes a complete header block: an end mark, a meta entry, or an entry.
    @inline(__always)
    mutating func takeHeader() -> TarProblem? {
        let sum = Octets.sum(block.span)
        if sum == 0 {
            if hasSeenZeroBlock { state = .finished }
            hasSeenZeroBlock = true
            return nil
        }
        if hasSeenZeroBlock { return TarProblem(.invalidHeader, .blockAfterZeroBlock) }
        guard TarHeader.isChecksumRight(block.span, sum: sum) else {
            return TarProblem(.invalidHeader, .badChecksum)
        }
        guard header.read(block) else { return TarProblem(.invalidHeader, .badNumber) }
        guard header.fields.size >= 0 else { return TarProblem(.invalidHeader, .negativeSize) }
        if !hasMeta { entryOffset = headerOffset }
        switch header.fields.type {
        case TarType.paxHeader, TarType.paxGlobal, TarType.gnuLongName, TarType.gnuLongLink: return startMeta()
        default: return takeEntry()
        }
    }

    private mutating func startMeta() -> TarProblem? {
        let size = header.fields.size
        guard size <= Int64(limits.metaPayload) else { return TarProblem(.fieldTooLong, .metaTooLong) }
        // What an earlier entry had stays readable until here, and must not reach this one.
        if !hasMeta { forgetMeta() }
        hasMeta = true
        metaType = header.fields.type
        switch metaType {
        case TarType.gnuLongName: longName.removeAll(keepingCapacity: true)
        case TarType.gnuLongLink: longLink.removeAll(keepingCapacity: true)
        default: pax.removeAll()
        }
        remaining = size
        remainingPadding = TarEncoder.padding(after: size)
        state = .meta
        return nil
    }

    /// Makes use of a payload that is complete.
    mutating func finishMeta() -> TarProblem? {
        switch metaType {
        case TarType.gnuLongName: Self.cutAtNul(&longName)
        case TarType.gnuLongLink: Self.cutAtNul(&longLink)
        default:
            if let problem = pax.parse(limits) { return problem }
            if metaType == TarType.paxGlobal {
                // For the anchors a global header is an entry of its own: what stood in front of it is spent (R6).
                globalHeaderCount += 1
                forgetMeta()
            }
        }
        return nil
    }

    mutating func forgetMeta() {
        hasMeta = false
        pax.removeAll()
        longName.removeAll(keepingCapacity: true)
        longLink.removeAll(keepingCapacity: true)
    }

    private static func cutAtNul(_ text: inout [UInt8]) {
        guard let end = Octets.firstIndex(of: 0, in: text.span, text.indices) else { return }
        text.removeLast(text.count - end)
    }
}
