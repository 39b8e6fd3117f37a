import LayerModel
import LinuxIO

/// Directories for snapshots to come, made and synced ahead of them.
///
/// To put a new directory on disk the file system commits its journal, which takes many times as long as the sync of a record and
/// holds up the syncs of others. So many are made at once, and Prepare only moves one to its place.
///
/// A spare is `spare/<id>` until then, and `snapshots/<id>` from then on. The move is not synced. Where a power failure undoes
/// it after the record was written, the next start finds the directories of the record among the spares and moves them again
/// (`settle`): there is never a record without its directories, and nothing is made anew in the place of what was lost.
final class SpareDirectories: Sendable {
    private struct State {
        /// The oldest first.
        var ready: [Int64] = []
        var isFilling = false
        /// How many are made the next time: a daemon that is asked for little keeps little.
        var count = SpareDirectories.fewest
    }

    static let fewest = 4
    static let most = 64

    private let snapshots: SnapshotDirectories
    private let path: PathBytes
    private let directory: OwnedDescriptor
    private let state = Monitor(State())
    /// Has something done on a thread that may block.
    private let background: @Sendable (@escaping @Sendable () -> Void) -> Void

    init(
        _ snapshots: SnapshotDirectories, background: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
    ) throws(LayerError) {
        self.snapshots = snapshots
        self.background = background
        let path = snapshots.home.appending("spare")
        try SnapshotDirectories.make(path, mode: 0o700)
        self.path = path
        directory = try attempt("open", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory, .noFollow])
        }
    }

    /// Moves the directories of a new snapshot to their place; its id stays reserved. Makes them where there are none.
    func take(_ ids: SnapshotIDs) throws(LayerError) -> Int64 {
        while true {
            let (id, isFilling) = next()
            guard let id else {
                try fill(ids)
                continue
            }
            if isFilling { background { [self] in try? fill(ids) } }
            do throws(SystemCallError) {
                try snapshots.take(id, from: directory)
                return id
            } catch {
                ids.release(id)
                // What a crash left in its place, or somebody else removed: neither is ours to touch here.
                guard error.errno == 17 || error.errno == 2 else {
                    throw LayerError(error, "make the directory", path: snapshots.path.appending(String(id)))
                }
            }
        }
    }

    /// The oldest spare; nil where there is none. The caller must `fill` where this says so.
    private func next() -> (Int64?, mustFill: Bool) {
        state.wait { state in
            let wasFilling = state.isFilling
            if state.ready.isEmpty {
                if wasFilling { return nil }
                state.isFilling = true
                return (nil, true)
            }
            let id = state.ready.removeFirst()
            if !wasFilling, state.ready.count < state.count / 2 { state.isFilling = true }
            return (id, state.isFilling && !wasFilling)
        }
    }

    /// Makes the next ones. Throws where not even one can be made.
    private func fill(_ ids: SnapshotIDs) throws(LayerError) {
        let count = state.update { state in
            state.count = min(state.count * 2, Self.most)
            return (state.count, false)
        }
        var made: [Int64] = []
        defer {
            state.change { state in
                state.ready += made
                state.isFilling = false
            }
        }
        do throws(LayerError) {
            for _ in 0..<count { made.append(try make(ids)) }
        } catch {
            // A full disk may still hold a few.
            if made.isEmpty { throw error }
        }
        do throws(SystemCallError) {
            try directory.sync()
        } catch {
            let unsynced = made
            made = []
            for id in unsynced { discard(id, ids) }
            throw LayerError(error, "sync", path: path)
        }
    }

    private func make(_ ids: SnapshotIDs) throws(LayerError) -> Int64 {
        let id = ids.reserve()
        do throws(SystemCallError) {
            try snapshots.make(id, in: directory)
            return id
        } catch {
            discard(id, ids)
            throw LayerError(error, "make the directory", path: path.appending(String(id)))
        }
    }

    private func discard(_ id: Int64, _ ids: SnapshotIDs) {
        try? SnapshotDirectories.remove(PathBytes(String(id)), in: directory, path)
        ids.release(id)
    }

    /// At the start: moves those of recorded snapshots to their place, and removes the others.
    func settle(_ recorded: Set<Int64>) throws(LayerError) {
        for name in try SnapshotDirectories.names(in: directory, path) {
            if let id = SnapshotDirectories.id(name.bytes[...]), recorded.contains(id) {
                do throws(SystemCallError) {
                    try snapshots.take(id, from: directory)
                    continue
                } catch {
                    guard error.errno == 17 else {
                        throw LayerError(error, "put back", path: snapshots.path.appending(name))
                    }
                }
            }
            try SnapshotDirectories.remove(name, in: directory, path)
        }
    }
}
