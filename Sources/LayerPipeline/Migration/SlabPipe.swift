import LayerModel
import LinuxIO

/// Carries a stream from the thread that makes it to the thread that unpacks it, in slabs that go round.
///
/// At most `limit` slabs wait, which bounds memory. Either side may give up: the other then ends with an error.
final class SlabPipe: Sendable {
    private struct State {
        var free: [Slab] = []
        var ready: [Slab] = []
        var isEnded = false
        var failure: LayerError?
        var isAbandoned = false
    }

    private static let limit = 8
    private let monitor = Monitor(State())

    /// An empty slab once there is room; nil when the reader has gone.
    func takeFree() -> Slab? {
        let slab = monitor.wait { state -> Slab?? in
            if state.isAbandoned { return .some(nil) }
            guard state.ready.count < Self.limit else { return nil }
            return state.free.popLast() ?? Slab(capacity: SlabSourceDefaults.headroom + SlabSourceDefaults.payload)
        }
        slab?.start = SlabSourceDefaults.headroom
        slab?.end = SlabSourceDefaults.headroom
        return slab
    }

    /// Hands a filled slab to the reader.
    func publish(_ slab: Slab) {
        monitor.change { $0.ready.append(slab) }
    }

    /// Says that the stream is complete, or why it is not.
    func end(_ failure: LayerError?) {
        monitor.change { state in
            state.isEnded = true
            state.failure = failure
        }
    }

    /// The next slab; nil at the end. Throws what the writer failed with.
    func next() throws(LayerError) -> Slab? {
        let outcome = monitor.wait { state -> Result<Slab?, LayerError>? in
            if !state.ready.isEmpty { return .success(state.ready.removeFirst()) }
            guard state.isEnded else { return nil }
            return state.failure.map { .failure($0) } ?? .success(nil)
        }
        return try outcome.get()
    }

    func recycle(_ slab: Slab) {
        monitor.change { if $0.free.count < Self.limit { $0.free.append(slab) } }
    }

    /// Tells the writer that nobody reads any more.
    func abandon() {
        monitor.change { $0.isAbandoned = true }
    }
}

/// The end of a pipe that is written to.
struct SlabPipeSink: ByteSink, ~Copyable {
    private let pipe: SlabPipe
    private var slab: Slab?

    init(_ pipe: SlabPipe) { self.pipe = pipe }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            guard let slab = slab ?? pipe.takeFree() else {
                throw LayerError(.cancelled, "write the layer", cause: .reason("nobody reads it any more"))
            }
            let count = min(slab.capacity - slab.end, bytes.byteCount - at)
            slab.append(bytes.extracting(at..<at + count))
            at += count
            if slab.end == slab.capacity {
                pipe.publish(slab)
                self.slab = nil
            } else {
                self.slab = slab
            }
        }
    }

    mutating func finish() throws(LayerError) {
        if let slab, slab.count > 0 { pipe.publish(slab) }
        slab = nil
    }
}

/// The end of a pipe that is read.
struct SlabPipeSource: SlabSource, ~Copyable {
    private let pipe: SlabPipe

    init(_ pipe: SlabPipe) { self.pipe = pipe }

    mutating func next() throws(LayerError) -> Slab? { try pipe.next() }
    mutating func recycle(_ slab: consuming Slab) { pipe.recycle(slab) }
}
