import Glibc
public import LayerModel

/// How a file's contents were copied.
public enum CopyMethod: UInt8, Sendable, BitwiseCopyable {
    /// There was nothing to copy but the size.
    case sizeOnly
    /// Both files share their blocks (FICLONE).
    case clone
    /// Inside the kernel (copy_file_range).
    case kernel
    /// Read and written by this program.
    case plain
    /// The same, with reads in flight in a ring.
    case ring
}

/// What a copy did.
public struct CopyOutcome: Sendable, BitwiseCopyable, Equatable {
    public var method: CopyMethod
    /// Size of the target: the source's, or less where that says it is larger than it is, as files of sysfs do.
    public var size: Int64
    /// Bytes that were moved: `size` less the target's holes; 0 of a clone.
    public var movedBytes: Int64
}

/// Copies the contents of regular files, in the cheapest way that the two file systems allow, holes as holes and long runs
/// of zeros as the policy says. Shared blocks stay shared, whatever they hold.
///
/// For one thread. Remembers what the file systems of the last copies refused, so use one for each pair of trees.
public struct FileCopier: ~Copyable {
    /// What must be read and written is read through a ring from now on.
    var usesRing: Bool
    let sparse: SparsePolicy
    let cancel: CancelFlag?
    /// No file system has refused to share blocks yet.
    private(set) var mayClone = true
    private var mayCopyInKernel = true
    var slab: Slab?
    var ring: Ring?

    /// Bytes of one read: large enough that the calls vanish beside the copying.
    static let chunk = 1 << 20
    /// Chunks in flight in the ring; four keep a disk busy while one is written.
    static let window = 4

    /// `usesRing`: what must be copied by reading and writing is read through a ring, for data that comes from a disk.
    /// Where io_uring is refused, plain calls are used.
    /// `sparse`: whether long runs of zeros become holes; the source's holes stay holes either way.
    /// `cancel` ends a long copy early.
    public init(usesRing: Bool = false, sparse: SparsePolicy = .auto, cancel: CancelFlag? = nil) {
        self.usesRing = usesRing && RingCapabilities.current.isUsable
        self.sparse = sparse
        self.cancel = cancel
    }

    /// Copies `source`, of which `metadata` was just read, to the empty file `target` open for writing.
    ///
    /// Both stay owned by the caller; their file positions may change. Throws `.fileChanged` where the source was written
    /// to, cut or extended meanwhile, because what was copied then may be no state that it ever had.
    public mutating func copy(
        _ source: borrowing OwnedDescriptor, _ metadata: EntryMetadata, to target: borrowing OwnedDescriptor
    ) throws(LayerError) -> CopyOutcome {
        if metadata.size == 0 { return CopyOutcome(method: .sizeOnly, size: 0, movedBytes: 0) }
        var outcome = CopyOutcome(method: .clone, size: metadata.size, movedBytes: 0)
        let now: EntryMetadata
        do throws(SystemCallError) {
            if mayClone { mayClone = try target.clone(from: source) }
        } catch { throw contentError(error) }
        if !mayClone { outcome = try copyData(source, metadata, to: target) }
        do throws(SystemCallError) { now = try source.metadata() } catch { throw contentError(error) }
        guard now.size == metadata.size, now.modificationTime == metadata.modificationTime else {
            throw LayerError(
                .fileChanged, "copy file contents", path: nil,
                cause: .reason("the file was written to while it was copied"),
                hint: "end what writes to it, and run this again")
        }
        return outcome
    }

    /// Copies one run of data after the other.
    private mutating func copyData(
        _ source: borrowing OwnedDescriptor, _ metadata: EntryMetadata, to target: borrowing OwnedDescriptor
    ) throws(LayerError) -> CopyOutcome {
        var outcome = CopyOutcome(method: .sizeOnly, size: metadata.size, movedBytes: 0)
        let mayHaveHoles = metadata.blocks < UInt64(metadata.size + 511) / 512
        var position: Int64 = 0
        while position < metadata.size {
            let run = try mayHaveHoles ? nextRun(of: source, from: position, metadata.size) : position..<metadata.size
            guard let run else { break }
            let end = try copyRun(run, source, target, &outcome)
            if end < run.upperBound {
                outcome.size = end
                break
            }
            position = run.upperBound
        }
        do throws(SystemCallError) {
            // The last hole, or all of them.
            if mayHaveHoles { try target.truncate(to: outcome.size) }
        } catch { throw contentError(error) }
        return outcome
    }

    /// The next run of data at or behind `position`, nil where only a hole follows: or nothing at all, in a file that
    /// was cut, which the look at it after the copy tells.
    private func nextRun(of source: borrowing OwnedDescriptor, from position: Int64, _ size: Int64)
        throws(LayerError) -> Range<Int64>?
    {
        do throws(SystemCallError) {
            guard let start = try source.seek(position, .data), start < size else { return nil }
            let end = try source.seek(start, .hole) ?? size
            return start..<min(end, size)
        } catch { throw contentError(error) }
    }

    /// Copies one run; returns how far it came, which is less than asked for where the source ends early.
    private mutating func copyRun(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor,
        _ outcome: inout CopyOutcome
    ) throws(LayerError) -> Int64 {
        var rest = run
        do throws(SystemCallError) {
            if mayCopyInKernel {
                let end = try copyInKernel(run, source, target, &outcome)
                if end == run.upperBound { return end }
                rest = end..<run.upperBound
            }
            // Where the kernel did not refuse, the file ends here, or it only thinks so: reading tells.
            if mayCopyInKernel || !usesRing || rest.count < Self.chunk * 2 {
                return try copyPlainly(rest, source, target, &outcome)
            }
        } catch { throw contentError(error) }
        return try copyThroughRing(rest, source, target, &outcome)
    }

    func check(_ call: StaticCallName) throws(SystemCallError) {
        if let cancel, cancel.isCancelled { throw SystemCallError(call, errno: ECANCELED) }
    }

    @inline(never)
    func contentError(_ error: SystemCallError) -> LayerError { LayerError(error, "copy file contents", path: nil) }

    // MARK: inside the kernel

    /// Copies data without looking at them, but for samples that tell where zeros are. Ends early where the kernel refuses
    /// (`mayCopyInKernel`), or the source ends.
    private mutating func copyInKernel(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor,
        _ outcome: inout CopyOutcome
    ) throws(SystemCallError) -> Int64 {
        var position = run.lowerBound
        while position < run.upperBound {
            let part = try nextPart(of: position..<run.upperBound, source)
            while position < part.end {
                try check("copy_file_range")
                let count = Int(part.end - position)
                guard let copied = try target.copyRange(from: source, at: position, count: count) else {
                    mayCopyInKernel = false
                    return position
                }
                if copied == 0 { return position }
                outcome.method = .kernel
                outcome.movedBytes += Int64(copied)
                position += Int64(copied)
            }
            if part.isBeforeZeros {
                let end = try copyPlainly(position..<run.upperBound, source, target, &outcome, untilData: true)
                if end == position { return end }
                position = end
            }
        }
        return position
    }

    /// How far `rest` can be copied without looking at it, and whether zeros follow that may become a hole.
    ///
    /// A few bytes are looked at where each run of 64 KiB must have some, which costs a twentieth of copying the run from
    /// memory to memory.
    private mutating func nextPart(of rest: Range<Int64>, _ source: borrowing OwnedDescriptor)
        throws(SystemCallError) -> (end: Int64, isBeforeZeros: Bool)
    {
        let (block, stride) = (Int64(ZeroRuns.block), Int64(ZeroRuns.shortest))
        // So much a call that the calls vanish, and so little that a cancelled copy ends soon.
        guard sparse == .auto, rest.count >= ZeroRuns.shortest else {
            return (min(rest.upperBound, rest.lowerBound + 64 << 20), false)
        }
        let slab = makeSlab()
        self.slab = slab
        var sample = (rest.lowerBound + stride - 1) / stride * stride
        // A run of zeros may begin behind the last block that was none.
        var last = rest.lowerBound
        for _ in 0..<64 {
            guard sample + block <= rest.upperBound else { return (rest.upperBound, false) }
            var count = try source.readCached(into: slab, 0..<64, at: sample)
            if count == nil {
                // One by one they would be waited for.
                source.willNeed(sample..<min(sample + stride * 8, rest.upperBound))
                count = try source.read(into: slab, 0..<64, at: sample)
            }
            guard let count, count > 0 else { return (rest.upperBound, false) }
            if ZeroRuns.isZero(slab.span(0..<count)) {
                let whole = try source.read(into: slab, 0..<Int(block), at: sample)
                if ZeroRuns.isZero(slab.span(0..<whole)) { return (last, true) }
            }
            last = sample
            sample += stride
        }
        return (last, false)
    }

    // MARK: through this program

    func makeSlab() -> Slab {
        let needed = Self.chunk * (usesRing ? Self.window : 1)
        if let slab, slab.capacity >= needed { return slab }
        return Slab(capacity: needed)
    }

    /// Reads and writes; with `untilData`, only as far as zeros are found.
    mutating func copyPlainly(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor,
        _ outcome: inout CopyOutcome, untilData: Bool = false
    ) throws(SystemCallError) -> Int64 {
        let slab = makeSlab()
        self.slab = slab
        var contents = SparseWriter(sparse, at: run.lowerBound)
        while contents.position < run.upperBound {
            try check("read")
            let part = 0..<min(Int(run.upperBound - contents.position), Self.chunk)
            let before = contents.writtenBytes
            let count = try source.read(into: slab, part, at: contents.position)
            if count == 0 { break }
            try contents.write(slab.span(0..<count), to: target)
            if untilData, contents.writtenBytes == before + Int64(count) { break }
        }
        try contents.finish(target)
        if contents.writtenBytes > 0 { outcome.method = .plain }
        outcome.movedBytes += contents.writtenBytes
        return contents.position
    }
}
