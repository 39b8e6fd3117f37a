/// Reads an archive as it arrives: a state machine over windows of the stream.
///
/// The caller owns the stream's bytes and reads file bodies itself; the decoder keeps only the current header, its
/// meta entries and its sparse map, all bounded by `TarLimits`. After an error every further call throws it again.
public struct TarDecoder: ~Copyable {
    /// What a step came to.
    public enum Step: Sendable, Equatable {
        /// The whole window was consumed; call again with more bytes, any number of them.
        case needMore(atLeast: Int)
        /// A header is complete. Read the accessors, then consume `storedByteCount` bytes of body and `padding`
        /// bytes behind it and report them to `advance`; what is not reported, the next `step` skips.
        case entry
        /// The archive's end. What follows in the stream does not belong to it.
        case end
    }

    enum State {
        /// Collecting a header block.
        case header
        /// Inside the payload of a meta entry, or the padding behind it.
        case meta
        /// Collecting extension blocks of an old GNU sparse map.
        case sparseBlocks
        /// Collecting blocks of a GNU 1.0 sparse map, at the start of the body.
        case sparseText
        /// Inside the body of a surfaced entry, or the padding behind it.
        case body
        case finished
    }

    let limits: TarLimits
    var state = State.header
    var failure: TarError?
    public internal(set) var offset: UInt64 = 0
    /// Where the current header block starts.
    var headerOffset: UInt64 = 0
    /// Where the current entry's first header block starts, its meta entries included.
    public internal(set) var entryOffset: UInt64 = 0
    var hasSeenZeroBlock = false

    /// The current header block, or its first `headerFilled` bytes.
    var block: [UInt8]
    var blockFilled = 0
    var header = TarHeader()
    /// A block of a sparse map; the header must stay, since names lie in it.
    var mapBlock: [UInt8] = []
    var mapBlocksRead = 0
    var sparse = SparseMap()

    var metaType: UInt8 = 0
    /// Bytes of the payload or body still to come, and of the padding behind it.
    var remaining: Int64 = 0
    var remainingPadding = 0
    /// Whether meta entries have been read for the next entry.
    var hasMeta = false
    var pax = PaxValues()
    var longName: [UInt8] = []
    var longLink: [UInt8] = []
    var joinedName: [UInt8] = []

    var texts = TextPlaces()
    public internal(set) var fields = TarFields()
    /// Bytes of the body in the stream: 0 for bodyless types, the data behind the map for sparse entries.
    public internal(set) var storedByteCount: Int64 = 0
    /// Whether the entry is sparse: its data extents lie in the body one after the other.
    public internal(set) var isSparse = false
    /// The access time, when the header has one.
    public internal(set) var accessTime: (seconds: Int64, nanoseconds: Int32)?
    /// Global PAX headers skipped so far (R6).
    public internal(set) var globalHeaderCount = 0

    public init(limits: TarLimits = .init()) {
        self.limits = limits
        block = [UInt8](repeating: 0, count: Layout.blockSize)
    }

    /// Reads on in a window of the stream; returns how many of its bytes are used up and what came of it.
    ///
    /// With `needMore` the whole window is used up. Errors: `invalidHeader`, `fieldTooLong`, `limitExceeded`,
    /// `nameTooLong`.
    public mutating func step(_ window: RawSpan) throws(TarError) -> (consumed: Int, step: Step) {
        if let failure { throw failure }
        var input = Input(Span(_bytes: window))
        var problem: TarProblem?
        while problem == nil {
            switch state {
            case .header:
                guard collectHeader(&input) else { return needMore(input) }
                headerOffset = offset &- UInt64(Layout.blockSize)
                problem = takeHeader()
                if problem == nil, let step = surfaced() { return (input.at, step) }
            case .meta, .body:
                skipOrCollect(&input)
                if remaining > 0 || remainingPadding > 0 { return needMore(input) }
                let wasMeta = state == .meta
                state = .header
                if wasMeta { problem = finishMeta() }
            case .sparseBlocks, .sparseText:
                guard collectMapBlock(&input) else { return needMore(input) }
                problem = state == .sparseText ? takeMapText() : takeMapBlock()
                if problem == nil, let step = surfaced() { return (input.at, step) }
            case .finished:
                return (input.at, .end)
            }
        }
        throw fail(problem)
    }

    /// Reports that the caller consumed bytes of the current entry's body or padding.
    public mutating func advance(_ byteCount: Int) {
        guard byteCount > 0 else { return }
        precondition(state == .body, "no body to consume")
        let body = min(Int64(byteCount), remaining)
        remaining -= body
        let padding = byteCount - Int(body)
        precondition(padding <= remainingPadding, "more than the entry's body and padding was consumed")
        remainingPadding -= padding
        offset &+= UInt64(byteCount)
        if remaining == 0 && remainingPadding == 0 { state = .header }
    }

    /// Tells that the input has ended; throws `unexpectedEOF` unless an archive may end here (R9).
    public mutating func endOfInput() throws(TarError) {
        if let failure { throw failure }
        let reason: TarReason
        switch state {
        case .finished: return
        case .header:
            if blockFilled == 0 { return }
            headerOffset = offset &- UInt64(blockFilled)
            reason = .truncatedHeader
        case .meta: reason = .truncatedMeta
        case .sparseBlocks, .sparseText: reason = .truncatedSparseMap
        case .body: reason = .truncatedBody
        }
        throw fail(TarProblem(.unexpectedEOF, reason))
    }

    /// The zero bytes behind the current entry's body, 0 ... 511.
    public var padding: Int { TarEncoder.padding(after: storedByteCount) }

    private mutating func fail(_ problem: TarProblem?) -> TarError {
        let error = TarError(
            problem?.kind ?? .invalidHeader, problem?.reason ?? .badChecksum, offset: headerOffset)
        failure = error
        return error
    }

    private func needMore(_ input: borrowing Input) -> (consumed: Int, step: Step) {
        (input.at, .needMore(atLeast: 1))
    }

    /// What to tell the caller when a header has just been dealt with, if anything.
    @inline(__always)
    private mutating func surfaced() -> Step? {
        switch state {
        case .body:
            if remaining == 0 { state = .header }
            return .entry
        case .finished: return .end
        case .header, .meta, .sparseBlocks, .sparseText: return nil
        }
    }
}

/// A window of the stream and how far it has been read.
struct Input: ~Escapable {
    let bytes: Span<UInt8>
    var at = 0

    @_lifetime(copy bytes)
    init(_ bytes: Span<UInt8>) { self.bytes = bytes }

    var left: Int { bytes.count &- at }

    /// The next `count` bytes, which must be there.
    @_lifetime(copy self)
    mutating func take(_ count: Int) -> Span<UInt8> {
        let start = at
        at += count
        return bytes.extracting(start..<at)
    }
}
