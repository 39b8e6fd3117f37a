import LayerCompression
public import LayerModel
import PlainJSON
import TarCodec

/// Writes the tar stream that it is fed as a layer of which parts can be read alone (zstd:chunked, eStargz).
///
/// Whatever the stream holds, an ordinary layer comes out: decompressed from the first byte to the last it is the tar, with
/// zstd:chunked and `keepsDiffID` to the byte. Where the index cannot carry the tar it is left out, and the frames stay. The
/// output depends on the stream and the options, not on the number of workers or on how the writes were cut.
public struct IndexedLayerSink<Base: ByteSink & ~Copyable>: ByteSink, ~Copyable {
    private enum Phase {
        /// Headers.
        case headers
        /// In the contents of an entry.
        case contents
        /// In the zeros behind contents.
        case padding
        /// Behind the archive's end.
        case trailing
    }

    /// What was written; whole after `finish`.
    public internal(set) var summary = IndexedLayerSummary()
    let options: IndexedLayerOptions
    var frames: FrameWriter<Base>
    private var decoder = TarDecoder()
    var table: TableWriter
    let tableText: TableText
    private var rules = IndexRules()
    var tarSplit: TarSplitLines<ZstdSink<MemorySink>>?
    var hash: DigestSink<NullSink>
    private var phase = Phase.headers
    /// The headers of the next entry.
    private var header: [UInt8] = []
    /// Bytes for the tar-split that belong to the next segment.
    private let segment = Slab(capacity: 1 << 20)
    private var bodyLeft: Int64 = 0
    private var paddingLeft = 0
    /// The entry is one that the format makes anew.
    private var isDropped = false
    private var isBegun = false
    private var hasLandmark = false
    private var cutter = PieceCutter()
    private var checksum = PayloadChecksum()
    private var fileHash: DigestState?
    private var piece: Int?
    private var hasContents = false
    private var hasPieces = false

    /// Takes over `base`. Throws `invalidArgument` for options that make no sense.
    public init(_ base: consuming Base, options: IndexedLayerOptions) throws(LayerError) {
        guard (1...PieceCutter.longest).contains(options.chunkSize),
            (0...PieceCutter.longest).contains(options.minChunkSize)
        else {
            throw LayerError(
                .invalidArgument, "write an indexed layer", cause: .reason("pieces have 1 to 4194304 bytes"))
        }
        let codec: FrameCodec =
            options.format == .zstdChunked
            ? .zstd(level: options.level ?? ZstdLevel.standard) : .gzip(level: options.level ?? GzipLevel.standard)
        // What can fail comes first: a value that is half made cannot be given up.
        let text = try TableText(options)
        let lines = try Self.tarSplitLines(options)
        self.init(try FrameWriter(base, codec, workers: options.workers), lines, text, options)
    }

    private init(
        _ frames: consuming FrameWriter<Base>, _ tarSplit: consuming TarSplitLines<ZstdSink<MemorySink>>?,
        _ tableText: TableText, _ options: IndexedLayerOptions
    ) {
        self.frames = frames
        self.tarSplit = tarSplit
        self.tableText = tableText
        self.options = options
        hash = DigestSink(NullSink(), hashes: options.digests)
        table = TableWriter(options.format)
    }

    private static func tarSplitLines(
        _ options: IndexedLayerOptions
    ) throws(LayerError) -> TarSplitLines<ZstdSink<MemorySink>>? {
        guard options.format == .zstdChunked else { return nil }
        return TarSplitLines(try ZstdSink(MemorySink(), level: options.level, workers: 1))
    }

    /// The sink below, for its results.
    public consuming func takeBase() -> Base { frames.takeBase() }

    /// Takes the next bytes of the tar. Throws `invalidArchive` and `limitExceeded` for what is none, and what `Base` throws.
    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        try begin()
        var at = 0
        while at < bytes.byteCount {
            let window = bytes.extracting(at..<bytes.byteCount)
            switch phase {
            case .headers: at += try readHeaders(window)
            case .contents: at += try passContents(window)
            case .padding: at += try passPadding(window)
            case .trailing:
                if !rebuilds { try append(window) }
                at = bytes.byteCount
            }
        }
    }

    /// Writes what comes before the tar.
    private mutating func begin() throws(LayerError) {
        guard !isBegun else { return }
        isBegun = true
        if rebuilds { try writeLandmark() }
    }

    public mutating func finish() throws(LayerError) {
        try begin()
        do throws(TarError) {
            try decoder.endOfInput()
        } catch {
            throw Self.error(error)
        }
        let blocks = header
        if !rebuilds { try append(blocks.rawBytes) }
        if summary.obstacle != nil, options.requiresIndex { throw requirement() }
        // A rebuilt layer ends with the index, but where there is none.
        if rebuilds, summary.obstacle != nil { try append(zeros: TarEncoder.trailerByteCount) }
        try frames.finishFrames()
        try takePlaces()
        if summary.obstacle == nil { try writeIndex() }
        try frames.finish()
        try hash.finish()
        summary.diffID = hash.digest
        summary.uncompressedBytes = hash.byteCount
        summary.outputBytes = frames.outputBytes
        summary.frames = frames.frameCount
    }

    /// Whether the tar is not kept as it is: with a landmark and the table of contents in it.
    private var rebuilds: Bool { options.format == .estargz && !options.keepsDiffID }

    // MARK: The tar

    private mutating func readHeaders(_ window: RawSpan) throws(LayerError) -> Int {
        let consumed: Int
        let step: TarDecoder.Step
        do throws(TarError) {
            (consumed, step) = try decoder.step(window)
        } catch {
            throw Self.error(error)
        }
        header.append(contentsOf: window.extracting(0..<consumed).copied())
        switch step {
        case .needMore: break
        case .entry: try beginEntry()
        case .end:
            let blocks = header
            if !rebuilds { try append(blocks.rawBytes) }
            header.removeAll()
            try flushSegment()
            phase = .trailing
        }
        return consumed
    }

    private mutating func beginEntry() throws(LayerError) {
        isDropped = rebuilds && hasLandmark && EstargzName.isReserved(decoder.name)
        bodyLeft = decoder.storedByteCount
        paddingLeft = decoder.padding
        hasContents = bodyLeft > 0
        if !isDropped {
            let blocks = header
            try append(blocks.rawBytes)
            if summary.obstacle == nil, let obstacle = rules.obstacle(decoder, options.format) {
                summary.obstacle = obstacle
                tarSplit = nil
            }
            if summary.obstacle == nil {
                table.begin(decoder)
                try flushSegment()
                if !hasContents { try tarSplit?.writeEmptyFile(decoder) }
                try takePlaces()
            }
        }
        header.removeAll(keepingCapacity: true)
        guard hasContents else { return }
        phase = .contents
        guard !isDropped else { return }
        checksum = PayloadChecksum()
        fileHash = nil
        if options.format == .zstdChunked { try frames.cut() }
    }

    private mutating func passContents(_ window: RawSpan) throws(LayerError) -> Int {
        let count = Int(min(bodyLeft, Int64(window.byteCount)))
        let bytes = window.extracting(0..<count)
        decoder.advance(count)
        bodyLeft -= Int64(count)
        if !isDropped {
            try hash.write(bytes)
            checksum.update(bytes)
            if options.format == .zstdChunked { try cutByContents(bytes) } else { try cutBySize(bytes) }
        }
        guard bodyLeft == 0 else { return count }
        phase = paddingLeft > 0 ? .padding : .headers
        guard !isDropped else { return count }
        if options.format == .zstdChunked { try finishCutting() }
        try endPiece(isLast: true)
        if summary.obstacle == nil {
            table.endEntry(fileHash?.finalize())
            try tarSplit?.writeFile(decoder, checksum: checksum.value)
        }
        // What follows the contents lies in a frame of its own, or in the member of the last piece.
        if options.format == .zstdChunked { try frames.cut() }
        try takePlaces()
        return count
    }

    private mutating func passPadding(_ window: RawSpan) throws(LayerError) -> Int {
        let count = min(paddingLeft, window.byteCount)
        decoder.advance(count)
        paddingLeft -= count
        if !isDropped { try append(window.extracting(0..<count)) }
        if paddingLeft == 0 { phase = .headers }
        return count
    }

    // MARK: Pieces

    private mutating func cutByContents(_ bytes: RawSpan) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            let step = cutter.next(bytes, from: at)
            at = step.consumed
            try take(step, bytes)
        }
    }

    private mutating func finishCutting() throws(LayerError) {
        while let step = cutter.finish() { try take(step, RawSpan()) }
    }

    private mutating func take(_ step: PieceCutter.Step, _ bytes: RawSpan) throws(LayerError) {
        if step.zeros > 0 || !step.range.isEmpty {
            beginPiece()
            try frames.append(zeros: step.zeros)
            let data = bytes.extracting(step.range)
            try frames.append(data)
            if fileHash != nil {
                updateHash(zeros: Int64(step.zeros))
                fileHash?.update(data)
            }
        }
        if step.cuts { try endPiece(isLast: false) }
        guard step.zeroRun > 0 else { return }
        try endPiece(isLast: false)
        // Whether the file has other pieces is not known where it begins with zeros.
        if fileHash == nil { fileHash = DigestState() }
        updateHash(zeros: step.zeroRun)
        let id = summary.obstacle == nil ? table.addPiece(step.zeroRun, isZeros: true) : 0
        try frames.append(zeroFrame: step.zeroRun, piece: id)
    }

    private mutating func cutBySize(_ bytes: RawSpan) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            if frames.isInPiece, frames.pieceByteCount == options.chunkSize { try endPiece(isLast: false) }
            if !frames.isInPiece { try beginMember() }
            let count = min(options.chunkSize - frames.pieceByteCount, bytes.byteCount - at)
            let data = bytes.extracting(at..<at + count)
            try frames.append(data)
            fileHash?.update(data)
            at += count
        }
    }

    /// Begins a piece of eStargz, and a member unless the open one is short.
    private mutating func beginMember() throws(LayerError) {
        let open = frames.frameByteCount
        // The first one never shares its member: places of zero mean none.
        let isFirst = !hasPieces
        hasPieces = true
        if isFirst || open >= max(options.minChunkSize, 1) || open + options.chunkSize > FrameWriter<Base>.longestFrame
        {
            try frames.cut()
        }
        beginPiece()
    }

    private mutating func beginPiece() {
        guard !frames.isInPiece else { return }
        let id = summary.obstacle == nil ? table.addPiece(0) : 0
        piece = id
        frames.beginPiece(id)
    }

    /// Ends the piece that is open. The first of several is hashed once more, with the file that it begins.
    private mutating func endPiece(isLast: Bool) throws(LayerError) {
        guard frames.isInPiece else { return }
        let byteCount = frames.pieceByteCount
        if summary.obstacle == nil, let piece { table.setLength(piece, Int64(byteCount)) }
        if !isLast, fileHash == nil {
            var state = DigestState()
            frames.endPiece { state.update($0) }
            fileHash = state
        } else {
            frames.endPiece()
        }
        piece = nil
        if options.format == .zstdChunked { try frames.cut() }
    }

    private mutating func updateHash(zeros: Int64) {
        let slab = IndexedZeros.slab
        var left = zeros
        while left > 0 {
            let count = Int(min(left, Int64(slab.capacity)))
            fileHash?.update(slab.span(0..<count))
            left -= Int64(count)
        }
    }

    // MARK: Everything else

    /// Adds bytes that are no contents.
    private mutating func append(_ bytes: RawSpan) throws(LayerError) {
        try hash.write(bytes)
        try frames.append(bytes)
        guard tarSplit != nil else { return }
        var at = 0
        while at < bytes.byteCount {
            let count = min(bytes.byteCount - at, segment.capacity - segment.end)
            segment.append(bytes.extracting(at..<at + count))
            at += count
            if segment.end == segment.capacity { try flushSegment() }
        }
    }

    private mutating func append(zeros count: Int) throws(LayerError) {
        let slab = IndexedZeros.slab
        try append(slab.span(0..<count))
    }

    mutating func flushSegment() throws(LayerError) {
        guard segment.count > 0 else { return }
        let segment = segment
        try tarSplit?.writeSegment(segment.bytes)
        segment.end = 0
    }

    private mutating func takePlaces() throws(LayerError) {
        guard summary.obstacle == nil else {
            frames.written.removeAll(keepingCapacity: true)
            return
        }
        for written in frames.written { table.place(written) }
        frames.written.removeAll(keepingCapacity: true)
        table.writeComplete()
        try writeTableText()
    }

    mutating func writeTableText(all: Bool = false) throws(LayerError) {
        let text = tableText
        try table.takeText(all: all) { (bytes) throws(LayerError) in try text.append(bytes) }
    }

    /// The landmark of a layer of which nothing is to be fetched ahead.
    private mutating func writeLandmark() throws(LayerError) {
        let block = Self.header("\(EstargzName.noPrefetch)", size: 1)
        try write(block.rawBytes)
        hasLandmark = true
        let contents = EstargzName.landmarkContents + [UInt8](repeating: 0, count: 511)
        try write(contents.rawBytes)
    }
}
