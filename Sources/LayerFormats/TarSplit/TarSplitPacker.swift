import LayerCompression
public import LayerModel
import TarCodec

/// What a packer made of a stream.
public struct TarSplitSummary: Sendable {
    /// Entries of the archive; global headers are part of what stands between entries and do not count.
    public var entries = 0
    /// Bytes of the stream.
    public var bytes: UInt64 = 0
    /// Set when a name came again after its contents had been left out: what was written cannot rebuild the stream
    /// from a tree that holds the last of each name. Pack the stream again with these names.
    public var repeated: RepeatedNames?

    /// Nothing yet.
    public init() {}
}

/// Writes tar-split metadata of the tar stream that it is fed: everything but the contents of files.
///
/// One pass, pieces of any size, bounded memory except eight bytes an entry. The metadata goes to `Base` as
/// JSON lines, gzip'ed. Contents that cannot be had from an unpacked tree are kept too: of sparse members (T9), of names
/// that an apply makes no file of (`.wh.`), and of all but one of the entries that share a name (T8): the later ones as
/// long as no contents had been left out of the first, otherwise see `TarSplitSummary.repeated`. Entries that share a
/// name with another have no file object, so that readers which refuse duplicates do not see any.
public struct TarSplitPacker<Base: ByteSink & ~Copyable>: ~Copyable {
    private enum Phase {
        /// Headers, and what stands between bodies.
        case headers
        /// In the contents of an entry with a file object.
        case payload
        /// In contents that are kept.
        case inline
        /// Behind the archive's end.
        case trailing
    }

    /// What was packed so far.
    public private(set) var summary = TarSplitSummary()
    private var lines: TarSplitLines<GzipSink<Base>>
    private var decoder = TarDecoder()
    private var phase = Phase.headers
    /// Raw bytes that belong to the next segment.
    private let segment = Slab(capacity: 1 << 20)
    private var bodyLeft: Int64 = 0
    private var checksum = PayloadChecksum()
    private var name = CleanName()
    private var seen = NameTable()
    private let known: RepeatedNames?
    private var found = RepeatedNames()
    private var needsSecondReading = false

    /// Takes over `base`, which gets gzip at the fastest level from at most `workers` threads.
    ///
    /// `known` are the repeated names that a first reading of the same stream found.
    public init(_ base: consuming Base, workers: Int = 1, repeated known: RepeatedNames? = nil) throws(LayerError) {
        lines = TarSplitLines(try GzipSink(base, level: GzipLevel.range.lowerBound, workers: workers))
        self.known = known
    }

    /// Takes the next bytes of the uncompressed stream.
    ///
    /// Throws `invalidArchive` and `limitExceeded` for archives that an apply refuses too, and what `Base` throws.
    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        summary.bytes += UInt64(bytes.byteCount)
        var at = 0
        while at < bytes.byteCount {
            let window = bytes.extracting(at..<bytes.byteCount)
            switch phase {
            case .headers: at += try readHeaders(window)
            case .payload, .inline: at += try passBody(window)
            case .trailing:
                try keep(window)
                return
            }
        }
    }

    /// Says that the stream is complete, and completes the output.
    public mutating func finish() throws(LayerError) -> TarSplitSummary {
        do throws(TarError) {
            try decoder.endOfInput()
        } catch {
            throw Self.error(error)
        }
        try flushSegment()
        try lines.base.finish()
        if needsSecondReading { summary.repeated = found }
        return summary
    }

    private mutating func readHeaders(_ window: RawSpan) throws(LayerError) -> Int {
        let (consumed, step) = try next(window)
        try keep(window.extracting(0..<consumed))
        switch step {
        case .needMore: break
        case .entry: try beginEntry()
        case .end:
            try flushSegment()
            phase = .trailing
        }
        return consumed
    }

    private mutating func next(_ window: RawSpan) throws(LayerError) -> (consumed: Int, step: TarDecoder.Step) {
        do throws(TarError) {
            return try decoder.step(window)
        } catch {
            throw Self.error(error)
        }
    }

    private mutating func beginEntry() throws(LayerError) {
        name.set(decoder)
        bodyLeft = decoder.storedByteCount
        let isKept = decoder.isSparse || name.isWhiteout
        phase = bodyLeft == 0 ? .headers : isKept ? .inline : .payload
        let entry = summary.entries
        summary.entries += 1
        if let known {
            // All but the last of a name go without an object.
            if let last = known.lastEntry[name.hash], last != entry { return keepBody() }
        } else if let hadPayload = seen.insert(name.hash, bit: phase == .payload) {
            // The tree holds this one. That only matters if contents of the first are wanted from there.
            found.lastEntry[name.hash] = entry
            if hadPayload { needsSecondReading = true }
            return keepBody()
        }
        try flushSegment()
        if phase == .payload {
            checksum = PayloadChecksum()
        } else {
            try lines.writeEmptyFile(decoder)
        }
    }

    private mutating func keepBody() {
        if phase == .payload { phase = .inline }
    }

    /// Passes over bytes of a body, or keeps them; what follows the body is the decoder's again.
    private mutating func passBody(_ window: RawSpan) throws(LayerError) -> Int {
        let count = Int(min(bodyLeft, Int64(window.byteCount)))
        let piece = window.extracting(0..<count)
        if phase == .payload { checksum.update(piece) } else { try keep(piece) }
        decoder.advance(count)
        bodyLeft -= Int64(count)
        guard bodyLeft == 0 else { return count }
        if phase == .payload {
            try lines.writeFile(decoder, checksum: checksum.value)
        }
        phase = .headers
        return count
    }

    /// Adds raw bytes to the segment, which is written whenever it is full (T4).
    private mutating func keep(_ bytes: RawSpan) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            let count = min(bytes.byteCount - at, segment.capacity - segment.end)
            segment.append(bytes.extracting(at..<at + count))
            at += count
            if segment.end == segment.capacity { try flushSegment() }
        }
    }

    private mutating func flushSegment() throws(LayerError) {
        guard segment.count > 0 else { return }
        let segment = segment
        try lines.writeSegment(segment.bytes)
        segment.end = 0
    }

    @inline(never)
    private static func error(_ error: TarError) -> LayerError {
        LayerError(
            error.kind == .limitExceeded ? .limitExceeded : .invalidArchive, "pack", path: nil,
            cause: .archive(offset: error.offset, reason: error.reason.description))
    }
}
