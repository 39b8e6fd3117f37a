import LayerModel
import LinuxIO

/// A byte stream from asynchronous code (a request's body) to a blocking reader (the engine), through a few slabs: the
/// writer waits without a thread while they are all full, so a peer is never read faster than its layer is unpacked. Slabs
/// that the reader holds do not count: the engine bounds those itself, and may need more to let go of any.
///
/// One writer, one reader. The writer ends the stream with `finish`; the reader may leave at any time with `stop`.
package final class InboundStream: Sendable {
    private struct State {
        var free: [Slab] = []
        var ready: [Slab] = []
        /// What the writer fills.
        var current: Slab?
        var readerWaits = false
        /// Whether it has asked for anything yet: a layer that waits for a thread is not to take the room of one that has it.
        var hasReader = false
        var writer: CheckedContinuation<Slab?, Never>?
        var isEnded = false
        var failure: LayerError?
        var isStopped = false
    }

    /// Slabs that wait for the reader, at most, and that are kept for reuse: 5 MiB.
    private static let queueLimit = 4
    /// From here on a slab that is not full is handed to a reader that has nothing to do.
    private static let worthReading = 128 << 10

    private let monitor = Monitor(State())

    package init() {}

    // MARK: Writer

    /// A slab with room behind its valid bytes, for the writer to append to; nil when the reader has left and the rest of
    /// the stream interests nobody. Call `advance` after appending.
    package func room() async -> Slab? {
        if let current = monitor.update({ ($0.isStopped ? nil : $0.current, false) }) { return current }
        let slab = await freeSlab()
        monitor.update { state in
            state.current = slab
            return ((), false)
        }
        return slab
    }

    /// Hands what was appended to the reader if it is a full slab, or if the reader has nothing else to do.
    package func advance() {
        monitor.update { state in
            guard let slab = state.current else { return ((), false) }
            let isFull = slab.end == slab.capacity
            guard isFull || (state.readerWaits && slab.count >= Self.worthReading) else { return ((), false) }
            state.ready.append(slab)
            state.current = nil
            return ((), true)
        }
    }

    /// Says that the stream is complete, or why it is not. Called once.
    package func finish(failure: LayerError? = nil) {
        monitor.change { state in
            if let slab = state.current, slab.count > 0 { state.ready.append(slab) }
            state.current = nil
            state.isEnded = true
            state.failure = failure
        }
    }

    /// An empty slab, once there is one; nil when the reader has left.
    private func freeSlab() async -> Slab? {
        await withCheckedContinuation { continuation in
            let slab = monitor.change { state -> Slab?? in
                if state.isStopped { return .some(nil) }
                let limit = state.hasReader ? Self.queueLimit : 1
                if state.ready.count < limit { return Self.emptySlab(&state) }
                state.writer = continuation
                return nil
            }
            if let slab { continuation.resume(returning: slab) }
        }
    }

    private static func emptySlab(_ state: inout State) -> Slab {
        state.free.popLast()
            ?? Slab(
                capacity: SlabSourceDefaults.headroom + SlabSourceDefaults.payload,
                headroom: SlabSourceDefaults.headroom)
    }

    // MARK: Reader

    /// The blocking end, for one reader.
    package var source: Source { Source(stream: self) }

    /// The reader's view.
    package struct Source: SlabSource, ~Copyable {
        private let stream: InboundStream

        fileprivate init(stream: InboundStream) { self.stream = stream }

        package mutating func next() throws(LayerError) -> Slab? { try stream.next() }
        package mutating func recycle(_ slab: consuming Slab) { stream.recycle(slab) }
    }

    /// Whether the writer said that the stream is not complete.
    package var isBroken: Bool { monitor.update { ($0.failure != nil, false) } }

    /// Says that nothing more will be read.
    package func stop() {
        let writer = monitor.change { state in
            state.isStopped = true
            let writer = state.writer
            state.writer = nil
            return writer
        }
        writer?.resume(returning: nil)
    }

    private func next() throws(LayerError) -> Slab? {
        typealias Writer = (continuation: CheckedContinuation<Slab?, Never>, slab: Slab)
        let (outcome, writer) = monitor.wait { state -> (Result<Slab?, LayerError>, Writer?)? in
            state.hasReader = true
            guard state.ready.isEmpty else {
                state.readerWaits = false
                let slab = state.ready.removeFirst()
                // There is room in the queue now.
                let writer = state.writer.map { ($0, Self.emptySlab(&state)) }
                state.writer = nil
                return (.success(slab), writer)
            }
            guard state.isEnded else {
                state.readerWaits = true
                return nil
            }
            return (state.failure.map { .failure($0) } ?? .success(nil), nil)
        }
        if let writer { writer.continuation.resume(returning: writer.slab) }
        return try outcome.get()
    }

    private func recycle(_ slab: Slab) {
        slab.start = SlabSourceDefaults.headroom
        slab.end = SlabSourceDefaults.headroom
        monitor.update { state in
            if state.free.count < Self.queueLimit { state.free.append(slab) }
            return ((), false)
        }
    }
}
