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
    /// Size of the target: the size asked for, or less where the source had shrunk.
    public var size: Int64
    /// Bytes that were moved: `size` less the holes; 0 of a clone.
    public var movedBytes: Int64
}

/// Copies the contents of regular files, in the cheapest way that the two file systems allow, holes as holes.
///
/// For one thread. Remembers what the file systems of the last copies refused, so use one for each pair of trees.
public struct FileCopier: ~Copyable {
    private let usesRing: Bool
    private let cancel: CancelFlag?
    private var mayClone = true
    private var mayCopyInKernel = true
    private var slab: Slab?
    private var ring: Ring?

    /// Bytes of one read: large enough that the calls vanish beside the copying.
    private static let chunk = 1 << 20
    /// Chunks in flight in the ring; four keep a disk busy while one is written.
    private static let window = 4

    /// `usesRing`: what must be copied by reading and writing is read through a ring, for data that comes from a disk.
    /// Where io_uring is refused, plain calls are used.
    /// `cancel` ends a long copy early.
    public init(usesRing: Bool = false, cancel: CancelFlag? = nil) {
        self.usesRing = usesRing && RingCapabilities.current.isUsable
        self.cancel = cancel
    }

    /// Copies `source`, of which `metadata` was just read, to the empty file `target` open for writing.
    ///
    /// Both stay owned by the caller; their file positions may change.
    public mutating func copy(
        _ source: borrowing OwnedDescriptor, _ metadata: EntryMetadata, to target: borrowing OwnedDescriptor
    ) throws(LayerError) -> CopyOutcome {
        do throws(SystemCallError) {
            let size = metadata.size
            if size == 0 { return CopyOutcome(method: .sizeOnly, size: 0, movedBytes: 0) }
            if mayClone {
                if try target.clone(from: source) { return CopyOutcome(method: .clone, size: size, movedBytes: 0) }
                mayClone = false
            }
        } catch {
            throw LayerError(error, "copy file contents", path: nil)
        }
        return try copyData(source, metadata, to: target)
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
            outcome.movedBytes += end - run.lowerBound
            if end < run.upperBound {
                outcome.size = end
                break
            }
            position = run.upperBound
        }
        do throws(SystemCallError) {
            // The last hole, or all of them.
            if mayHaveHoles { try target.truncate(to: outcome.size) }
        } catch {
            throw LayerError(error, "copy file contents", path: nil)
        }
        return outcome
    }

    /// The next run of data at or behind `position`, nil where only a hole follows.
    private func nextRun(of source: borrowing OwnedDescriptor, from position: Int64, _ size: Int64)
        throws(LayerError) -> Range<Int64>?
    {
        do throws(SystemCallError) {
            guard let start = try source.seek(position, .data), start < size else { return nil }
            let end = try source.seek(start, .hole) ?? size
            return start..<min(end, size)
        } catch {
            throw LayerError(error, "copy file contents", path: nil)
        }
    }

    /// Copies one run; returns how far it came, which is less than asked for where the source ends early.
    private mutating func copyRun(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor,
        _ outcome: inout CopyOutcome
    ) throws(LayerError) -> Int64 {
        var rest = run
        do throws(SystemCallError) {
            if mayCopyInKernel {
                let end = try copyInKernel(run, source, target)
                if end > run.lowerBound { outcome.method = .kernel }
                if end == run.upperBound { return end }
                rest = end..<run.upperBound
            }
            // Where the kernel did not refuse, the file ends here, or it only thinks so: reading tells.
            if mayCopyInKernel || !usesRing || rest.count < Self.chunk * 2 {
                return try copyPlainly(rest, source, target, &outcome)
            }
        } catch {
            throw LayerError(error, "copy file contents", path: nil)
        }
        outcome.method = .ring
        return try copyThroughRing(rest, source, target)
    }

    private func check(_ call: StaticCallName) throws(SystemCallError) {
        // ECANCELED
        if let cancel, cancel.isCancelled { throw SystemCallError(call, errno: 125) }
    }

    private mutating func copyInKernel(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> Int64 {
        var position = run.lowerBound
        while position < run.upperBound {
            try check("copy_file_range")
            // So much a call that the calls vanish, and so little that a cancelled copy ends soon.
            let count = min(Int(run.upperBound - position), 64 << 20)
            guard let copied = try target.copyRange(from: source, at: position, count: count) else {
                mayCopyInKernel = false
                break
            }
            if copied == 0 { break }
            position += Int64(copied)
        }
        return position
    }

    private mutating func copyPlainly(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor,
        _ outcome: inout CopyOutcome
    ) throws(SystemCallError) -> Int64 {
        let slab = slab ?? Slab(capacity: Self.chunk * (usesRing ? Self.window : 1))
        self.slab = slab
        var position = run.lowerBound
        while position < run.upperBound {
            try check("read")
            let part = 0..<min(Int(run.upperBound - position), slab.capacity)
            let count = try source.read(into: slab, part, at: position)
            if count == 0 { break }
            outcome.method = .plain
            try target.writeAll(slab.span(0..<count), at: position)
            position += Int64(count)
        }
        return position
    }

    /// Keeps `window` reads in flight; each takes a descriptor of its own along, as the ring's reads do.
    private mutating func copyThroughRing(
        _ run: Range<Int64>, _ source: borrowing OwnedDescriptor, _ target: borrowing OwnedDescriptor
    ) throws(LayerError) -> Int64 {
        let slab = slab ?? Slab(capacity: Self.chunk * Self.window)
        self.slab = slab
        if self.ring == nil { self.ring = try Ring(entries: Self.window) }
        guard var ring = ring.take() else { return run.lowerBound }
        var next = run.lowerBound
        // Where the source ends; nothing is started behind it.
        var end = run.upperBound
        var places = [Range<Int64>](repeating: 0..<0, count: Self.window)
        for place in 0..<Self.window {
            try start(place, &next, end, source, slab, &places, &ring)
        }
        while let completion = try ring.nextCompletion(wait: true) {
            try cancel?.check("copy file contents")
            let place = Int(completion.token)
            let range = places[place]
            do throws(SystemCallError) {
                let count = try completion.check("read")
                let first = place * Self.chunk
                try target.writeAll(slab.span(first..<first + count), at: range.lowerBound)
                if count < range.count { end = min(end, range.lowerBound + Int64(count)) }
            } catch {
                throw LayerError(error, "copy file contents", path: nil)
            }
            try start(place, &next, end, source, slab, &places, &ring)
        }
        self.ring = consume ring
        return end
    }

    private func start(
        _ place: Int, _ next: inout Int64, _ end: Int64, _ source: borrowing OwnedDescriptor, _ slab: Slab,
        _ places: inout [Range<Int64>], _ ring: inout Ring
    ) throws(LayerError) {
        guard next < end else { return }
        let range = next..<min(next + Int64(Self.chunk), end)
        next = range.upperBound
        places[place] = range
        let descriptor: OwnedDescriptor
        do throws(SystemCallError) {
            descriptor = try source.duplicate()
        } catch {
            throw LayerError(error, "copy file contents", path: nil)
        }
        let first = place * Self.chunk
        try ring.read(
            descriptor, into: slab, first..<first + range.count, at: range.lowerBound, token: UInt64(place))
    }
}
