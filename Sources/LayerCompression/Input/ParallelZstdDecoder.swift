import LayerModel
import LinuxIO

#if Zstd
    import CZstd
#else
    import CAbsent
#endif

/// Whole frames of zstd on their way through a crew. It changes hands under the crew's lock, which is what `@unchecked
/// Sendable` stands for.
final class FrameBundle: CrewJob, @unchecked Sendable {
    /// The frames, one after the other.
    var input: Slab
    /// What they hold, one after the other; has room for all of it.
    fileprivate(set) var output: Slab
    /// Bytes that the frames say they hold.
    var byteCount = 0
    private(set) var failure: LayerError?

    init(input: Slab, output: Slab) {
        self.input = input
        self.output = output
    }

    func run(_ tool: InflateTool) {
        do throws(LayerError) {
            try tool.inflate(input, input.start..<input.end, 0, byteCount, into: output)
        } catch {
            failure = error
        }
    }
}

/// Decompresses zstd of any number of frames on several threads.
///
/// A scout walks the headers of frames and blocks ahead of the crew, which inflates whole frames, short ones several at once;
/// what comes out is taken in order. A frame that is long, or does not say how long it is, goes through the streaming decoder.
/// What comes out is the same in any case, and so is what is refused.
struct ParallelZstdDecoder: StreamDecoder, ~Copyable {
    private var streaming: ZstdDecoder
    private var isStreaming = false
    private let owner: CompressionCrewOwner<FrameBundle>
    private let workers: Int
    private let inputs = SlabPool(slabCapacity: ParallelZstdDecoder.inputBytes, keep: 8)
    private let outputs = SlabPool(slabCapacity: ParallelZstdDecoder.outputBytes, keep: 8)
    private var open: FrameBundle?
    private var inFlight: [FrameBundle] = []
    /// What is handed out, and how much of it was.
    private var current: FrameBundle?
    private var given = 0
    /// Why the scout stopped; told when all before it was handed out.
    private var failure: LayerError?
    private var isAtEnd = false

    /// The longest frame that is inflated as a whole.
    private static let longestFrame: UInt64 = 8 << 20
    /// Of a bundle: compressed, and inflated.
    private static let inputBytes = 1 << 20
    private static let outputBytes = 2 << 20
    private static let bundleBytes = 1 << 20

    init(workers: Int) throws(LayerError) {
        streaming = try ZstdDecoder()
        self.workers = max(workers, 1)
        owner = CompressionCrewOwner(
            CompressionCrew(workers: max(workers, 1), makeTool: { InflateTool(.zstd) }))
    }

    mutating func fill(_ slab: Slab, from input: CompressedInput) throws(LayerError) {
        while slab.end < slab.capacity {
            if give(to: slab) { continue }
            if inFlight.count > workers + 1 || (isStreaming || isAtEnd || failure != nil) && !inFlight.isEmpty {
                try takeOldest()
            } else if let failure {
                throw failure
            } else if isStreaming {
                if try streaming.fillFrame(slab, from: input) { isStreaming = false }
            } else if isAtEnd {
                return
            } else {
                try scout(input)
            }
        }
    }

    // MARK: handing out

    /// Copies what a bundle held; false where nothing is left of it.
    private mutating func give(to slab: Slab) -> Bool {
        guard let bundle = current else { return false }
        let count = min(bundle.output.count - given, slab.capacity - slab.end)
        let output = bundle.output
        slab.append(output.span(output.start + given..<output.start + given + count))
        given += count
        if given == output.count {
            current = nil
            inputs.give(bundle.input)
            outputs.give(output)
        }
        return count > 0
    }

    private mutating func takeOldest() throws(LayerError) {
        let bundle = inFlight.removeFirst()
        owner.crew.wait(for: bundle)
        if let failure = bundle.failure { throw failure }
        (current, given) = (bundle, 0)
    }

    // MARK: the scout

    /// Sees what the next frame is: adds it to a bundle, passes it over, or leaves it to the streaming decoder.
    private mutating func scout(_ input: CompressedInput) throws(LayerError) {
        do throws(LayerError) {
            try input.buffer(atLeast: ZstdFrameHeader.longest)
            let buffer = input.buffer
            if buffer.count == 0 {
                isAtEnd = true
                return try submit()
            }
            if let length = ZstdFrameHeader.skippable(buffer.bytes) { return try skip(length, input) }
            let header = ZstdFrameHeader(buffer.bytes)
            guard let header, let size = header.contentSize, size <= Self.longestFrame, !header.needsDictionary else {
                try submit()
                isStreaming = true
                return
            }
            try gather(header, Int(size), input)
        } catch {
            guard error.code != .cancelled else { throw error }
            failure = error
            try submit()
        }
    }

    private func skip(_ length: UInt64, _ input: CompressedInput) throws(LayerError) {
        var left = length
        while left > 0 {
            if input.buffer.count == 0, try !input.refill() { throw .truncatedStream(.zstd) }
            let count = min(UInt64(input.buffer.count), left)
            input.buffer.start += Int(count)
            left -= count
        }
    }

    /// Copies a frame behind those of the open bundle.
    private mutating func gather(_ header: ZstdFrameHeader, _ size: Int, _ input: CompressedInput) throws(LayerError) {
        let bundle = open ?? FrameBundle(input: inputs.take(), output: Slab(capacity: 0))
        open = bundle
        let start = bundle.input.end
        // An encoder may flush each byte, but blocks without end are nobody's.
        let limit = size * 8 + (1 << 20)
        do throws(LayerError) {
            try copy(header.byteCount, to: bundle, input)
            var isLast = false
            while !isLast {
                try input.buffer(atLeast: 3)
                let bytes = input.buffer
                guard bytes.count >= 3 else { throw .truncatedStream(.zstd) }
                let word = Int(bytes.bytes[0]) | Int(bytes.bytes[1]) << 8 | Int(bytes.bytes[2]) << 16
                isLast = word & 1 == 1
                try copy(3 + (word >> 1 & 3 == 1 ? 1 : word >> 3), to: bundle, input)
                guard bundle.input.end - start <= limit else { throw .damagedStream(.zstd, "a frame has no end") }
            }
            if header.hasChecksum { try copy(4, to: bundle, input) }
        } catch {
            // What was complete before it is still delivered.
            bundle.input.end = start
            throw error
        }
        bundle.byteCount += size
        if bundle.byteCount >= Self.bundleBytes || bundle.input.count >= Self.inputBytes / 2 { try submit() }
    }

    private func copy(_ byteCount: Int, to bundle: FrameBundle, _ input: CompressedInput) throws(LayerError) {
        let wanted = bundle.input.end + byteCount
        if wanted > bundle.input.capacity {
            let larger = Slab(capacity: max(wanted, bundle.input.capacity * 2))
            larger.append(bundle.input.bytes)
            inputs.give(bundle.input)
            bundle.input = larger
        }
        var left = byteCount
        while left > 0 {
            if input.buffer.count == 0, try !input.refill() { throw .truncatedStream(.zstd) }
            let buffer = input.buffer
            let count = min(buffer.count, left)
            bundle.input.append(buffer.span(buffer.start..<buffer.start + count))
            buffer.start += count
            left -= count
        }
    }

    private mutating func submit() throws(LayerError) {
        guard let bundle = open.take() else { return }
        guard bundle.byteCount > 0 || bundle.input.count > 0 else { return inputs.give(bundle.input) }
        bundle.output = bundle.byteCount <= Self.outputBytes ? outputs.take() : Slab(capacity: bundle.byteCount)
        inFlight.append(bundle)
        try owner.crew.submit(bundle)
    }
}
