import LayerModel
import LinuxIO

/// File contents, read straight into the slab that leaves. What memory holds is read at once; what would wait for a
/// disk is given to the ring, and the encoder goes on with the next file (architecture.md 0.9).
extension SegmentEncoder {
    /// Brings `length` bytes at `offset` behind what the slab holds. They may arrive later: see `pendingReads`.
    mutating func readBody(
        _ file: consuming OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, offset: Int64, length: Int64,
        _ slab: inout Slab
    ) throws(LayerError) {
        let count = Int(length)
        if slab.capacity - slab.end < count + 1024 {
            try waitForReads()
            Self.makeRoom(count + 1024, &slab)
        }
        let start = slab.end
        slab.end += count
        tally.io.bytesRead += UInt64(count)
        if entry.flags.contains(.sparse) {
            return try readSparse(file, item, entry, offset, start..<start + count, slab)
        }
        var done = 0
        do throws(SystemCallError) {
            if job.io == .auto, triesMemoryFirst() {
                done = try file.readCached(into: slab, start..<start + count, at: offset) ?? 0
                if done == count {
                    tally.io.inlineReads += 1
                    missesInARow = 0
                    return
                }
                missesInARow += 1
            }
        } catch { throw failure(error, "read", item, entry) }
        if job.io != .sync, prepareRing() {
            return try queue(file, item, entry, slab, start + done..<start + count, at: offset + Int64(done))
        }
        try readNow(file, item, entry, slab, start + done..<start + count, at: offset + Int64(done))
    }

    /// Whether to ask memory before the ring. After a run of misses the tree counts as cold, and only now and then
    /// a file is asked for the other way, so that a cold tree does not pay for two calls a file.
    private mutating func triesMemoryFirst() -> Bool {
        guard missesInARow >= 16, !ringRefused else { return true }
        coldReads &+= 1
        return coldReads & 31 == 0
    }

    /// Reads with plain calls until the range is full.
    private mutating func readNow(
        _ file: borrowing OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, _ slab: Slab, _ range: Range<Int>,
        at offset: Int64
    ) throws(LayerError) {
        var done = 0
        while done < range.count {
            let got: Int
            do throws(SystemCallError) {
                got = try file.read(into: slab, range.lowerBound + done..<range.upperBound, at: offset + Int64(done))
            } catch { throw failure(error, "read", item, entry) }
            if got == 0 { return try shrank(item, entry, slab, range.lowerBound + done..<range.upperBound) }
            done += got
        }
    }

    /// The file ended before its size: an error, or zeros where the policy says so.
    mutating func shrank(_ item: ExportItem, _ entry: EntryRecord, _ slab: Slab, _ missing: Range<Int>)
        throws(LayerError)
    {
        guard job.options.shrunk == .zeroPad else {
            throw changed(item, entry, "the file shrank while it was read: \(missing.count) bytes are missing")
        }
        zero(slab, missing)
        tally.warn("padded with zeros, since it shrank: \(fullPath(item, entry))")
    }

    private func zero(_ slab: Slab, _ range: Range<Int>) {
        let end = slab.end
        slab.end = range.lowerBound
        slab.appendZeros(range.count)
        slab.end = end
    }

    /// Reads only where there are data; holes become zeros without touching the disk (layer-archive.md D17).
    private mutating func readSparse(
        _ file: borrowing OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, _ offset: Int64,
        _ range: Range<Int>, _ slab: Slab
    ) throws(LayerError) {
        zero(slab, range)
        let end = offset + Int64(range.count)
        var position = offset
        while position < end {
            let data: Int64
            let hole: Int64
            do throws(SystemCallError) {
                guard let found = try file.seek(position, .data), found < end else { return }
                data = found
                hole = min(try file.seek(data, .hole) ?? end, end)
            } catch { throw failure(error, "look for holes in", item, entry) }
            let target = range.lowerBound + Int(data - offset)
            try readNow(file, item, entry, slab, target..<target + Int(hole - data), at: data)
            position = hole
        }
    }

    // MARK: The ring

    /// Makes the ring on first need; false where the kernel gives none.
    private mutating func prepareRing() -> Bool {
        if ring != nil { return true }
        guard !ringRefused else { return false }
        do throws(LayerError) {
            ring = try Ring(entries: job.walk.ringWindow)
            return true
        } catch {
            ringRefused = true
            tally.warn("\(error)")
            return false
        }
    }

    private mutating func queue(
        _ file: consuming OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, _ slab: Slab, _ range: Range<Int>,
        at offset: Int64
    ) throws(LayerError) {
        let read = PendingRead(item: item, segment: currentSegment, slab: slab, range: range)
        let token: Int
        if let free = freeReads.popLast() {
            reads[free] = read
            token = free
        } else {
            token = reads.count
            reads.append(read)
        }
        pendingReads += 1
        try ring?.read(file, into: slab, range, at: offset, token: UInt64(token))
    }

    /// Takes one finished read; false where none is finished (or, with `wait`, none is in flight).
    mutating func reap(wait: Bool) throws(LayerError) -> Bool {
        guard pendingReads > 0, let completion = try ring?.nextCompletion(wait: wait) else { return false }
        let token = Int(completion.token)
        let read = reads[token]
        reads[token] = PendingRead.none
        freeReads.append(token)
        pendingReads -= 1
        if let index = waiting.firstIndex(where: { $0.index == read.segment }) { waiting[index].reads -= 1 }
        let entry = store.entries[Int(read.item.entry)]
        guard completion.result >= 0 else {
            throw failure(SystemCallError("read", errno: -completion.result), "read", read.item, entry)
        }
        let got = Int(completion.result)
        if got < read.range.count, let slab = read.slab {
            try shrank(read.item, entry, slab, read.range.lowerBound + got..<read.range.upperBound)
        }
        return true
    }

    /// Waits until nothing is in flight.
    mutating func waitForReads() throws(LayerError) {
        while pendingReads > 0 { _ = try reap(wait: true) }
    }
}

/// A read that the ring carries out.
struct PendingRead {
    var item: ExportItem
    var segment: Int
    var slab: Slab?
    var range: Range<Int>

    static let none = PendingRead(
        item: ExportItem(entry: 0, directory: 0, action: .entry), segment: 0, slab: nil, range: 0..<0)
}

/// A segment that still waits for reads.
struct WaitingSegment {
    var index: Int
    var encoded: EncodedSegment
    var reads: Int
}
