import Synchronization

/// Gives out ids, each once.
final class SnapshotIDs: Sendable {
    private struct State {
        var highest: Int64
        /// Given out, and without a record yet: their storage is no leftover.
        var reserved: Set<Int64> = []
    }

    private let state: Mutex<State>

    /// `highest` was given out before.
    init(highest: Int64) { state = Mutex(State(highest: highest)) }

    /// A new id. Give it back with `release` when its record is made, or its storage is gone again.
    func reserve() -> Int64 {
        state.withLock { state in
            state.highest += 1
            state.reserved.insert(state.highest)
            return state.highest
        }
    }

    func release(_ id: Int64) { state.withLock { _ = $0.reserved.remove(id) } }

    func isReserved(_ id: Int64) -> Bool { state.withLock { $0.reserved.contains(id) } }
}
