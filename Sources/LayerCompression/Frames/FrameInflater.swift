public import LayerModel
public import LinuxIO

/// A part of a file's contents that lies in a frame or member of its own.
public struct InflatedPiece: Sendable {
    /// Where its frame lies in the layer.
    public var frame: Range<UInt64>
    /// Bytes of the frame before it.
    public var innerOffset: Int
    /// Bytes of it.
    public var byteCount: Int
    /// What it must have.
    public var digest: Digest?

    public init(frame: Range<UInt64>, innerOffset: Int, byteCount: Int, digest: Digest?) {
        self.frame = frame
        self.innerOffset = innerOffset
        self.byteCount = byteCount
        self.digest = digest
    }
}

/// Pieces that lie near each other in a layer, inflated and hashed by one worker.
public final class InflateJob: CrewJob, @unchecked Sendable {
    public let pieces: [InflatedPiece]
    /// What came of them, one after the other.
    public let output: Slab
    /// What went wrong, and with which piece.
    public private(set) var failure: (error: LayerError, piece: Int)?
    private let file: SharedDescriptor

    /// All of them, from the first one's frame to the last one's.
    public var span: Range<UInt64> {
        guard let first = pieces.first, let last = pieces.last else { return 0..<0 }
        return first.frame.lowerBound..<last.frame.upperBound
    }

    /// `output` must have room for all pieces.
    public init(_ pieces: [InflatedPiece], of file: SharedDescriptor, output: Slab) {
        self.pieces = pieces
        self.file = file
        self.output = output
    }

    func run(_ tool: InflateTool) {
        var at = 0
        do throws(LayerError) {
            let input = try tool.read(span, of: file)
            let start = span.lowerBound
            for index in pieces.indices {
                at = index
                let piece = pieces[index]
                let frame = Int(piece.frame.lowerBound - start)..<Int(piece.frame.upperBound - start)
                guard frame.upperBound <= input.count else { throw .truncatedStream(tool.format) }
                let begin = output.end
                try tool.inflate(input, frame, piece.innerOffset, piece.byteCount, into: output)
                let output = output
                if let digest = piece.digest, Digest.of(output.span(begin..<output.end)) != digest {
                    throw LayerError(
                        .digestMismatch, "read the layer", cause: .reason("a piece of it has another digest"))
                }
            }
        } catch {
            failure = (error, at)
        }
    }
}

/// Inflates pieces of a layer on any number of threads, in the order in which they are asked for.
public final class FrameInflater: Sendable {
    private let owner: CompressionCrewOwner<InflateJob>

    /// `workers` threads at most.
    public init(_ format: LayerFormat, workers: Int) throws(LayerError) {
        guard format == .zstd || format == .gzip else {
            throw LayerError(.unsupported, "read frames", cause: .reason("\(format.name) has none"))
        }
        owner = CompressionCrewOwner(
            CompressionCrew(workers: max(workers, 1), makeTool: { InflateTool(format) }))
    }

    /// Hands a job to the next free worker.
    public func submit(_ job: InflateJob) throws(LayerError) { try owner.crew.submit(job) }

    /// Waits for a job that was submitted.
    public func wait(for job: InflateJob) { owner.crew.wait(for: job) }
}
