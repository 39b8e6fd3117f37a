public import LayerModel

/// Whether long runs of zeros in file contents become holes.
public enum SparsePolicy: String, Sendable, CaseIterable {
    /// Yes, where the file system has holes.
    case auto
    /// No: every byte is written, so that writing into the file later cannot fail for want of space.
    case never
}

/// Zeros in file contents that are not worth being written.
public enum ZeroRuns {
    /// Holes begin and end at multiples of this many bytes of the file, a block of nearly every file system.
    public static let block = 4096

    /// A run of this many bytes becomes a hole. Any run of 64 KiB holds 15 whole blocks, wherever it begins.
    public static let shortest = 15 * block

    /// Whether all bytes are zero; true for none. Costs next to nothing where the first bytes are not.
    public static func isZero(_ bytes: RawSpan) -> Bool {
        guard bytes.byteCount > 0 else { return true }
        guard bytes[0] == 0 else { return false }
        // Bytes that equal their neighbours all equal the first one, and memcmp compares many at once.
        return bytesEqual(bytes.extracting(0..<bytes.byteCount - 1), bytes.extracting(1..<bytes.byteCount))
    }
}

/// Writes the contents of one file front to back and leaves long runs of zeros out, which thereby become holes.
///
/// The pieces may have any size, and a run may go over several of them: zeros at the end of a piece are kept back until
/// the next one shows how long the run is. So the file is complete only after `finish`. For one thread.
public struct SparseWriter: ~Copyable {
    /// Where the next write goes; zeros kept back belong before what comes next.
    private var offset: Int64
    /// Zeros that are neither written nor left out yet.
    private var kept: Int64 = 0
    /// The file has to be told its size, since nothing was written behind its last hole.
    private var endsInHole = false
    private let leavesHoles: Bool

    /// Bytes from the file's start whose blocks were reserved (`preallocate`), and would fill holes.
    public var reserved: Int64 = 0
    /// Bytes written so far, which is what was handed over less the holes.
    public private(set) var writtenBytes: Int64 = 0
    /// Whether a hole was left, or the last bytes may become one.
    public var hasHoles: Bool { holes > 0 || kept >= Int64(ZeroRuns.shortest) }
    private var holes = 0

    /// What short runs are written from.
    private static let zeros: Slab = {
        let slab = Slab(capacity: ZeroRuns.shortest)
        slab.appendZeros(ZeroRuns.shortest)
        return slab
    }()

    /// A writer whose first byte goes to `offset`. Nothing but holes may lie behind it, unless `policy` is `.never`.
    public init(_ policy: SparsePolicy, at offset: Int64 = 0) {
        leavesHoles = policy == .auto
        self.offset = offset
    }

    /// The place in the file of the next byte handed over.
    public var position: Int64 { offset + kept }

    /// Takes the next bytes of the file.
    public mutating func write(_ bytes: RawSpan, to file: borrowing OwnedDescriptor) throws(SystemCallError) {
        guard leavesHoles else { return try put(bytes, to: file) }
        // Bytes before it are written or left out.
        var start = 0
        // Where the zeros begin that reach up to `index`.
        var run = 0
        var index = 0
        let first = Int(truncatingIfNeeded: position & Int64(ZeroRuns.block - 1))
        while index < bytes.byteCount {
            // Up to the next block of the file.
            let end = min(index + ZeroRuns.block - (first + index) % ZeroRuns.block, bytes.byteCount)
            if !ZeroRuns.isZero(bytes.extracting(index..<end)) {
                try endRun(run..<index, of: bytes, start: &start, file)
                run = end
            }
            index = end
        }
        if run == 0 {
            kept += Int64(bytes.byteCount)
        } else {
            try put(bytes.extracting(start..<run), to: file)
            kept = Int64(bytes.byteCount - run)
        }
    }

    /// Writes or leaves out the zeros kept back; returns where the file ends now, which it may have to be told.
    @discardableResult
    public mutating func settle(_ file: borrowing OwnedDescriptor) throws(SystemCallError) -> Int64 {
        let count = kept
        kept = 0
        if count >= Int64(ZeroRuns.shortest) {
            try skip(count, in: file)
        } else {
            try put(Self.zeros.span(0..<Int(count)), to: file)
        }
        return offset
    }

    /// Deals with the last zeros and gives the file its size, if it ends in a hole.
    public mutating func finish(_ file: borrowing OwnedDescriptor) throws(SystemCallError) {
        let size = try settle(file)
        if endsInHole { try file.truncate(to: size) }
        endsInHole = false
    }

    /// Decides about zeros that something else follows, those kept back from earlier pieces included.
    private mutating func endRun(
        _ run: Range<Int>, of bytes: RawSpan, start: inout Int, _ file: borrowing OwnedDescriptor
    ) throws(SystemCallError) {
        // Only what begins the piece goes on from before; else nothing is kept back any more.
        if run.lowerBound == 0, kept > 0 {
            kept += Int64(run.count)
            start = run.upperBound
            try settle(file)
        } else if run.count >= ZeroRuns.shortest {
            try put(bytes.extracting(start..<run.lowerBound), to: file)
            start = run.upperBound
            try skip(Int64(run.count), in: file)
        }
    }

    private mutating func put(_ bytes: RawSpan, to file: borrowing OwnedDescriptor) throws(SystemCallError) {
        guard bytes.byteCount > 0 else { return }
        try file.writeAll(bytes, at: offset)
        offset += Int64(bytes.byteCount)
        writtenBytes += Int64(bytes.byteCount)
        endsInHole = false
    }

    private mutating func skip(_ count: Int64, in file: borrowing OwnedDescriptor) throws(SystemCallError) {
        let hole = offset..<offset + count
        offset = hole.upperBound
        holes += 1
        endsInHole = true
        guard hole.lowerBound < reserved else { return }
        // Blocks behind the end of the file cannot be given back one by one.
        try file.truncate(to: hole.upperBound)
        try file.punchHole(hole)
    }
}
