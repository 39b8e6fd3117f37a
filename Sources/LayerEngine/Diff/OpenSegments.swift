import LayerModel
import LinuxIO

/// The segments that one encoder has begun and not handed in: their slabs, and the reads that the kernel carries out into
/// them.
///
/// This is the only place that decides when a slab leaves. A slab neither moves nor grows; where one is full, the segment
/// goes on in the next. A segment leaves when it is encoded and none of its reads is in flight, and each of its slabs says
/// so itself. What follows a header is counted against what the header says.
struct OpenSegments: ~Copyable {
    private let pool: SlabPool
    private var current: OpenSegment?
    private let noSlab = Slab(capacity: 0)
    /// The last slab of the current segment; one without room where there is none.
    private var tail: Slab
    /// Encoded segments whose reads are in flight, or that nobody has taken yet.
    private var waiting: [OpenSegment] = []

    private var ring: Ring?
    private var reads: [ReadInFlight] = []
    private var freeReads: [Int] = []
    /// Reads in flight for all segments together.
    private(set) var readCount = 0
    private var retired = (submissions: UInt64(0), enters: UInt64(0))

    /// Bytes that still have to follow the last header, padding included.
    private var owed: Int64 = 0

    init(pool: SlabPool) {
        self.pool = pool
        tail = noSlab
    }

    /// Segments that wait for reads.
    var waitingCount: Int { waiting.count }

    /// What the current segment counts.
    var counts: SegmentCounts {
        get { current?.encoded.counts ?? SegmentCounts() }
        set { current?.encoded.counts = newValue }
    }

    // MARK: One segment from begin to end

    /// Begins a segment; what is appended from now on belongs to it.
    mutating func begin(_ index: Int) {
        precondition(current == nil && owed == 0, "a segment was begun inside another")
        tail = pool.take()
        current = OpenSegment(index: index, encoded: EncodedSegment(tail))
    }

    /// Room for a header, which `bodyByteCount` bytes of this segment must follow, padding included.
    mutating func reserveHeader(_ count: Int, bodyByteCount: Int64) -> BodyPlace {
        precondition(owed == 0, "the bytes of the entry before are not as its header says")
        owed = Int64(count)
        let place = reserveBody(count)
        owed = bodyByteCount
        return place
    }

    /// Says that a segment without a header goes on with `byteCount` bytes of a body begun before, padding included.
    mutating func continueBody(_ byteCount: Int64) {
        precondition(owed == 0, "the bytes of the entry before are not as its header says")
        owed = byteCount
    }

    /// Room for `count` bytes of a body, which count as appended; the caller fills it, at once or through `queue`.
    mutating func reserveBody(_ count: Int) -> BodyPlace {
        owed -= Int64(count)
        precondition(owed >= 0, "more bytes than the header says")
        makeRoom(count)
        let start = tail.end
        tail.end += count
        return BodyPlace(slab: tail, range: start..<start + count)
    }

    /// Fills up the last block of a body.
    mutating func appendPadding(_ count: Int) {
        owed -= Int64(count)
        precondition(owed >= 0, "more bytes than the header says")
        makeRoom(count)
        tail.appendZeros(count)
    }

    private mutating func makeRoom(_ count: Int) {
        guard tail.capacity - tail.end < count else { return }
        tail = count <= pool.slabCapacity ? pool.take() : Slab(capacity: count)
        current?.encoded.add(tail)
    }

    /// Ends the current segment; nil where reads are still in flight, and `takeFinished` gives it later.
    mutating func end(skipped: Bool) throws(LayerError) -> EncodedSegment? {
        guard var segment = current.take() else { preconditionFailure("no segment was begun") }
        precondition(owed == 0, "the bytes of the last entry are not as its header says")
        tail = noSlab
        segment.encoded.skipped = skipped
        guard segment.reads > 0 else {
            segment.encoded.check()
            return segment.encoded
        }
        waiting.append(segment)
        try ring?.submit()
        return nil
    }

    /// An ended segment whose last read is done.
    mutating func takeFinished() -> (index: Int, encoded: EncodedSegment)? {
        guard let position = waiting.firstIndex(where: { $0.reads == 0 }) else { return nil }
        let segment = waiting.remove(at: position)
        segment.encoded.check()
        return (segment.index, segment.encoded)
    }

    // MARK: Reads in flight

    var hasRing: Bool { ring != nil }

    /// Whether the ring itself broke, so that what is in flight never ends.
    var ringHasFailed: Bool {
        switch ring {
        case .some(let ring): ring.hasFailed
        case .none: false
        }
    }

    /// Whether the kernel could not carry out a read, which a plain call did then.
    var ringHasGivenUp: Bool {
        switch ring {
        case .some(let ring): ring.hasGivenUp
        case .none: false
        }
    }

    mutating func makeRing(entries: Int) throws(LayerError) { ring = try Ring(entries: entries) }

    /// Reads into a part of the current segment through the ring, which closes the file.
    mutating func queue(_ file: consuming OwnedDescriptor, _ place: BodyPlace, at offset: Int64, _ item: ExportItem)
        throws(LayerError)
    {
        let token = note(place, item)
        try ring?.read(file, into: place.slab, place.range, at: offset, token: token)
    }

    /// The same through a descriptor that several workers read from.
    mutating func queue(_ file: SharedDescriptor, _ place: BodyPlace, at offset: Int64, _ item: ExportItem)
        throws(LayerError)
    {
        let token = note(place, item)
        try ring?.read(through: file, into: place.slab, place.range, at: offset, token: token)
    }

    private mutating func note(_ place: BodyPlace, _ item: ExportItem) -> UInt64 {
        guard let index = current?.index, ring != nil else { preconditionFailure("a read without a segment or a ring") }
        current?.reads += 1
        readCount += 1
        let read = ReadInFlight(item: item, segment: index, place: place)
        if let free = freeReads.popLast() {
            precondition(reads[free].place == nil, "a read's place is taken")
            reads[free] = read
            return UInt64(free)
        }
        reads.append(read)
        return UInt64(reads.count - 1)
    }

    /// Takes one finished read; nil where none is finished (or, with `wait`, none is in flight).
    mutating func reap(wait: Bool) throws(LayerError) -> (read: ReadInFlight, result: Int32)? {
        guard readCount > 0, let completion = try ring?.nextCompletion(wait: wait) else { return nil }
        let token = Int(completion.token)
        let read = reads[token]
        precondition(read.place != nil, "a read ended twice")
        reads[token].place = nil
        freeReads.append(token)
        readCount -= 1
        if current?.index == read.segment {
            current?.reads -= 1
        } else {
            guard let position = waiting.firstIndex(where: { $0.index == read.segment }), waiting[position].reads > 0
            else { preconditionFailure("a read of a segment that has left") }
            waiting[position].reads -= 1
        }
        return (read, completion.result)
    }

    /// Gives up the ring with all that is begun, and says which segments have to be encoded anew. Memory that the kernel
    /// may still write into is left to it.
    mutating func abandon() -> [Int] {
        var indices = waiting.map(\.index)
        if let current { indices.append(current.index) }
        if let counters = ring?.counters {
            retired.submissions += counters.submissions
            retired.enters += counters.enters
        }
        ring = nil
        owed = 0
        tail = noSlab
        waiting.removeAll()
        reads.removeAll()
        freeReads.removeAll()
        readCount = 0
        current = nil
        return indices
    }

    /// Entries given to the kernel by rings, and calls that this took.
    var ringCounters: (submissions: UInt64, enters: UInt64) {
        switch ring {
        case .some(let ring):
            (retired.submissions + ring.counters.submissions, retired.enters + ring.counters.enters)
        case .none: retired
        }
    }
}

/// Room for a body, or a piece of one, in a segment.
struct BodyPlace {
    let slab: Slab
    var range: Range<Int>
}

/// A read that the ring carries out.
struct ReadInFlight {
    var item: ExportItem
    var segment: Int
    /// Nil once it is done.
    var place: BodyPlace?
}

/// A segment that is being encoded, or waits for reads.
private struct OpenSegment {
    let index: Int
    var encoded: EncodedSegment
    var reads = 0
}

/// A segment's bytes, in one slab or, where its headers are long, in several.
struct EncodedSegment {
    private(set) var slab: Slab
    private(set) var more: [Slab] = []
    /// The file of this piece was left out.
    var skipped = false
    var counts = SegmentCounts()

    init(_ slab: Slab) { self.slab = slab }

    fileprivate mutating func add(_ next: Slab) { more.append(next) }

    /// What must hold of a segment that is handed in.
    fileprivate func check() {
        var byteCount = slab.count
        precondition(slab.isIdle, "a segment would leave while the kernel writes into it")
        for slab in more {
            precondition(slab.isIdle, "a segment would leave while the kernel writes into it")
            byteCount += slab.count
        }
        precondition(byteCount & 511 == 0, "a segment of no whole blocks")
    }
}

/// What the entries of one segment add to the report, once it is handed in.
struct SegmentCounts {
    var entries = 0
    /// The newest time of an entry that lies in the tree.
    var newestTime = Int64.min
    var skippedUnreadable = 0
    var skippedVanished = 0
}
