import LayerModel
import LinuxIO
import Synchronization
import TarCodec

/// Runs the workers of an export, and writes their segments to the sink in order. The calling thread writes, and does
/// whatever else there is to do whenever the next segment is not ready.
struct LayerWriter<Sink: ByteSink & ~Copyable>: ~Copyable {
    private let job: ExportJob
    private let cancel: CancelFlag
    private let progress: Progress?
    private(set) var bytes: UInt64 = 0
    private var written = 0
    /// The item whose first piece was left out.
    private var skippedItem = noIndex

    init(_ job: ExportJob, cancel: CancelFlag, progress: Progress?) {
        self.job = job
        self.cancel = cancel
        self.progress = progress
    }

    /// Writes the whole layer, its end included.
    mutating func run(workers: Int?, into sink: inout Sink) throws(LayerError) -> ExportTally {
        let most = job.walk.descriptors.workers
        let count = WorkerPool(count: workers).count
        let crew = ExportCrew(
            job, cancel, count: min(count, most), coldCount: min(workers == nil ? 2 * count : count, most),
            slowCount: job.walk.descriptors.slowWorkers)
        do throws(LayerError) {
            crew.tallies.add(try writeAll(into: &sink, crew))
        } catch {
            crew.failure.record(error)
        }
        job.flow.stop()
        crew.helpers.join()
        if let error = crew.failure.value { throw error }
        return crew.tallies.sum
    }

    /// The calling thread's part.
    private mutating func writeAll(into sink: inout Sink, _ crew: ExportCrew) throws(LayerError) -> ExportTally {
        var encoder = SegmentEncoder(job)
        while true {
            try cancel.check()
            try encoder.publishFinished(wait: false)
            let task = job.flow.next(isWriter: true, inFlight: encoder.segments.waitingCount)
            if case .write(let segment) = task {
                try write(segment, into: &sink)
                continue
            }
            if case .done = task { break }
            try encoder.perform(task)
            crew.startHelpers()
        }
        guard job.flow.isComplete else {
            throw LayerError(.cancelled, "write the layer", cause: .reason("interrupted"))
        }
        let trailer = Slab(capacity: TarEncoder.trailerByteCount)
        trailer.appendZeros(TarEncoder.trailerByteCount)
        try sink.write(trailer.bytes)
        bytes += UInt64(TarEncoder.trailerByteCount)
        if let progress {
            progress.bytes.store(bytes, ordering: .relaxed)
            progress.totalBytes.store(bytes, ordering: .relaxed)
        }
        return encoder.finishTally()
    }

    private mutating func write(_ encoded: EncodedSegment, into sink: inout Sink) throws(LayerError) {
        let segment = job.plan.segments[written]
        if segment.length > 0 { try checkPieces(segment, encoded) }
        let isDropped = segment.length > 0 && skippedItem == segment.first
        try write(encoded.slab, isDropped, into: &sink)
        for slab in encoded.more { try write(slab, isDropped, into: &sink) }
        progress?.bytes.store(bytes, ordering: .relaxed)
        progress?.entries.add(UInt64(segment.offset == 0 ? segment.count : 0), ordering: .relaxed)
        written += 1
        job.flow.advance()
    }

    private mutating func write(_ slab: Slab, _ isDropped: Bool, into sink: inout Sink) throws(LayerError) {
        guard !isDropped, slab.count > 0 else { return job.pool.give(slab) }
        bytes += UInt64(slab.count)
        try sink.write(slab, returningTo: job.pool)
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

/// The workers beside the writer, which can do without them. They start when there is work for more than one, and more of them
/// when the tree turns out to be cold.
private final class ExportCrew {
    let tallies = ExportTallies()
    let failure = FirstError()
    let helpers = Helpers()
    private let job: ExportJob
    private let cancel: CancelFlag
    private let count: Int
    private let coldCount: Int
    private let slowCount: Int
    private var started = 1

    init(_ job: ExportJob, _ cancel: CancelFlag, count: Int, coldCount: Int, slowCount: Int) {
        self.job = job
        self.cancel = cancel
        self.count = count
        self.coldCount = coldCount
        self.slowCount = slowCount
    }

    func startHelpers() {
        guard started < slowCount else { return }
        let wanted =
            switch job.flow.demand {
            case .one: 1
            case .several: count
            case .cold: coldCount
            case .slow: slowCount
            }
        let (job, cancel, tallies, failure) = (job, cancel, tallies, failure)
        while started < wanted {
            started += 1
            helpers.start {
                do throws(LayerError) {
                    tallies.add(try SegmentEncoder.help(job, cancel))
                } catch {
                    failure.record(error)
                    job.flow.stop()
                }
            }
        }
    }
}

extension SegmentEncoder {
    /// A worker that does everything but write.
    fileprivate static func help(_ job: ExportJob, _ cancel: CancelFlag) throws(LayerError) -> ExportTally {
        var encoder = SegmentEncoder(job)
        while true {
            try cancel.check()
            try encoder.publishFinished(wait: false)
            let task = job.flow.next(isWriter: false, inFlight: encoder.segments.waitingCount)
            if case .done = task { return encoder.finishTally() }
            try encoder.perform(task)
        }
    }

    /// Does one task; writing is the writer's own.
    mutating func perform(_ task: ExportTask) throws(LayerError) {
        switch task {
        case .encode(let index):
            opening.begin()
            try orWithoutRing { (encoder) throws(LayerError) in
                if let encoded = try encoder.encode(index) { encoder.publish(index, encoded) }
            }
            if opening.isSlow(entries: Int(job.plan.segments[index].count)) { job.flow.encodedSlowly() }
        case .plan: try job.decideItems()
        case .walk(let directory):
            let start = ContinuousClock.now
            try walker.visit(directory)
            let limit = Duration.microseconds(200 + 8 * walker.scanned.count)
            job.flow.walked(directory, found: walker.found, slowly: start.duration(to: .now) > limit)
        case .collect: try publishFinished(wait: true)
        case .write, .done: return
        }
    }

    /// Hands in the segments whose last read is done; with `wait`, waits for one.
    mutating func publishFinished(wait: Bool) throws(LayerError) {
        try orWithoutRing { (encoder) throws(LayerError) in
            var wait = wait
            while let (index, encoded) = try encoder.finished(wait: wait) {
                encoder.publish(index, encoded)
                wait = false
            }
        }
    }

    /// Hands in a segment, and counts what is in it.
    mutating func publish(_ index: Int, _ encoded: EncodedSegment) {
        tally.add(encoded.counts)
        job.flow.publish(index, encoded)
    }

    /// Does what may need the ring; where that breaks, what was begun is done without it.
    private mutating func orWithoutRing(
        _ body: (inout SegmentEncoder) throws(LayerError) -> Void
    ) throws(LayerError) {
        do throws(LayerError) { try body(&self) } catch {
            guard segments.ringHasFailed else { throw error }
            try goOnWithoutRing(error)
        }
    }

    /// Brings the plan to its end, with this worker's help: a few rare questions need all of it.
    mutating func completePlan() throws(LayerError) {
        while let task = job.flow.nextForPlan() { try perform(task) }
    }

    /// The counts, with those of the walk and the ring.
    mutating func finishTally() -> ExportTally {
        tally.walk = walker.finishTally()
        tally.io.ringSubmissions += segments.ringCounters.submissions
        tally.io.ringEnters += segments.ringCounters.enters
        return tally
    }
}

/// The sum of the workers' tallies.
private final class ExportTallies: Sendable {
    private let held = Monitor(ExportTally())

    func add(_ tally: ExportTally) {
        held.update { held in
            held.add(tally)
            return ((), false)
        }
    }

    var sum: ExportTally { held.update { ($0, false) } }
}
