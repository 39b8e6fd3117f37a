import LayerModel
import LinuxIO
import TarCodec

/// File contents, read straight into the slab that leaves. What memory holds is read at once; what would wait for a
/// disk is given to the ring, and the encoder goes on with the next file.
extension SegmentEncoder {
    /// Fills a place with the bytes at `offset`, as far as that is done at once; returns what is left for the ring.
    mutating func readAtOnce(
        _ file: borrowing OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, _ place: BodyPlace,
        at offset: Int64
    ) throws(LayerError) -> BodyPlace? {
        let count = place.range.count
        tally.io.bytesRead += UInt64(count)
        if entry.flags.contains(.sparse) {
            try readSparse(file, item, entry, place, at: offset)
            return nil
        }
        var done = 0
        do throws(SystemCallError) {
            if job.io == .auto, triesMemoryFirst() {
                done = try file.readCached(into: place.slab, place.range, at: offset) ?? 0
                if done == count {
                    tally.io.inlineReads += 1
                    missesInARow = 0
                    return nil
                }
                missesInARow += 1
            }
        } catch { throw failure(error, "read", item, entry) }
        var rest = place
        rest.range = place.range.lowerBound + done..<place.range.upperBound
        if job.io != .sync, prepareRing() { return rest }
        try readNow(file, item, entry, rest, at: offset + Int64(done))
        return nil
    }

    /// Whether to ask memory before the ring. After a run of misses the tree counts as cold, and only now and then
    /// a file is asked for the other way, so that a cold tree does not pay for two calls a file.
    private mutating func triesMemoryFirst() -> Bool {
        guard missesInARow >= 16, !ringRefused else { return true }
        coldReads &+= 1
        return coldReads & 31 == 0
    }

    /// Reads with plain calls until the place is full.
    private mutating func readNow(
        _ file: borrowing OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, _ place: BodyPlace,
        at offset: Int64
    ) throws(LayerError) {
        var done = 0
        let range = place.range
        while done < range.count {
            let got: Int
            do throws(SystemCallError) {
                got = try file.read(
                    into: place.slab, range.lowerBound + done..<range.upperBound, at: offset + Int64(done))
            } catch { throw failure(error, "read", item, entry) }
            if got == 0 {
                return try shrank(
                    item, entry, BodyPlace(slab: place.slab, range: range.lowerBound + done..<range.upperBound))
            }
            done += got
        }
    }

    /// The file ended before its size: an error, or zeros where the policy says so.
    private mutating func shrank(_ item: ExportItem, _ entry: EntryRecord, _ missing: BodyPlace) throws(LayerError) {
        guard job.options.shrunk == .zeroPad else {
            throw changed(item, entry, "the file shrank while it was read: \(missing.range.count) bytes are missing")
        }
        missing.slab.zero(missing.range)
        tally.warn("padded with zeros, since it shrank: \(fullPath(item, entry))")
    }

    /// Reads only where there are data; holes become zeros without touching the disk.
    ///
    /// A file that ended meanwhile has no data behind its end either, so a hole that reaches the end of the place counts
    /// only if the file still does.
    private mutating func readSparse(
        _ file: borrowing OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, _ place: BodyPlace,
        at offset: Int64
    ) throws(LayerError) {
        place.slab.zero(place.range)
        let end = offset + Int64(place.range.count)
        var position = offset
        while position < end {
            let found: Int64?
            let hole: Int64
            do throws(SystemCallError) {
                found = try file.seek(position, .data)
                if let found, found < end {
                    hole = min(try file.seek(found, .hole) ?? end, end)
                } else {
                    hole = end
                }
            } catch { throw failure(error, "look for holes in", item, entry) }
            guard let data = found, data < end else {
                if found == nil { try checkReaches(end, file, item, entry, place, from: position - offset) }
                return
            }
            let target = place.range.lowerBound + Int(data - offset)
            try readNow(
                file, item, entry, BodyPlace(slab: place.slab, range: target..<target + Int(hole - data)), at: data)
            position = hole
        }
    }

    /// Makes sure that a file in which no more data were found has not become shorter than what was taken from it.
    private mutating func checkReaches(
        _ end: Int64, _ file: borrowing OwnedDescriptor, _ item: ExportItem, _ entry: EntryRecord, _ place: BodyPlace,
        from done: Int64
    ) throws(LayerError) {
        tally.io.stats += 1
        let size: Int64
        do throws(SystemCallError) { size = try file.metadata().size } catch {
            throw failure(error, "look at", item, entry)
        }
        guard size < end else { return }
        let missing = Int(min(end - size, Int64(place.range.count) - done))
        try shrank(
            item, entry,
            BodyPlace(slab: place.slab, range: place.range.upperBound - missing..<place.range.upperBound))
    }

    // MARK: The ring

    /// Makes the ring on first need; false where the kernel gives none.
    private mutating func prepareRing() -> Bool {
        guard !ringRefused else { return false }
        if segments.hasRing {
            guard segments.ringHasGivenUp else { return true }
            // What is in flight ends; nothing more is given to it.
            ringRefused = true
            tally.warn("io_uring has no thread or no memory: the rest is read with plain calls")
            return false
        }
        do throws(LayerError) {
            try segments.makeRing(entries: job.walk.descriptors.readsInFlight)
            return true
        } catch {
            ringRefused = true
            tally.warn("\(error)")
            return false
        }
    }

    /// Takes one finished read; false where none is finished (or, with `wait`, none is in flight).
    mutating func reap(wait: Bool) throws(LayerError) -> Bool {
        guard let (read, result) = try segments.reap(wait: wait) else { return false }
        let entry = store.entries[Int(read.item.entry)]
        guard result >= 0 else {
            throw failure(SystemCallError("read", errno: -result), "read", read.item, entry)
        }
        if let place = read.place, Int(result) < place.range.count {
            try shrank(
                read.item, entry,
                BodyPlace(slab: place.slab, range: place.range.lowerBound + Int(result)..<place.range.upperBound))
        }
        return true
    }

    /// Encodes anew, with plain calls, what was begun when the ring broke.
    mutating func goOnWithoutRing(_ error: LayerError) throws(LayerError) {
        ringRefused = true
        tally.warn("io_uring stopped working (\(error)): the rest is read with plain calls")
        encoder = TarEncoder()
        for index in segments.abandon().sorted() {
            guard let encoded = try encode(index) else { preconditionFailure("a read in flight without a ring") }
            publish(index, encoded)
        }
    }
}
