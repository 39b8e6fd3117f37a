import Synchronization

/// One commit of a snapshot at a time; whoever comes meanwhile waits and looks again.
final class CommitTurns: Sendable {
    /// The snapshots of which a commit is at work, and who waits for its end.
    private let waiting = Mutex<[Int64: [CheckedContinuation<Void, Never>]]>([:])

    /// Whether the caller may commit, and then has to say `end`; false, later, once another commit of it is over.
    func begin(_ id: Int64) async -> Bool {
        let isFirst = waiting.withLock { waiting in
            guard waiting[id] == nil else { return false }
            waiting[id] = []
            return true
        }
        if isFirst { return true }
        await withCheckedContinuation { continuation in
            let isOver = waiting.withLock { waiting in
                guard waiting[id] != nil else { return true }
                waiting[id]?.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
        return false
    }

    func end(_ id: Int64) {
        for continuation in waiting.withLock({ $0.removeValue(forKey: id) ?? [] }) { continuation.resume() }
    }
}
