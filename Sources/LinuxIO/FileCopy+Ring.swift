import LayerModel

/// Copies whose reads are in flight in a ring, for data that come from a disk.
extension FileCopier {
    /// A chunk that is being read.
    private struct Place {
        var range: Range<Int64> = 0..<0
        /// Bytes read; nil while the kernel is at it.
        var count: Int?
    }

    /// Keeps `window` reads in flight; each takes a descriptor of its own along, as the ring's reads do. What was read is
    /// written in the file's order, so that zeros are found that go over several chunks.
    mutating func copyThroughRing(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor,
        _ outcome: inout CopyOutcome
    ) throws(LayerError) -> Int64 {
        // Kept for the next file only when all is well: after an error the kernel may still write into it.
        let slab = makeSlab()
        self.slab = nil
        if self.ring == nil { self.ring = try Ring(entries: Self.window) }
        guard var ring = ring.take() else { return run.lowerBound }
        var contents = SparseWriter(sparse, at: run.lowerBound)
        var next = run.lowerBound
        // Where the source ends; nothing is started or written behind it.
        var end = run.upperBound
        var places = [Place](repeating: Place(), count: Self.window)
        for place in 0..<Self.window { try start(place, &next, end, source, slab, &places, &ring) }
        var oldest = 0
        while let completion = try ring.nextCompletion(wait: true) {
            try cancel?.check("copy file contents")
            do throws(SystemCallError) {
                places[Int(completion.token)].count = try completion.check("read")
            } catch { throw contentError(error) }
            while let count = places[oldest].count {
                places[oldest].count = nil
                let range = places[oldest].range
                let first = oldest * Self.chunk
                if range.lowerBound < end {
                    do throws(SystemCallError) {
                        try contents.write(slab.span(first..<first + count), to: target)
                    } catch { throw contentError(error) }
                    if count < range.count { end = range.lowerBound + Int64(count) }
                }
                try start(oldest, &next, end, source, slab, &places, &ring)
                oldest = (oldest + 1) % Self.window
            }
        }
        self.ring = consume ring
        self.slab = slab
        do throws(SystemCallError) { try contents.finish(target) } catch { throw contentError(error) }
        if contents.writtenBytes > 0 { outcome.method = .ring }
        outcome.movedBytes += contents.writtenBytes
        return contents.position
    }

    private func start(
        _ place: Int, _ next: inout Int64, _ end: Int64, _ source: borrowing OwnedDescriptor, _ slab: Slab,
        _ places: inout [Place], _ ring: inout Ring
    ) throws(LayerError) {
        guard next < end else { return }
        let range = next..<min(next + Int64(Self.chunk), end)
        next = range.upperBound
        places[place].range = range
        let descriptor: OwnedDescriptor
        do throws(SystemCallError) { descriptor = try source.duplicate() } catch { throw contentError(error) }
        let first = place * Self.chunk
        try ring.read(
            descriptor, into: slab, first..<first + range.count, at: range.lowerBound, token: UInt64(place))
    }
}
