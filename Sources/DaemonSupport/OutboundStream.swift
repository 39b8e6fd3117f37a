import LayerModel
import LinuxIO

/// A byte stream from a blocking writer (the engine) to asynchronous code (a response's body), through a short queue: the
/// engine waits while the peer is slow.
///
/// One writer, one reader. The writer ends the stream with `finish`; the reader may leave at any time with `stop`.
package final class OutboundStream: Sendable {
    /// A piece of the stream; its slab goes back to the pool when its bytes have been taken.
    package struct Piece: Sendable {
        package let slab: Slab
        fileprivate let pool: SlabPool

        /// Gives the slab back. Its bytes are not to be looked at after this.
        package func release() { pool.give(slab) }
    }

    private struct State {
        var ready: [Piece] = []
        var reader: CheckedContinuation<Result<Piece?, LayerError>, Never>?
        var end: Result<Piece?, LayerError>?
        var isStopped = false
    }

    /// Pieces that wait, at most: with the engine's segments of 256 KiB two MiB.
    private static let queueLimit = 8

    private let monitor = Monitor(State())

    package init() {}

    // MARK: Writer

    /// The blocking end, for one writer.
    package var sink: Sink { Sink(stream: self) }

    /// The writer's view: gathers small writes, passes slabs on as they are.
    package struct Sink: ByteSink, ~Copyable {
        private let stream: OutboundStream
        private let pool = SlabPool(slabCapacity: 256 << 10)
        private var gathered: Slab?

        fileprivate init(stream: OutboundStream) { self.stream = stream }

        package mutating func write(_ bytes: RawSpan) throws(LayerError) {
            var done = 0
            while done < bytes.byteCount {
                let slab = gathered ?? pool.take()
                gathered = slab
                let count = min(bytes.byteCount - done, slab.capacity - slab.end)
                slab.append(bytes.extracting(done..<done + count))
                done += count
                if slab.end == slab.capacity { try flush() }
            }
        }

        package mutating func write(_ slab: Slab, returningTo pool: SlabPool) throws(LayerError) {
            try flush()
            try stream.put(Piece(slab: slab, pool: pool))
        }

        package mutating func finish() throws(LayerError) { try flush() }

        private mutating func flush() throws(LayerError) {
            guard let slab = gathered else { return }
            gathered = nil
            if slab.count > 0 { try stream.put(Piece(slab: slab, pool: pool)) }
        }
    }

    /// Says that the stream is complete, or why it is not. Called once, after the sink's own `finish`.
    package func finish(failure: LayerError? = nil) {
        let end: Result<Piece?, LayerError> = failure.map { .failure($0) } ?? .success(nil)
        let reader = monitor.change { state in
            state.end = end
            let reader = state.reader
            state.reader = nil
            return reader
        }
        reader?.resume(returning: end)
    }

    private func put(_ piece: Piece) throws(LayerError) {
        typealias Reader = CheckedContinuation<Result<Piece?, LayerError>, Never>
        let (isStopped, reader) = monitor.wait { state -> (Bool, Reader?)? in
            if state.isStopped { return (true, nil) }
            if let reader = state.reader {
                state.reader = nil
                return (false, reader)
            }
            guard state.ready.count < Self.queueLimit else { return nil }
            state.ready.append(piece)
            return (false, nil)
        }
        guard !isStopped else {
            piece.release()
            throw LayerError(.cancelled, "write the layer", cause: .reason("the reader has gone"))
        }
        reader?.resume(returning: .success(piece))
    }

    // MARK: Reader

    /// The next piece; nil at the end. Throws why the stream is not complete, after what came before.
    package func next() async throws(LayerError) -> Piece? {
        let outcome = await withCheckedContinuation { continuation in
            let ready = monitor.change { state -> Result<Piece?, LayerError>? in
                if !state.ready.isEmpty { return .success(state.ready.removeFirst()) }
                if let end = state.end { return end }
                state.reader = continuation
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
        return try outcome.get()
    }

    /// Says that nothing more will be read; the writer's next write throws.
    package func stop() {
        let rest = monitor.change { state in
            state.isStopped = true
            let rest = state.ready
            state.ready = []
            return rest
        }
        for piece in rest { piece.release() }
    }
}
