public import LayerModel

/// Where a piece came to lie.
public struct WrittenPiece: Sendable {
    /// Whatever its owner calls it.
    public var id: Int
    /// Bytes of the output before its frame.
    public var offset: UInt64
    /// Bytes of the output before the next frame.
    public var end: UInt64
    /// Bytes of the uncompressed frame before it.
    public var innerOffset: Int
    public var digest: Digest
}

/// Writes a stream as frames that can be decompressed alone, compressed by any number of threads.
///
/// The owner says where frames begin, and which parts of them are pieces with a digest. The output depends on that and on
/// the codec only. `base` is only called on the caller's thread, in stream order.
public struct FrameWriter<Base: ByteSink & ~Copyable>: ~Copyable {
    /// The longest frame: a longer one is continued in another.
    public static var longestFrame: Int { (4 << 20) + (256 << 10) }

    /// The sink that takes the frames.
    public private(set) var base: Base
    /// Bytes written to `base`.
    public private(set) var outputBytes: UInt64 = 0
    /// Frames written.
    public private(set) var frameCount = 0
    /// Pieces that were written since somebody took them, in order.
    public var written: [WrittenPiece] = []
    private let owner: CompressionCrewOwner<FrameBatch>
    private let inFlightLimit: Int
    private let inputs: SlabPool
    private let outputs: SlabPool
    private var batch: FrameBatch
    private var inFlight: [FrameBatch] = []
    private var frameStart = 0
    private var pieceStart: Int?
    private var pieceID = 0

    /// From so many bytes on a batch gets no more frames: small ones share what handing them over costs.
    private static var enough: Int { 512 << 10 }
    private static var slabCapacity: Int { longestFrame + enough }

    /// Takes over `base`; `workers` threads at most compress (at least one). Throws `invalidArgument` for a level that is none.
    public init(_ base: consuming Base, _ codec: FrameCodec, workers: Int) throws(LayerError) {
        guard codec.hasValidLevel else {
            throw LayerError(.invalidArgument, "compress the layer", cause: .reason("there is no such level"))
        }
        try (codec.isZstd ? LayerFormat.zstd : .gzip).require("compress the layer")
        let workers = max(workers, 1)
        self.base = base
        owner = CompressionCrewOwner(CompressionCrew(workers: workers) { FrameTool(codec) })
        inFlightLimit = workers + 2
        inputs = SlabPool(slabCapacity: Self.slabCapacity)
        // Frames of a batch are at least a tar block long, but for pieces of a few bytes.
        outputs = SlabPool(slabCapacity: FrameTool.bound(Self.slabCapacity, frames: 1) + (2 << 20))
        batch = FrameBatch(input: inputs.take(), output: outputs.take())
    }

    /// Gives the sink back.
    public consuming func takeBase() -> Base { base }

    /// Uncompressed bytes of the frame that is open.
    public var frameByteCount: Int { batch.input.end - frameStart }

    /// Adds bytes to the open frame; where it would become too long, it ends and another begins.
    public mutating func append(_ bytes: RawSpan) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            if frameByteCount == Self.longestFrame { try cut() }
            let count = min(bytes.byteCount - at, Self.longestFrame - frameByteCount)
            batch.input.append(bytes.extracting(at..<at + count))
            at += count
        }
    }

    /// Adds a few zero bytes to the open frame.
    public mutating func append(zeros: Int) throws(LayerError) {
        var left = zeros
        while left > 0 {
            if frameByteCount == Self.longestFrame { try cut() }
            let count = min(left, Self.longestFrame - frameByteCount)
            batch.input.appendZeros(count)
            left -= count
        }
    }

    /// Ends the open frame, unless it is empty.
    public mutating func cut() throws(LayerError) {
        precondition(pieceStart == nil, "a piece lies in one frame")
        guard frameByteCount > 0 else { return }
        batch.close(from: frameStart)
        try closed()
    }

    /// A frame of zeros, which is a piece.
    public mutating func append(zeroFrame zeros: Int64, piece id: Int) throws(LayerError) {
        try cut()
        batch.close(zeros: zeros, piece: id)
        // It may need much time, and its output lies apart.
        try submit()
    }

    /// Says that what is appended from here on is a piece, of at most 4 MiB.
    public mutating func beginPiece(_ id: Int) {
        precondition(pieceStart == nil)
        pieceStart = batch.input.end
        pieceID = id
    }

    /// Ends the piece; its bytes are lent to `body` before anybody else gets them.
    public mutating func endPiece(_ body: (RawSpan) -> Void = { _ in }) {
        guard let start = pieceStart else { return }
        pieceStart = nil
        let input = batch.input
        let range = start..<input.end
        batch.addPiece(pieceID, range, frameStart: frameStart)
        body(input.span(range))
    }

    /// Bytes of the piece that is open.
    public var pieceByteCount: Int { pieceStart.map { batch.input.end - $0 } ?? 0 }
    public var isInPiece: Bool { pieceStart != nil }

    /// Ends the open frame and writes all there are.
    public mutating func finishFrames() throws(LayerError) {
        try cut()
        if !batch.frames.isEmpty { try submit() }
        while !inFlight.isEmpty { try writeOldest() }
        owner.crew.stop()
    }

    /// Writes bytes as they are; after `finishFrames`.
    public mutating func writePlain(_ bytes: RawSpan) throws(LayerError) {
        try base.write(bytes)
        outputBytes += UInt64(bytes.byteCount)
    }

    /// Finishes the base.
    public mutating func finish() throws(LayerError) { try base.finish() }

    private mutating func closed() throws(LayerError) {
        frameStart = batch.input.end
        // A batch of zeros only is sent by whoever made it; frames of few bytes are bounded in number.
        if batch.input.count >= Self.enough || batch.frames.count >= 2048 { try submit() }
    }

    private mutating func submit() throws(LayerError) {
        if inFlight.count >= inFlightLimit { try writeOldest() }
        let full = batch
        batch = FrameBatch(input: inputs.take(), output: outputs.take())
        frameStart = batch.input.end
        inFlight.append(full)
        try owner.crew.submit(full)
        while let oldest = inFlight.first, owner.crew.isDone(oldest) {
            inFlight.removeFirst()
            try write(oldest)
        }
    }

    private mutating func writeOldest() throws(LayerError) {
        let oldest = inFlight.removeFirst()
        owner.crew.wait(for: oldest)
        try write(oldest)
    }

    private mutating func write(_ batch: FrameBatch) throws(LayerError) {
        if let failure = batch.failure { throw failure }
        let start = outputBytes
        let output = batch.output
        if output.count > 0 { try base.write(output.bytes) }
        let zeros = batch.zeroOutput
        if !zeros.isEmpty { try base.write(zeros.rawBytes) }
        outputBytes += UInt64(output.count + zeros.count)
        // Frames of zeros come last in their batch, behind what the slab has.
        var places: [(start: UInt64, end: UInt64)] = []
        var at = start
        for frame in batch.frames {
            let end = start + UInt64(frame.zeros > 0 ? output.count + frame.outputEnd : frame.outputEnd)
            places.append((at, end))
            at = end
        }
        for piece in batch.pieces {
            guard let digest = piece.digest else { preconditionFailure("a worker hashes every piece") }
            written.append(
                WrittenPiece(
                    id: piece.id, offset: places[piece.frame].start, end: places[piece.frame].end,
                    innerOffset: piece.innerOffset, digest: digest))
        }
        frameCount += batch.frames.count
        inputs.give(batch.input)
        outputs.give(batch.output)
    }
}
