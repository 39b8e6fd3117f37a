import LayerModel
import LinuxIO
import Synchronization

/// Writes the files of one lane, with the fewest calls that give each its bytes and metadata: open, write, the
/// times, close, and owner, attributes and mode only where a new file has others.
struct FileWriter: ~Copyable {
    /// What all writers of a job know.
    struct Settings: Sendable {
        var policy = ApplyAttributePolicy()
        var sparse = SparsePolicy.auto
        var cancel = CancelFlag()
    }

    private let arena: NameArena
    private let settings: Settings
    private let results: WriterResults
    private var counters = IOCounters()
    /// A file whose first piece has come, but not yet its last.
    private var open: OwnedDescriptor?
    private var openDirectory: SharedDescriptor?
    private var openJob = FileJob()
    private var openAttributes = AttributeSet()
    private var openContents = SparseWriter(.never)
    /// The attribute that a call failed at, for the error.
    private var refused: WriteFailure?

    /// From this size on, blocks are reserved before the first byte is written.
    private static let preallocatedFrom: Int64 = 1 << 20
    private static let preallocatedAtMost: Int64 = 256 << 20

    init(arena: NameArena, settings: Settings, results: WriterResults) {
        self.arena = arena
        self.settings = settings
        self.results = results
    }

    /// Works until the lane is closed. Once anything could not be written, or the caller has given up, batches are taken
    /// and given back undone; the results tell of it.
    mutating func run(_ lane: WriterLane) {
        while let batch = lane.pop() {
            var done = 0
            if !results.hasFailed.load(ordering: .relaxed) {
                if settings.cancel.isCancelled { results.cancel() } else { done = write(batch) }
            }
            lane.complete(batch, done: done)
        }
        abandon()
        let counters = counters
        results.totals.change { $0.counters.add(counters) }
    }

    /// Does a batch's jobs, up to the first that fails; returns how many.
    private mutating func write(_ batch: FileBatch) -> Int {
        guard let directory = batch.directory else { preconditionFailure("a batch without its directory") }
        for index in batch.files.indices {
            let job = batch.files[index]
            precondition(job.node == batch.node, "a file in another directory's batch")
            do throws(SystemCallError) {
                switch job.part {
                case .whole: try writeWhole(job, batch, directory)
                case .first: try begin(job, batch, directory)
                case .middle: try append(job, batch)
                case .last:
                    try append(job, batch)
                    try finish()
                }
            } catch {
                results.fail(refused.take() ?? WriteFailure(node: job.node, name: job.name, error: error))
                abandon()
                return index
            }
        }
        return batch.files.count
    }

    private mutating func writeWhole(_ job: FileJob, _ batch: FileBatch, _ directory: SharedDescriptor)
        throws(SystemCallError)
    {
        let file = try create(job, directory)
        do throws(SystemCallError) {
            if job.count > 0, let slab = batch.slab {
                try writeContents(slab.span(job.start..<job.start + job.count), to: file)
            }
            try setMetadata(of: file, job, batch.attributes)
            try file.close()
        } catch {
            try? directory.descriptor.unlink(arena.pointer(job.name))
            throw error
        }
    }

    private mutating func writeContents(_ bytes: RawSpan, to file: borrowing OwnedDescriptor) throws(SystemCallError) {
        guard bytes.byteCount >= ZeroRuns.shortest else {
            try file.writeAll(bytes)
            counters.bytesWritten += UInt64(bytes.byteCount)
            return
        }
        var contents = SparseWriter(settings.sparse)
        try contents.write(bytes, to: file)
        try contents.finish(file)
        counters.bytesWritten += UInt64(contents.writtenBytes)
    }

    private mutating func create(_ job: FileJob, _ directory: SharedDescriptor) throws(SystemCallError)
        -> OwnedDescriptor
    {
        counters.creates += 1
        var patience = DescriptorPatience()
        while true {
            do throws(SystemCallError) {
                return try directory.descriptor.open(
                    arena.pointer(job.name), [.create, .exclusive, .noFollow, .writeOnly], mode: job.mode & 0o777)
            } catch {
                guard error.isOutOfDescriptors, !settings.cancel.isCancelled, patience.wait() else { throw error }
            }
        }
    }

    /// Owner, attributes, mode, times, in this order: setting the owner clears special bits and capabilities.
    private mutating func setMetadata(of file: borrowing OwnedDescriptor, _ job: FileJob, _ attributes: AttributeSet)
        throws(SystemCallError)
    {
        if job.setsOwner {
            do throws(SystemCallError) {
                try file.setOwner(uid: job.uid, gid: job.gid)
            } catch {
                guard settings.policy.tolerates(ownerError: error.errno) else { throw error }
                results.tolerate(WriteFailure(node: job.node, name: job.name, error: error))
            }
        }
        if job.dropsAccessList { try file.removeAttribute(NamePointer("system.posix_acl_access")) }
        var mode = job.mode
        for index in job.firstAttribute..<job.firstAttribute + job.attributeCount {
            mode = try setAttribute(index, attributes, of: file, job, mode)
        }
        if job.setsMode { try file.setMode(mode) }
        try file.setTimes(access: job.access, modification: job.modification)
    }

    /// Returns what is left of the mode that the file is to have with the attribute.
    private mutating func setAttribute(
        _ index: Int, _ attributes: AttributeSet, of file: borrowing OwnedDescriptor, _ job: FileJob, _ mode: UInt32
    ) throws(SystemCallError) -> UInt32 {
        let name = attributes.name(index)
        do throws(SystemCallError) {
            try file.setAttribute(NamePointer(terminated: name), attributes.value(index))
            return mode
        } catch {
            let plain = name.extracting(0..<name.byteCount - 1)
            let failure = WriteFailure(
                node: job.node, name: job.name, kind: .regular, attribute: plain,
                byteCount: attributes.value(index).byteCount, error: error)
            guard settings.policy.tolerates(error.errno, attribute: plain, of: .regular) else {
                refused = failure
                throw error
            }
            results.tolerate(failure)
            let left = settings.policy.mode(mode, without: plain, attributes.value(index))
            if left != mode { results.limit(job.name) }
            return left
        }
    }

    // MARK: files in pieces

    private mutating func begin(_ job: FileJob, _ batch: FileBatch, _ directory: SharedDescriptor)
        throws(SystemCallError)
    {
        open = try create(job, directory)
        openDirectory = directory
        openJob = job
        openAttributes = batch.attributes
        openContents = SparseWriter(settings.sparse)
        try append(job, batch)
        // Blocks that are reserved fill holes; a file that begins with one may have more.
        guard job.size >= Self.preallocatedFrom, !openContents.hasHoles else { return }
        switch open {
        // Only a hint: the size is the archive's word, and a lie is found out at its end.
        case .some(let file):
            openContents.reserved = min(job.size, Self.preallocatedAtMost)
            try? file.preallocate(openContents.reserved)
        case .none: return
        }
    }

    private mutating func append(_ job: FileJob, _ batch: FileBatch) throws(SystemCallError) {
        guard let slab = batch.slab, job.count > 0 else { return }
        switch open {
        case .some(let file): try openContents.write(slab.span(job.start..<job.start + job.count), to: file)
        case .none: preconditionFailure("a piece of a file that was not begun")
        }
    }

    /// Metadata comes last: writing clears special bits and capabilities.
    private mutating func finish() throws(SystemCallError) {
        guard let file = open.take() else { preconditionFailure("the end of a file that was not begun") }
        do throws(SystemCallError) {
            try openContents.finish(file)
            try setMetadata(of: file, openJob, openAttributes)
            try file.close()
        } catch {
            removeOpenName()
            throw error
        }
        counters.bytesWritten += UInt64(openContents.writtenBytes)
        openDirectory = nil
        openAttributes.removeAll()
    }

    /// Removes a file whose end never came.
    private mutating func abandon() {
        guard let file = open.take() else { return }
        _ = consume file
        removeOpenName()
    }

    private mutating func removeOpenName() {
        if let directory = openDirectory { try? directory.descriptor.unlink(arena.pointer(openJob.name)) }
        openDirectory = nil
    }
}
