import LayerModel

/// The stream as a sequence of slabs, of which the newest is being decoded and the ones before may still be read by
/// writing threads.
final class SlabFeed {
    /// The slab being decoded.
    private(set) var current: Slab?
    /// The next byte of it.
    private(set) var position = 0
    /// Bytes handed over by the source so far.
    private(set) var streamBytes: UInt64 = 0
    private let crew: WriterCrew
    /// Slabs behind the current one, oldest first, each with the batches that read it.
    private var inFlight: [InFlight] = []

    private struct InFlight {
        var slab: Slab
        var marks: [UInt64]
    }

    /// Slabs under way at most: enough for every writer to have work, few enough to stay in small memory (10 MiB).
    private static let bound = 8

    init(crew: WriterCrew) { self.crew = crew }

    /// Bytes not decoded yet.
    var available: Int { current.map { $0.end - position } ?? 0 }

    func skip(_ count: Int) { position += count }

    /// Moves on to the source's next slab; false at the end of the stream.
    ///
    /// `carry` takes the undecoded rest along in front of the new bytes; it must fit the headroom. Every batch that
    /// reads the current slab must have been handed over.
    func advance<Source: SlabSource & ~Copyable>(_ source: inout Source, carry: Bool = false) throws(LayerError) -> Bool
    {
        reclaim(&source, downTo: Self.bound)
        guard let next = try source.next() else { return false }
        streamBytes += UInt64(next.count)
        if let old = current {
            if carry, position < old.end {
                let rest = old.end - position
                precondition(rest <= next.start, "a carried piece must fit the headroom")
                next.copy(old.span(position..<old.end), at: next.start - rest)
                next.start -= rest
            }
            inFlight.append(InFlight(slab: old, marks: (0..<crew.laneCount).map { crew.pushed($0) }))
        }
        current = next
        position = next.start
        return true
    }

    /// Gives slabs back that no writer needs, and waits for writers while there are too many.
    private func reclaim<Source: SlabSource & ~Copyable>(_ source: inout Source, downTo bound: Int) {
        while let oldest = inFlight.first {
            for lane in 0..<crew.laneCount where !crew.isDone(lane: lane, oldest.marks[lane]) {
                if inFlight.count < bound { return }
                crew.wait(lane: lane, until: oldest.marks[lane])
            }
            source.recycle(inFlight.removeFirst().slab)
        }
    }

    /// Reads and drops the rest of the stream, at most `limit` bytes.
    func drain<Source: SlabSource & ~Copyable>(
        _ source: inout Source, limit: UInt64, cancel: () throws(LayerError) -> Void
    )
        throws(LayerError)
    {
        var trailing = UInt64(available)
        while true {
            guard trailing <= limit else {
                throw LayerError(
                    .limitExceeded, "apply", cause: .reason("more than \(limit) bytes follow the end of the archive"))
            }
            try cancel()
            guard let slab = try source.next() else { return }
            streamBytes += UInt64(slab.count)
            trailing += UInt64(slab.count)
            source.recycle(slab)
        }
    }

    /// Gives every slab back; all writers must be done.
    func release<Source: SlabSource & ~Copyable>(_ source: inout Source) {
        while let oldest = inFlight.popLast() { source.recycle(oldest.slab) }
        if let slab = current.take() { source.recycle(slab) }
    }
}
