import LayerModel
import LinuxIO
import Synchronization
import TarCodec

/// Runs the encoders, and writes their segments to the sink in order. The calling thread writes, and encodes too
/// whenever the next segment is not ready.
struct LayerWriter<Sink: ByteSink & ~Copyable>: ~Copyable {
    private let job: ExportJob
    private let board: SegmentBoard
    private let pool: SlabPool
    private let cancel: CancelFlag
    private let progress: Progress?
    private(set) var bytes: UInt64 = 0
    private var written = 0
    /// The item whose first piece was left out.
    private var skippedItem = noIndex

    /// Finished or half-finished segments in memory: 64 of 256 KiB.
    static var window: Int { 64 }

    init(_ job: ExportJob, cancel: CancelFlag, progress: Progress?) {
        self.job = job
        self.cancel = cancel
        self.progress = progress
        board = SegmentBoard(count: job.plan.segments.count, window: Self.window)
        pool = SlabPool(slabCapacity: ExportPlan.segmentSize + 16_384, keep: Self.window)
    }

    /// Writes the whole layer, its end included.
    mutating func run(workers: Int?, into sink: inout Sink) throws(LayerError) -> ExportTally {
        let tallies = Monitor(ExportTally())
        let failure = FirstError()
        let count = min(WorkerPool(count: workers).count, max(1, board.count))
        let helpers = HelperThreads()
        let (job, board, pool, cancel) = (job, board, pool, cancel)
        for _ in 1..<max(count, 1) {
            try helpers.start {
                do throws(LayerError) {
                    let tally = try SegmentEncoder.help(job, board, pool, cancel)
                    tallies.update { held in
                        held.add(tally)
                        return ((), false)
                    }
                } catch {
                    failure.record(error)
                    board.stop()
                }
            }
        }
        do throws(LayerError) {
            let tally = try writeAll(into: &sink)
            tallies.update { held in
                held.add(tally)
                return ((), false)
            }
        } catch {
            failure.record(error)
        }
        board.stop()
        helpers.join()
        if let error = failure.value { throw error }
        return tallies.update { ($0, false) }
    }

    /// The calling thread's part.
    private mutating func writeAll(into sink: inout Sink) throws(LayerError) -> ExportTally {
        var encoder = SegmentEncoder(job)
        while written < board.count {
            try cancel.check()
            if let segment = board.take(wait: false) {
                try write(segment, into: &sink)
                continue
            }
            if let (index, encoded) = try encoder.finished(wait: encoder.waiting.count >= SegmentEncoder.depth) {
                board.publish(index, encoded)
                continue
            }
            if let index = board.claim(wait: false) {
                if let encoded = try encoder.encode(index, into: pool.take()) { board.publish(index, encoded) }
                continue
            }
            if let (index, encoded) = try encoder.finished(wait: true) {
                board.publish(index, encoded)
                continue
            }
            guard let segment = board.take(wait: true) else {
                throw LayerError(.cancelled, "write the layer", cause: .reason("interrupted"))
            }
            try write(segment, into: &sink)
        }
        let trailer = Slab(capacity: TarEncoder.trailerByteCount)
        trailer.appendZeros(TarEncoder.trailerByteCount)
        try sink.write(trailer.bytes)
        bytes += UInt64(TarEncoder.trailerByteCount)
        return encoder.finishTally()
    }

    private mutating func write(_ encoded: EncodedSegment, into sink: inout Sink) throws(LayerError) {
        let segment = job.plan.segments[written]
        if segment.length > 0 { try checkPieces(segment, encoded) }
        let isDropped = segment.length > 0 && skippedItem == segment.first
        if !isDropped, encoded.slab.count > 0 {
            bytes += UInt64(encoded.slab.count)
            try sink.write(encoded.slab, returningTo: pool)
        } else {
            pool.give(encoded.slab)
        }
        progress?.bytes.store(bytes, ordering: .relaxed)
        progress?.entries.add(UInt64(segment.offset == 0 ? segment.count : 0), ordering: .relaxed)
        written += 1
        board.advance()
    }

    /// All pieces of a large file share the fate of its first.
    private mutating func checkPieces(_ segment: ExportSegment, _ encoded: EncodedSegment) throws(LayerError) {
        if segment.offset == 0 {
            skippedItem = encoded.skipped ? segment.first : noIndex
        } else if encoded.skipped, skippedItem != segment.first {
            let item = job.plan.items[Int(segment.first)]
            let name = job.store.entries[Int(item.entry)].name
            throw LayerError(
                .fileChanged, "read", path: job.store.path(directory: item.directory, name: name),
                cause: .reason("it vanished while it was being read"),
                hint: "export a tree that nothing writes to, or a snapshot of it")
        }
    }
}

extension SegmentEncoder {
    /// Segments of one worker that wait for the ring.
    static var depth: Int { 24 }

    /// A worker that only encodes.
    static func help(_ job: ExportJob, _ board: SegmentBoard, _ pool: SlabPool, _ cancel: CancelFlag)
        throws(LayerError) -> ExportTally
    {
        var encoder = SegmentEncoder(job)
        while true {
            try cancel.check()
            while let (index, encoded) = try encoder.finished(wait: encoder.waiting.count >= depth) {
                board.publish(index, encoded)
            }
            if let index = board.claim(wait: encoder.waiting.isEmpty) {
                if let encoded = try encoder.encode(index, into: pool.take()) { board.publish(index, encoded) }
            } else if let (index, encoded) = try encoder.finished(wait: true) {
                board.publish(index, encoded)
            } else {
                break
            }
        }
        return encoder.finishTally()
    }

    /// The counts, with those of the opener and the ring.
    mutating func finishTally() -> ExportTally {
        tally.io.opens += opener.opens
        if let counters = ring?.counters {
            tally.io.ringSubmissions += counters.submissions
            tally.io.ringEnters += counters.enters
        }
        return tally
    }
}
