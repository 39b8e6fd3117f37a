public import LayerModel
import LinuxIO

/// The place where threads hand over slabs that go round: those of a reader, and whoever carries a stream from one to another.
///
/// A writer fills free slabs; a hasher (perhaps) and a consumer read the same slab at the same time; when both have
/// finished with it, it is free again. Both queues are short, which bounds memory and keeps slabs in the cache.
public final class SlabExchange: Sendable {
    /// A slab with the range of its bytes as decoded: the consumer may move the slab's own offsets meanwhile.
    struct HashWork: Sendable {
        let slab: Slab
        let range: Range<Int>
    }

    private struct State {
        var free: [Slab] = []
        var ready: [Slab] = []
        var unhashed: [HashWork] = []
        var hashing: Slab?
        /// Given back by the consumer while the hasher still needs them.
        var parked: [Slab] = []
        var isHashed = false
        var isEnded = false
        var isStopped = false
        var failure: LayerError?
    }

    /// Slabs that wait for the consumer, or the hasher, at most.
    private static let queueLimit = 8

    private let monitor = Monitor(State())

    public init() {}

    // MARK: Writer

    /// Announces a hasher, before the first slab.
    func expectHasher() {
        monitor.change { $0.isHashed = true }
    }

    /// An empty slab, once there is room in the queues; nil when the consumer has gone.
    public func takeFree() -> Slab? {
        let slab = monitor.wait { state -> Slab?? in
            if state.isStopped { return .some(nil) }
            guard state.ready.count < Self.queueLimit, state.unhashed.count < Self.queueLimit else { return nil }
            return state.free.popLast()
                ?? Slab(
                    capacity: SlabSourceDefaults.headroom + SlabSourceDefaults.payload,
                    headroom: SlabSourceDefaults.headroom)
        }
        slab?.start = SlabSourceDefaults.headroom
        slab?.end = SlabSourceDefaults.headroom
        return slab
    }

    /// Hands a filled slab to the consumer, and to the hasher if there is one.
    public func publish(_ slab: Slab) {
        let range = slab.start..<slab.end
        monitor.change { state in
            state.ready.append(slab)
            if state.isHashed { state.unhashed.append(HashWork(slab: slab, range: range)) }
        }
    }

    /// Says that no more slabs come, and why.
    public func end(_ failure: LayerError?) {
        monitor.change { state in
            state.isEnded = true
            state.failure = failure
        }
    }

    // MARK: Hasher

    /// The next slab to hash; nil at the end. The slab got before is finished with.
    func nextToHash() -> HashWork? {
        monitor.change { state in
            guard let slab = state.hashing else { return }
            state.hashing = nil
            if let index = state.parked.firstIndex(where: { $0 === slab }) {
                state.free.append(state.parked.remove(at: index))
            }
        }
        return monitor.wait { state -> HashWork?? in
            if state.isStopped { return .some(nil) }
            guard !state.unhashed.isEmpty else { return state.isEnded ? .some(nil) : nil }
            let work = state.unhashed.removeFirst()
            state.hashing = work.slab
            return work
        }
    }

    // MARK: Consumer

    /// The next slab; nil at the end. What was decoded before an error is delivered before the error.
    public func next() throws(LayerError) -> Slab? {
        let outcome = monitor.wait { state -> Result<Slab?, LayerError>? in
            if !state.ready.isEmpty { return .success(state.ready.removeFirst()) }
            guard state.isEnded else { return nil }
            return state.failure.map { .failure($0) } ?? .success(nil)
        }
        return try outcome.get()
    }

    /// Takes a slab back; it becomes free when the hasher is through with it too.
    public func recycle(_ slab: Slab) {
        monitor.change { state in
            let isNeeded = state.hashing === slab || state.unhashed.contains { $0.slab === slab }
            if isNeeded {
                state.parked.append(slab)
            } else if state.free.count < Self.queueLimit {
                state.free.append(slab)
            }
        }
    }

    /// Tells the other threads that the consumer has gone.
    public func stop() {
        monitor.change { $0.isStopped = true }
    }
}
