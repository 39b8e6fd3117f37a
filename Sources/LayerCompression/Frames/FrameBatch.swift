import LayerModel

/// How the frames of a layer that can be read in parts are compressed.
public enum FrameCodec: Sendable, Equatable {
    /// zstd frames with checksum and size.
    case zstd(level: Int)
    /// gzip members.
    case gzip(level: Int)

    public var isZstd: Bool { if case .zstd = self { true } else { false } }

    /// Whether the level is one of the codec's.
    public var hasValidLevel: Bool {
        switch self {
        case .zstd(let level): ZstdLevel.range.contains(level)
        case .gzip(let level): GzipLevel.range.contains(level)
        }
    }
}

/// A part of a file that lies in a frame and has a digest of its own.
struct FramePiece: Sendable {
    /// Whatever its owner calls it.
    let id: Int
    /// The frame that holds it, counted in its batch.
    let frame: Int
    /// Bytes of the frame before it.
    let innerOffset: Int
    /// Where it lies in the batch's slab.
    let range: Range<Int>
    /// After the batch's work: the digest of its bytes.
    fileprivate(set) var digest: Digest?
}

/// A slab of stream bytes cut into frames, on its way through a crew: filled by its owner, compressed by one worker, taken
/// apart by its owner again. It changes hands under the crew's lock, which is what `@unchecked Sendable` stands for.
final class FrameBatch: CrewJob, @unchecked Sendable {
    struct Frame {
        /// Where its bytes lie in the slab; empty for a frame of zeros.
        var range: Range<Int>
        /// So many zero bytes instead.
        var zeros: Int64 = 0
        /// After the work: where it ends in the output.
        var outputEnd = 0
    }

    let input: Slab
    /// What came of the frames, one after the other.
    let output: Slab
    /// What came of a frame of zeros, which may need more room than a slab has.
    private(set) var zeroOutput: [UInt8] = []
    private(set) var frames: [Frame] = []
    private(set) var pieces: [FramePiece] = []
    private(set) var failure: LayerError?

    init(input: Slab, output: Slab) {
        self.input = input
        self.output = output
    }

    /// Adds the frame of the slab's bytes from the end of the frame before on, with its pieces.
    func close(from start: Int) {
        frames.append(Frame(range: start..<input.end))
    }

    /// Adds a frame of zeros, and the piece that it is.
    func close(zeros: Int64, piece id: Int) {
        pieces.append(FramePiece(id: id, frame: frames.count, innerOffset: 0, range: input.end..<input.end))
        frames.append(Frame(range: input.end..<input.end, zeros: zeros))
    }

    /// Adds a piece of the frame that is being filled and began at `start`.
    func addPiece(_ id: Int, _ range: Range<Int>, frameStart start: Int) {
        pieces.append(
            FramePiece(id: id, frame: frames.count, innerOffset: range.lowerBound - start, range: range))
    }

    func run(_ tool: FrameTool) {
        do throws(LayerError) {
            for index in frames.indices {
                if frames[index].zeros > 0 {
                    try tool.compress(zeros: frames[index].zeros, into: &zeroOutput)
                    frames[index].outputEnd = zeroOutput.count
                } else {
                    try tool.compress(input, frames[index].range, into: output)
                    frames[index].outputEnd = output.end
                }
            }
        } catch {
            failure = error
        }
        for index in pieces.indices {
            let zeros = frames[pieces[index].frame].zeros
            if zeros > 0 {
                pieces[index].digest = tool.digest(zeros: zeros)
                continue
            }
            let input = input
            pieces[index].digest = Digest.of(input.span(pieces[index].range))
        }
    }
}
