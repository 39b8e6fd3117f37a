import LayerModel
import LinuxIO
import Synchronization

/// Writes the files of one lane, with the fewest calls that give each its bytes and metadata: open, write, the
/// times, close, and owner, attributes and mode only where a new file has others (layer-archive.md 8.2 P-3).
struct FileWriter: ~Copyable {
    /// What all writers of a job know.
    struct Settings: Sendable {
        var policy = ApplyAttributePolicy()
        var cancel = CancelFlag()
    }

    private let arena: NameArena
    private let settings: Settings
    private let results: WriterResults
    private var counters = IOCounters()
    /// A file whose first piece has come, but not yet its last.
    private var open: OwnedDescriptor?
    private var openDirectory: DirectoryHandle?
    private var openJob = FileJob()
    private var openAttributes = AttributeSet()

    /// From this size on, blocks are reserved before the first byte is written.
    private static let preallocatedFrom: Int64 = 1 << 20
    private static let preallocatedAtMost: Int64 = 256 << 20

    init(arena: NameArena, settings: Settings, results: WriterResults) {
        self.arena = arena
        self.settings = settings
        self.results = results
    }

    /// Works until the lane is closed. After any thread's failure batches are taken but not written.
    mutating func run(_ lane: WriterLane) {
        while let batch = lane.pop() {
            if !results.hasFailed.load(ordering: .relaxed) && !settings.cancel.isCancelled { write(batch) }
            lane.complete(batch)
        }
        abandon()
        let counters = counters
        results.totals.change { $0.counters.add(counters) }
    }

    private mutating func write(_ batch: FileBatch) {
        guard let directory = batch.directory else { return }
        for index in batch.files.indices {
            let job = batch.files[index]
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
                results.fail(WriteFailure(node: job.node, name: job.name, error: error))
                abandon()
                return
            }
        }
    }

    private mutating func writeWhole(_ job: FileJob, _ batch: FileBatch, _ directory: DirectoryHandle)
        throws(SystemCallError)
    {
        let file = try create(job, directory)
        do throws(SystemCallError) {
            if job.count > 0, let slab = batch.slab {
                try file.writeAll(slab.span(job.start..<job.start + job.count))
            }
            try setMetadata(of: file, job, batch.attributes)
            try file.close()
        } catch {
            try? directory.descriptor.unlink(arena.pointer(job.name))
            throw error
        }
        counters.bytesWritten += UInt64(job.count)
    }

    private mutating func create(_ job: FileJob, _ directory: DirectoryHandle) throws(SystemCallError)
        -> OwnedDescriptor
    {
        counters.creates += 1
        return try directory.descriptor.open(
            arena.pointer(job.name), [.create, .exclusive, .noFollow, .writeOnly], mode: job.mode & 0o777)
    }

    /// Owner, attributes, mode, times, in this order: setting the owner clears special bits and capabilities.
    private func setMetadata(of file: borrowing OwnedDescriptor, _ job: FileJob, _ attributes: AttributeSet)
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
        for index in job.firstAttribute..<job.firstAttribute + job.attributeCount {
            try setAttribute(index, attributes, of: file, job)
        }
        if job.setsMode { try file.setMode(job.mode) }
        try file.setTimes(access: job.access, modification: job.modification)
    }

    private func setAttribute(
        _ index: Int, _ attributes: AttributeSet, of file: borrowing OwnedDescriptor, _ job: FileJob
    )
        throws(SystemCallError)
    {
        let name = attributes.name(index)
        do throws(SystemCallError) {
            try file.setAttribute(NamePointer(terminated: name), attributes.value(index))
        } catch {
            let plain = name.extracting(0..<name.byteCount - 1)
            guard settings.policy.tolerates(error.errno, attribute: plain, of: .regular) else { throw error }
            results.tolerate(WriteFailure(node: job.node, name: job.name, error: error))
        }
    }

    // MARK: files in pieces

    private mutating func begin(_ job: FileJob, _ batch: FileBatch, _ directory: DirectoryHandle)
        throws(SystemCallError)
    {
        open = try create(job, directory)
        openDirectory = directory
        openJob = job
        openAttributes = batch.attributes
        if job.size >= Self.preallocatedFrom {
            switch open {
            // Only a hint: the size is the archive's word, and a lie is found out at its end.
            case .some(let file): try? file.preallocate(min(job.size, Self.preallocatedAtMost))
            case .none: return
            }
        }
        try append(job, batch)
    }

    private mutating func append(_ job: FileJob, _ batch: FileBatch) throws(SystemCallError) {
        guard let slab = batch.slab, job.count > 0 else { return }
        switch open {
        case .some(let file): try file.writeAll(slab.span(job.start..<job.start + job.count))
        case .none: return
        }
        counters.bytesWritten += UInt64(job.count)
    }

    /// Metadata comes last: writing clears special bits and capabilities.
    private mutating func finish() throws(SystemCallError) {
        guard let file = open.take() else { return }
        do throws(SystemCallError) {
            try setMetadata(of: file, openJob, openAttributes)
            try file.close()
        } catch {
            removeOpenName()
            throw error
        }
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
