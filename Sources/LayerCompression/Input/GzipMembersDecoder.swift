import LayerModel
import LinuxIO

#if Gzip
    import CISAL
#else
    import CAbsent
#endif

/// Members of gzip, from one supposed beginning to another, on their way through a crew. It changes hands under the crew's lock,
/// which is what `@unchecked Sendable` stands for.
final class MemberBundle: CrewJob, @unchecked Sendable {
    let input: Slab
    /// What the members hold, in as many slabs as it takes.
    private(set) var outputs: [Slab] = []
    /// Whether members ended exactly where the bundle does, all of them sound.
    private(set) var isExact = false
    private let pool: SlabPool

    /// What a bundle may become in memory; more goes through the streaming decoder.
    private static let mostSlabs = 32

    init(input: Slab, pool: SlabPool) {
        self.input = input
        self.pool = pool
    }

    func run(_ tool: MemberTool) {
        var at = input.start
        while at < input.end {
            guard let end = tool.inflate(input, at..<input.end, next: { self.slab(after: $0) }) else { return }
            at = end
        }
        isExact = true
    }

    /// The slab to write to: the last one, or another if that is full; nil where there are too many.
    private func slab(after isFull: Bool) -> Slab? {
        if !isFull, let last = outputs.last { return last }
        guard outputs.count < Self.mostSlabs else { return nil }
        let slab = pool.take()
        outputs.append(slab)
        return slab
    }
}

/// What one worker inflates whole members with.
@safe
final class MemberTool {
    private let state: UnsafeMutablePointer<inflate_state>

    init() {
        // Reason, here and below: the state belongs to this object and is freed once, in deinit; the buffers that ISA-L gets lie
        // inside their slabs, which only this thread holds, and are used during the calls.
        unsafe state = .allocate(capacity: 1)
        unsafe isal_inflate_init(state)
    }

    deinit { unsafe state.deallocate() }

    /// Inflates the member that begins at the front of `range`; where it ends, or nil where it is damaged or goes on.
    func inflate(_ input: Slab, _ range: Range<Int>, next: (Bool) -> Slab?) -> Int? {
        var at = range.lowerBound
        var header = GzipHeader()
        reading: while true {
            guard at < range.upperBound else { return nil }
            let byte = input.span(at..<at + 1)[0]
            if at == range.lowerBound, byte != 0x1f { return nil }
            at += 1
            switch header.take(byte) {
            case .more: continue
            case .complete: break reading
            case .damaged, .unknownMethod, .unknownFlags: return nil
            }
        }
        unsafe isal_inflate_reset(state)
        unsafe state.pointee.crc_flag = UInt32(ISAL_GZIP_NO_HDR_VER)
        var isFull = false
        while true {
            guard let output = next(isFull) else { return nil }
            let room = output.capacity - output.end
            isFull = room == 0
            if isFull { continue }
            let result = unsafe input.withUnsafeAddress(at..<range.upperBound) { source in
                unsafe output.withUnsafeAddress(output.end..<output.capacity) { target in
                    unsafe state.pointee.next_in = source.assumingMemoryBound(to: UInt8.self)
                    unsafe state.pointee.avail_in = UInt32(range.upperBound - at)
                    unsafe state.pointee.next_out = target.assumingMemoryBound(to: UInt8.self)
                    unsafe state.pointee.avail_out = UInt32(room)
                    return unsafe isal_inflate(state)
                }
            }
            let produced = room - Int(unsafe state.pointee.avail_out)
            let left = Int(unsafe state.pointee.avail_in)
            guard result == ISAL_DECOMP_OK || result == ISAL_END_INPUT || result == ISAL_OUT_OVERFLOW,
                left <= range.upperBound - at
            else { return nil }
            let used = range.upperBound - at - left
            output.end += produced
            at += used
            if unsafe state.pointee.block_state == ISAL_BLOCK_FINISH { return at }
            guard produced > 0 || used > 0 else { return nil }
            isFull = output.end == output.capacity
        }
    }
}

/// Inflates gzip of several members on several threads, where somebody supposes to know where members begin.
///
/// What a worker made of a bundle counts only if the members before it ended exactly where it begins, and its own where it
/// ends. From the first one that does not fit on everything goes through the streaming decoder, its bytes once more: a wrong
/// supposition costs time, and nothing else.
struct GzipMembersDecoder: StreamDecoder, ~Copyable {
    private var streaming = GzipDecoder()
    private var isStreaming = false
    private let owner: CompressionCrewOwner<MemberBundle>
    private let workers: Int
    private let inputs = SlabPool(slabCapacity: 1 << 20, keep: 8)
    private let outputs = SlabPool(slabCapacity: 1 << 20, keep: 32)
    private var starts: ArraySlice<UInt64>
    /// Bytes of the layer in bundles so far.
    private var position: UInt64 = 0
    private var inFlight: [MemberBundle] = []
    /// What is handed out: slabs of a bundle, and how much of the first was.
    private var ready: [Slab] = []
    private var given = 0

    /// Compressed bytes of a bundle, about; and at most.
    private static let wanted: UInt64 = 256 << 10
    private static let longest: UInt64 = 8 << 20

    /// `starts` are supposed beginnings of members, in order.
    init(starts: [UInt64], workers: Int) {
        self.starts = starts.drop { $0 == 0 }
        self.workers = max(workers, 1)
        owner = CompressionCrewOwner(CompressionCrew(workers: max(workers, 1), makeTool: { MemberTool() }))
    }

    mutating func fill(_ slab: Slab, from input: CompressedInput) throws(LayerError) {
        while slab.end < slab.capacity {
            if give(to: slab) { continue }
            if isStreaming { return try streaming.fill(slab, from: input) }
            if inFlight.count <= workers + 1, try submit(input) { continue }
            guard !inFlight.isEmpty else {
                isStreaming = true
                continue
            }
            takeOldest(input)
        }
    }

    private mutating func give(to slab: Slab) -> Bool {
        guard let first = ready.first else { return false }
        let count = min(first.count - given, slab.capacity - slab.end)
        slab.append(first.span(first.start + given..<first.start + given + count))
        given += count
        if given == first.count {
            outputs.give(ready.removeFirst())
            given = 0
        }
        return true
    }

    private mutating func takeOldest(_ input: CompressedInput) {
        let bundle = inFlight.removeFirst()
        owner.crew.wait(for: bundle)
        guard bundle.isExact else {
            for later in inFlight { owner.crew.wait(for: later) }
            input.putBack([bundle.input] + inFlight.map(\.input))
            inFlight = []
            isStreaming = true
            return
        }
        streaming.goOn()
        ready += bundle.outputs
        inputs.give(bundle.input)
    }

    /// Hands the members up to one of the next starts to a worker; false where nobody knows more of them.
    private mutating func submit(_ input: CompressedInput) throws(LayerError) -> Bool {
        while let first = starts.first, first <= position { starts.removeFirst() }
        guard var end = starts.first, end - position <= Self.longest else { return false }
        while let next = starts.first, next <= position + Self.wanted {
            end = next
            starts.removeFirst()
        }
        let length = Int(end - position)
        let slab = length <= inputs.slabCapacity ? inputs.take() : Slab(capacity: length)
        while slab.count < length {
            if input.buffer.count == 0, try !input.refill() { break }
            let buffer = input.buffer
            let count = min(buffer.count, length - slab.count)
            slab.append(buffer.span(buffer.start..<buffer.start + count))
            buffer.start += count
        }
        guard slab.count == length else {
            // The layer ends before: what there is of it goes the other way.
            starts = []
            for bundle in inFlight { owner.crew.wait(for: bundle) }
            input.putBack(inFlight.map(\.input) + [slab])
            inFlight = []
            isStreaming = true
            return true
        }
        position = end
        let bundle = MemberBundle(input: slab, pool: outputs)
        inFlight.append(bundle)
        try owner.crew.submit(bundle)
        return true
    }
}
