import LayerModel
import LinuxIO
import Synchronization
import TarCodec

/// A regular file whose bytes come next in the stream.
struct FileTarget {
    let place: NamePlace
    var job: FileJob
}

/// Contents of files on their way from the stream to the writing threads: the slab being decoded, the batch being filled, and
/// the crew that has the ones before.
///
/// A slab is left only after the batch that reads it was handed over, which is why one type has both.
final class FileQueue {
    let values: EntryValues
    private let tree: ApplyTree
    private let log: ApplyLog
    private let crew: WriterCrew
    private let feed: SlabFeed
    private let options: ApplyOptions
    /// The batch being filled.
    private var batch: FileBatch?
    /// Bytes of files so far, for the caller's bound.
    private var fileBytes: UInt64 = 0

    init(
        _ options: ApplyOptions, _ share: DescriptorShare, _ tree: ApplyTree, _ values: EntryValues, _ log: ApplyLog
    ) throws(LayerError) {
        self.options = options
        self.tree = tree
        self.values = values
        self.log = log
        crew = try WriterCrew(
            workers: share.workers, queue: share.readsInFlight, arena: tree.arena,
            settings: FileWriter.Settings(policy: values.policy, sparse: options.sparse, cancel: options.cancel))
        feed = SlabFeed(crew: crew)
    }

    // MARK: the stream

    /// Bytes of the current slab that are not decoded yet.
    var available: Int { feed.available }

    /// One step of the decoder over the current slab, of which there are bytes left.
    func step(_ decoder: inout TarDecoder) throws(TarError) -> TarDecoder.Step {
        guard let slab = feed.current else { return .needMore(atLeast: 1) }
        let (consumed, step) = try decoder.step(slab.span(feed.position..<slab.end))
        feed.skip(consumed)
        return step
    }

    /// Takes up to `limit` bytes of the current file, which `use` puts somewhere.
    func take(_ limit: Int64, _ decoder: inout TarDecoder, _ use: (RawSpan) throws(SystemCallError) -> Void)
        throws(LayerError) -> Int64
    {
        guard let slab = feed.current else { return 0 }
        let count = Int(min(limit, Int64(feed.available)))
        try attempt { () throws(SystemCallError) in try use(slab.span(feed.position..<feed.position + count)) }
        advance(count, &decoder)
        return Int64(count)
    }

    private func advance(_ count: Int, _ decoder: inout TarDecoder) {
        feed.skip(count)
        decoder.advance(count)
    }

    /// Moves on to the next slab once everything that reads the current one is handed over; false at the stream's end.
    /// `carry` takes the undecoded rest along.
    func nextSlab<Source: SlabSource & ~Copyable>(_ source: inout Source, carry: Bool = false) throws(LayerError)
        -> Bool
    {
        try flush()
        try options.cancel.check()
        let more = try feed.advance(&source, carry: carry)
        if let progress = options.progress {
            progress.bytes.store(feed.streamBytes, ordering: .relaxed)
            progress.entries.store(UInt64(log.report.entries), ordering: .relaxed)
        }
        return more
    }

    /// Reads what follows the archive's end.
    func readTrailer<Source: SlabSource & ~Copyable>(_ source: inout Source) throws(LayerError) {
        try flush()
        let cancel = options.cancel
        try feed.drain(&source, limit: options.maxTrailingBytes) { () throws(LayerError) in try cancel.check() }
    }

    /// Gives every slab back; all writers must have ended.
    func release<Source: SlabSource & ~Copyable>(_ source: inout Source) { feed.release(&source) }

    // MARK: files

    /// Counts a file's bytes against the caller's bound.
    func count(fileBytes size: Int64) throws(LayerError) {
        fileBytes &+= UInt64(max(size, 0))
        guard let limit = options.maxBytes, fileBytes > limit else { return }
        throw LayerError(
            .limitExceeded, "apply",
            cause: .archive(offset: log.entryOffset, reason: "the files have more than \(limit) bytes"))
    }

    /// Hands the bytes of a regular file, which come next in the stream, to a writer; false if the stream ends before they do.
    func deliver<Source: SlabSource & ~Copyable>(
        _ target: FileTarget, _ decoder: inout TarDecoder, _ source: inout Source
    ) throws(LayerError) -> Bool {
        var job = target.job
        var left = decoder.storedByteCount
        while left > Int64(feed.available), left <= Int64(SlabSourceDefaults.headroom) {
            // A small file that continues in the next slab goes there as a whole.
            guard try nextSlab(&source, carry: true) else { return false }
        }
        if left <= Int64(feed.available) {
            job.start = feed.position
            job.count = Int(left)
            try enqueue(job, attributesOf: decoder)
            advance(job.count, &decoder)
            return true
        }
        try flush()
        job.part = .first
        let lane = crew.lane(after: tree.nodes[Int(job.node)])
        while true {
            job.start = feed.position
            job.count = Int(min(left, Int64(feed.available)))
            left -= Int64(job.count)
            if left == 0 { job.part = .last }
            try enqueue(job, attributesOf: decoder)
            try flush(to: lane)
            advance(job.count, &decoder)
            if left == 0 { return true }
            job.part = .middle
            guard try nextSlab(&source) else { return false }
        }
    }

    /// Adds a job, whose bytes lie in the current slab, to the batch of its directory.
    private func enqueue(_ job: FileJob, attributesOf entry: borrowing TarDecoder) throws(LayerError) {
        if let open = batch,
            open.node != job.node || open.slab !== feed.current || open.files.count >= FileBatch.capacity
        {
            try flush()
        }
        let open: FileBatch
        if let batch {
            open = batch
        } else {
            open = crew.takeBatch()
            open.directory = try attempt { () throws(SystemCallError) in try tree.handle(job.node) }
            open.node = job.node
            open.slab = feed.current
            batch = open
        }
        var job = job
        if entry.extendedAttributeCount > 0, job.part == .whole || job.part == .first {
            job.firstAttribute = open.attributes.count
            job.attributeCount = try values.appendAttributes(of: entry, to: &open.attributes)
        }
        open.files.append(job)
    }

    /// Hands the open batch over, to a given lane if its files must stay together.
    private func flush(to fixedLane: Int? = nil) throws(LayerError) {
        guard let open = batch.take() else { return }
        let node = Int(open.node)
        let lane = fixedLane ?? crew.lane(after: tree.nodes[node])
        let number = crew.push(open, lane: lane)
        tree.nodes[node].lane = UInt16(lane)
        tree.nodes[node].lastBatch = number
        try checkWriters()
    }

    /// Waits until all files given to a directory are written.
    func settle(_ node: UInt32) throws(LayerError) {
        if let batch, batch.node == node { try flush() }
        let last = tree.nodes[Int(node)]
        if last.lastBatch > 0 { crew.wait(lane: Int(last.lane), until: last.lastBatch) }
        try checkWriters()
    }

    /// Waits until everything is written.
    func drain() throws(LayerError) {
        try flush()
        crew.drain()
        try checkWriters()
    }

    /// The first failure of a writing thread, with its path, or that writers have given up.
    private func checkWriters() throws(LayerError) {
        guard crew.results.hasFailed.load(ordering: .acquiring) else { return }
        let (failure, wasCancelled) = crew.results.totals.change { ($0.failure, $0.wasCancelled) }
        if let failure { throw log.error(failure) }
        precondition(wasCancelled, "writers gave up for no reason")
        throw LayerError(.cancelled, "apply", cause: .reason("interrupted"))
    }

    /// A failure that is a warning only.
    func tolerate(_ failure: WriteFailure) { crew.results.tolerate(failure) }

    /// Whether the mode of a file that is written gives less than its entry says.
    func isLimited(_ place: NamePlace) -> Bool { crew.results.isLimited(place.name) }

    // MARK: the end

    /// Waits for all files; nothing may be missing then.
    func finish() throws(LayerError) {
        try drain()
        precondition(crew.hasDoneAll, "files were handed over that nobody wrote")
    }

    /// Ends the writers; a file whose end never came is removed by its writer. What they counted goes into the report.
    func shutDown() {
        batch = nil
        crew.shutDown()
        crew.results.totals.change { totals in
            log.report.io.add(totals.counters)
            log.warn(of: totals.tolerated)
        }
        log.report.streamBytes = feed.streamBytes
    }
}
