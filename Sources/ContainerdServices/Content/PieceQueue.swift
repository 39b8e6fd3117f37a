import Foundation
import LayerModel
import LinuxIO

/// Pieces of a stream on their way from a thread that may wait to a task that must not.
///
/// A few pieces lie in it at most, so the thread goes no faster than who takes them. One gives, one takes.
final class PieceQueue: Sendable {
    private struct State {
        var pieces: [Data] = []
        /// Nothing follows.
        var isEnded = false
        /// Nobody takes any more.
        var isAbandoned = false
        var taker: CheckedContinuation<Void, Never>?

        mutating func takeTaker() -> CheckedContinuation<Void, Never>? {
            defer { taker = nil }
            return taker
        }
    }

    /// Pieces that lie in it, at most.
    private static let limit = 4
    private let state = Monitor(State())

    /// Puts a piece in; waits while the queue is full. Throws `cancelled` once nobody takes any more.
    func give(_ piece: Data) throws(LayerError) {
        let outcome: Given = state.wait { state in
            if state.isAbandoned { return .refused }
            guard state.pieces.count < Self.limit else { return nil }
            state.pieces.append(piece)
            return .taken(state.takeTaker())
        }
        switch outcome {
        case .taken(let taker): taker?.resume()
        case .refused:
            throw LayerError(.cancelled, "write the layer", cause: .reason("nobody takes it any more"))
        }
    }

    private enum Given {
        case taken(CheckedContinuation<Void, Never>?)
        case refused
    }

    private enum Taken {
        case piece(Data)
        case end
        case abandoned
        case nothingYet
    }

    /// Says that nothing follows. Called once, also after a failure.
    func end() {
        let taker = state.change { state in
            state.isEnded = true
            return state.takeTaker()
        }
        taker?.resume()
    }

    /// Makes everyone give up: a thread that waits, too. Harmless when all is over.
    func abandon() {
        let taker = state.change { state in
            state.isAbandoned = true
            state.pieces = []
            return state.takeTaker()
        }
        taker?.resume()
    }

    /// The next piece; nil at the end. Throws `CancellationError` once the queue is abandoned, as it is when the task that
    /// waits here is cancelled.
    func next() async throws -> Data? {
        while true {
            let taken: Taken = state.change { state in
                if state.isAbandoned { return .abandoned }
                if !state.pieces.isEmpty { return .piece(state.pieces.removeFirst()) }
                return state.isEnded ? .end : .nothingYet
            }
            switch taken {
            case .piece(let piece): return piece
            case .end: return nil
            case .abandoned: throw CancellationError()
            case .nothingYet: await waitForChange()
            }
        }
    }

    private func waitForChange() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let goesOn = state.change { state in
                    if !state.pieces.isEmpty || state.isEnded || state.isAbandoned { return true }
                    state.taker = continuation
                    return false
                }
                if goesOn { continuation.resume() }
            }
        } onCancel: {
            abandon()
        }
    }
}

/// Cuts a stream into pieces for a queue.
struct PieceSink: ByteSink, ~Copyable {
    /// Bytes of one piece: far below the 8 MiB that containerd takes in one message, and enough to make messages rare.
    static let pieceSize = 1 << 20

    private let queue: PieceQueue
    private var piece = Data()

    init(_ queue: PieceQueue) { self.queue = queue }

    mutating func write(_ bytes: RawSpan) throws(LayerError) {
        var start = 0
        while start < bytes.byteCount {
            if piece.isEmpty { piece.reserveCapacity(min(Self.pieceSize, max(bytes.byteCount, 64 << 10))) }
            let count = min(bytes.byteCount - start, Self.pieceSize - piece.count)
            bytes.extracting(start..<start + count).withUnsafeBytes { piece.append(contentsOf: $0) }
            start += count
            if piece.count == Self.pieceSize { try flush() }
        }
    }

    mutating func finish() throws(LayerError) {
        if !piece.isEmpty { try flush() }
    }

    private mutating func flush() throws(LayerError) {
        let full = piece
        piece = Data()
        try queue.give(full)
    }
}
