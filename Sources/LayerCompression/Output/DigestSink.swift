public import LayerModel
import LinuxIO

/// Passes bytes on and meanwhile hashes and counts them (A9).
///
/// A short stream is hashed on the caller's thread, a long one on a thread of its own: SHA-256 takes longer than
/// everything else that happens to a warm tree.
public struct DigestSink<Base: ByteSink & ~Copyable>: ByteSink, ~Copyable {
    /// The sink that the bytes go on to, for reading its results after `finish`.
    public private(set) var base: Base
    /// Bytes passed on so far.
    public private(set) var byteCount: UInt64 = 0
    private var state = DigestState()
    private var thread: HashThread?
    private var result: Digest?
    private let hashes: Bool

    /// Takes over `base`. Without `hashes` it only counts, and slabs go on as they are.
    public init(_ base: consuming Base, hashes: Bool = true) {
        self.base = base
        self.hashes = hashes
    }

    public mutating func write(_ bytes: RawSpan) throws(LayerError) {
        byteCount += UInt64(bytes.byteCount)
        try base.write(bytes)
        guard hashes else { return }
        guard let thread = try hashThread() else { return state.update(bytes) }
        var start = 0
        while start < bytes.byteCount {
            let slab = thread.pool.take()
            let end = min(start + slab.capacity, bytes.byteCount)
            slab.append(bytes.extracting(start..<end))
            thread.submit(slab, thread.pool)
            start = end
        }
    }

    public mutating func write(_ slab: Slab, returningTo pool: SlabPool) throws(LayerError) {
        byteCount += UInt64(slab.count)
        guard hashes else { return try base.write(slab, returningTo: pool) }
        try base.write(slab.bytes)
        if let thread = try hashThread() {
            thread.submit(slab, pool)
        } else {
            state.update(slab.bytes)
            pool.give(slab)
        }
    }

    public mutating func finish() throws(LayerError) {
        try base.finish()
        if hashes { result = thread?.finish() ?? state.finalize() }
    }

    /// The digest of the whole stream, after `finish`; nil before, and where nothing is hashed.
    public var digest: Digest? { result }

    /// The thread that hashes, started once the stream proves long.
    private mutating func hashThread() throws(LayerError) -> HashThread? {
        if thread == nil, byteCount > HashThread.worthwhile { thread = try HashThread(state) }
        return thread
    }
}

/// Hashes slabs in the order in which they come, on a thread of its own.
final class HashThread: Sendable {
    /// Bytes of a stream from which on a thread pays.
    static let worthwhile: UInt64 = 2 << 20

    private struct State {
        var waiting: [(slab: Slab, pool: SlabPool)] = []
        var isEnded = false
        var digest: Digest?
    }

    /// Slabs that wait to be hashed, at most: enough that compression never waits for it while one of its jobs begins.
    private static let limit = 32
    private let monitor = Monitor(State())
    private let threads = HelperThreads()
    /// Slabs for bytes that come without one.
    let pool = SlabPool(slabCapacity: 256 << 10, keep: 10)

    /// Goes on from `state`.
    init(_ state: DigestState) throws(LayerError) {
        let monitor = monitor
        try threads.start {
            var state = state
            while let (slab, pool) = Self.next(monitor) {
                state.update(slab.bytes)
                pool.give(slab)
            }
            let digest = state.finalize()
            monitor.change { $0.digest = digest }
        }
    }

    /// A sink that is given up after an error ends its thread here. Not in a deinit of its own: see `CompressionCrewOwner`.
    deinit {
        monitor.change { $0.isEnded = true }
        threads.join()
    }

    /// Hands over a slab, which nobody changes from now on; waits while too many wait.
    func submit(_ slab: Slab, _ pool: SlabPool) {
        monitor.wait { state -> Void? in
            guard state.waiting.count < Self.limit else { return nil }
            state.waiting.append((slab, pool))
            return ()
        }
    }

    /// Says that no more come, waits for the rest, and gives the digest.
    func finish() -> Digest? {
        monitor.change { $0.isEnded = true }
        threads.join()
        return monitor.change { $0.digest }
    }

    private static func next(_ monitor: Monitor<State>) -> (Slab, SlabPool)? {
        monitor.wait { state -> (Slab, SlabPool)?? in
            if !state.waiting.isEmpty {
                let first = state.waiting.removeFirst()
                return .some((first.slab, first.pool))
            }
            return state.isEnded ? .some(nil) : nil
        }
    }
}
