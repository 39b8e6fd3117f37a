import LayerModel
import LinuxIO

/// The files that leave in pieces: each is opened once, whoever reads its pieces, so that all of them are of one file, and
/// all pieces share the fate of that opening.
final class LargeFiles: Sendable {
    /// What a worker that comes with a piece is told.
    enum Claim {
        /// Open the file, and say with `settle` what came of it.
        case open
        /// Another worker is opening it.
        case busy
        case ready(LargeFile)
        case leftOut
        case failed(LayerError)
    }

    private struct State {
        var outcome: Claim
        /// Pieces that have not been read yet.
        var piecesLeft: Int64
    }

    /// By item.
    private let files = Monitor<[UInt32: State]>([:])

    /// Asks for the file of an item that has `pieces` pieces.
    func claim(_ item: UInt32, pieces: Int64) -> Claim {
        files.update { files in
            if let state = files[item] { return (state.outcome, false) }
            files[item] = State(outcome: .busy, piecesLeft: pieces)
            return (.open, false)
        }
    }

    /// Says what came of an opening.
    func settle(_ item: UInt32, _ outcome: Claim) { files.change { $0[item]?.outcome = outcome } }

    /// Waits until the opening is over.
    func waitUntilSettled(_ item: UInt32) {
        files.wait { files -> Void? in
            if case .busy? = files[item]?.outcome { return nil }
            return ()
        }
    }

    /// Says that one piece's reading has begun or was left out; after the last one the file closes by itself.
    func release(_ item: UInt32) {
        files.change { files in
            guard let left = files[item]?.piecesLeft else { return }
            if left <= 1 { files[item] = nil } else { files[item]?.piecesLeft = left - 1 }
        }
    }
}
