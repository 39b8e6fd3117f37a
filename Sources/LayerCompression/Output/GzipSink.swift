public import LayerModel

/// The gzip levels that exist here, and what they mean.
public enum GzipLevel {
    /// ISA-L's levels, 0 to 3, and zlib's from 4 on, which are some percent denser and several times as slow.
    public static let range = 0...9
    /// ISA-L's.
    static let fastest = 0...3
    /// Used where none is asked for: one percent denser than 1 and as fast. Level 3 gains two percent more for
    /// 40 % more time.
    public static let standard = 2
}

/// Compresses to one gzip member on several threads.
///
/// The stream is cut into pieces of fixed size that are deflated independently, except that each may refer back
/// to the 32 KiB before it. So the output depends on nothing but the input and the level: not on timing, on the
/// number of workers, or on how the writes were cut. `base` is only called on the caller's thread, in stream order.
/// Header (D41): no name, time 0, operating system 255.
public struct GzipSink<Base: ByteSink & ~Copyable>: ByteSink, ~Copyable {
    /// The sink that takes the compressed bytes.
    public private(set) var base: Base
    private let owner: CompressionCrewOwner<DeflateJob>
    private let level: Int
    private let inFlightLimit: Int
    private let pieces: SlabPool
    private let outputs: SlabPool
    private var current: Slab
    private var history = 0
    private var inFlight: [DeflateJob] = []
    private var checksum = ChecksumCombiner()
    private var byteCount: UInt64 = 0
    private var hasHeader = false
    private var hasSubmitted = false

    /// Takes over `base`. `workers` threads at most deflate (at least one); they start when there is work.
    ///
    /// Throws `invalidArgument` for a level outside `GzipLevel.range`.
    public init(_ base: consuming Base, level: Int? = nil, workers: Int) throws(LayerError) {
        let level = level ?? GzipLevel.standard
        guard GzipLevel.range.contains(level) else {
            throw LayerError(
                .invalidArgument, "compress with gzip", cause: .reason("there is no gzip level \(level)"),
                hint: "levels are 0 (fastest) to 9 (densest); zstd compresses denser")
        }
        try LayerFormat.gzip.require("compress with gzip")
        let workers = max(workers, 1)
        self.base = base
        self.level = level
        owner = CompressionCrewOwner(CompressionCrew(workers: workers) { PieceDeflater(level: level) })
        inFlightLimit = workers * 2 + 2
        pieces = SlabPool(
            slabCapacity: PieceDeflater.window + GzipPiece.byteCount, headroom: PieceDeflater.window)
        outputs = SlabPool(slabCapacity: PieceDeflater.outputBound(GzipPiece.byteCount))
        current = pieces.take()
    }

    private var crew: CompressionCrew<DeflateJob> { owner.crew }

    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        var offset = 0
        while offset < bytes.byteCount {
            let length = min(bytes.byteCount - offset, current.capacity - current.end)
            current.append(bytes.extracting(offset..<offset + length))
            offset += length
            if current.end == current.capacity { try submitCurrent() }
        }
    }

    public mutating func finish() throws(LayerError) {
        if hasSubmitted {
            if current.count > 0 { try submitCurrent() }
            while !inFlight.isEmpty { try writeOldest() }
        } else if current.count > 0 {
            // A stream of a single piece is not worth a thread.
            let job = DeflateJob(piece: current, history: 0, output: outputs.take())
            job.run(PieceDeflater(level: level))
            try write(job)
        }
        crew.stop()
        try writeHeaderOnce()
        try writeTrailer()
        try base.finish()
    }

    private mutating func submitCurrent() throws(LayerError) {
        if inFlight.count >= inFlightLimit { try writeOldest() }
        let piece = current
        let job = DeflateJob(piece: piece, history: history, output: outputs.take())
        hasSubmitted = true
        current = pieces.take()
        history = min(piece.count, PieceDeflater.window)
        current.copy(piece.span(piece.end - history..<piece.end), at: current.start - history)
        inFlight.append(job)
        try crew.submit(job)
        while let oldest = inFlight.first, crew.isDone(oldest) {
            inFlight.removeFirst()
            try write(oldest)
        }
    }

    private mutating func writeOldest() throws(LayerError) {
        let oldest = inFlight.removeFirst()
        crew.wait(for: oldest)
        try write(oldest)
    }

    private mutating func write(_ job: DeflateJob) throws(LayerError) {
        try writeHeaderOnce()
        checksum.append(job.checksum, length: job.piece.count)
        byteCount += UInt64(job.piece.count)
        let output = job.output
        try base.write(output.bytes)
        pieces.give(job.piece)
        outputs.give(output)
    }

    private mutating func writeHeaderOnce() throws(LayerError) {
        guard !hasHeader else { return }
        hasHeader = true
        let header = GzipMember.header
        try base.write(header.rawBytes)
    }

    private mutating func writeTrailer() throws(LayerError) {
        let trailer = GzipMember.trailer(checksum.checksum, byteCount)
        try base.write(trailer.rawBytes)
    }
}

/// How gzip streams are cut. Part of the output format: changing it changes the compressed bytes.
enum GzipPiece {
    /// Large enough that the cut costs nothing, small enough for a worker's cache and for little memory in flight.
    static let byteCount = 1 << 20
}
