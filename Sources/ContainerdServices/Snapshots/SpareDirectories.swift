import Glibc
import LayerModel
import LinuxIO

/// Directories for snapshots to come, made and synced ahead of them.
///
/// To put a new directory on disk the file system commits its journal, which takes many times as long as the sync of a record and
/// holds up the syncs of others. So many are made at once, and Prepare only moves one to its place.
///
/// A spare is `spare/<id>` until then, and `snapshots/<id>` from then on. The move is not synced. Where a power failure undoes
/// it after the record was written, the next start finds the directories of the record among the spares and moves them again
/// (`settle`): there is never a record without its directories, and nothing is made anew in the place of what was lost. The
/// records remember up to which id moves are on disk, so that an older copy of the spares is not taken for snapshots.
final class SpareDirectories: Sendable {
    private struct State {
        /// The oldest first.
        var ready: [Int64] = []
        var filling = Filling.not
        /// How many are made the next time: a daemon that is asked for little keeps little.
        var count = SpareDirectories.fewest
        /// Those that are on their way to their place.
        var moving: Set<Int64> = []
        /// The highest that was taken.
        var taken: Int64 = 0
        /// What `settled` says.
        var settled: Int64 = 0
    }

    private enum Filling {
        case not
        /// Work for it waits for a thread.
        case asked
        case running
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
            let (id, isAsked) = next()
            guard let id else {
                try fill(ids)
                continue
            }
            if isAsked { background { [self] in fillIfAsked(ids) } }
            defer { state.change { _ = $0.moving.remove(id) } }
            do throws(SystemCallError) {
                try snapshots.take(id, from: directory)
                return id
            } catch {
                ids.release(id)
                // What a crash left in its place, or somebody else removed: neither is ours to touch here.
                guard error.errno == EEXIST || error.errno == ENOENT else {
                    throw LayerError(error, "make the directory", path: snapshots.path.appending(String(id)))
                }
            }
        }
    }

    /// The oldest spare; nil where there is none and the caller must `fill`. Says whether more were asked for.
    ///
    /// Waits for others only while one of them is filling: whoever was only asked to may have no thread, because all of them are
    /// here.
    private func next() -> (Int64?, isAsked: Bool) {
        state.wait { state in
            if state.ready.isEmpty {
                if state.filling == .running { return nil }
                state.filling = .running
                return (nil, false)
            }
            let id = state.ready.removeFirst()
            state.moving.insert(id)
            state.taken = max(state.taken, id)
            guard state.filling == .not, state.ready.count < state.count / 2 else { return (id, false) }
            state.filling = .asked
            return (id, true)
        }
    }

    private func fillIfAsked(_ ids: SnapshotIDs) {
        let isMine = state.update { state in
            guard state.filling == .asked else { return (false, false) }
            state.filling = .running
            return (true, false)
        }
        if isMine { try? fill(ids) }
    }

    /// Makes the next ones. Throws where not even one can be made.
    private func fill(_ ids: SnapshotIDs) throws(LayerError) {
        let count = state.update { state in
            state.count = min(state.count * 2, Self.most)
            return (state.count, false)
        }
        var made: [Int64] = []
        var moved: Int64 = 0
        defer {
            state.change { state in
                state.ready += made
                state.filling = .not
                state.settled = max(state.settled, moved)
            }
        }
        do throws(LayerError) {
            for _ in 0..<count { made.append(try make(ids)) }
        } catch {
            // A full disk may still hold a few.
            if made.isEmpty { throw error }
        }
        // They are taken in the order of their numbers, and what is made here comes after all of them.
        let done = state.update { state in ((state.ready + state.moving).min().map { $0 - 1 } ?? state.taken, false) }
        do throws(SystemCallError) {
            try sync(last: made[made.count - 1])
            // What was moved before is on disk with that, or with this.
            if (try? snapshots.sync()) != nil { moved = done }
        } catch {
            let unsynced = made
            made = []
            for id in unsynced { discard(id, ids) }
            throw LayerError(error, "sync", path: path)
        }
    }

    /// Puts what was made on disk. File systems with a journal write it in order, so what was changed last takes all before it along;
    /// others look at what is new in the directory.
    private func sync(last id: Int64) throws(SystemCallError) {
        try PathBytes("\(id)/work").withName { (name) throws(SystemCallError) in
            try directory.open(name, [.readOnly, .directory, .noFollow]).sync()
        }
        try directory.sync()
    }

    private func make(_ ids: SnapshotIDs) throws(LayerError) -> Int64 {
        while true {
            let id = ids.reserve()
            do throws(SystemCallError) {
                try snapshots.make(id, in: directory)
                return id
            } catch {
                // What lies there already is not ours to touch.
                if error.errno == EEXIST {
                    ids.release(id)
                    continue
                }
                discard(id, ids)
                throw LayerError(error, "make the directory", path: path.appending(String(id)))
            }
        }
    }

    private func discard(_ id: Int64, _ ids: SnapshotIDs) {
        _ = try? SnapshotDirectories.sweep(id, in: directory, holdsPacked: snapshots.holdsPacked)
        ids.release(id)
    }

    /// Up to this id the moves are on disk; 0 where none of this process's are known to be.
    var settled: Int64 { state.update { ($0.settled, false) } }

    /// The ids below which something lies that is or was a snapshot's.
    func filled() throws(LayerError) -> [Int64] {
        var found: [Int64] = []
        for name in try SnapshotDirectories.names(in: directory, path) {
            guard let id = SnapshotDirectories.id(name.bytes[...]) else { continue }
            let form = try attempt("look at", path.appending(name)) { () throws(SystemCallError) in
                try SnapshotDirectories.form(id, in: directory, holdsPacked: snapshots.holdsPacked)
            }
            if form == .filled { found.append(id) }
        }
        return found
    }

    /// At the start: moves those of recorded snapshots to their place, and removes the others. What others keep there stays, what
    /// holds something, and an empty one that nothing proves to be a snapshot's; says so.
    func settle(_ index: SnapshotIndex) throws(LayerError) -> [String] {
        var lost: [String] = []
        for name in try SnapshotDirectories.names(in: directory, path) {
            guard let id = SnapshotDirectories.id(name.bytes[...]) else { continue }
            if let record = index.records[id], try !snapshots.holds(id) {
                let form = try attempt("look at", path.appending(name)) { () throws(SystemCallError) in
                    try SnapshotDirectories.form(id, in: directory, holdsPacked: snapshots.holdsPacked)
                }
                guard index.provesMove(of: id, form) else {
                    lost.append(
                        "snapshot \(quoted(record.name)) has no directory \(snapshots.path.appending(name)), and "
                            + "\(path.appending(name)) is empty: it is not taken for what the snapshot held")
                    continue
                }
                do throws(SystemCallError) {
                    try snapshots.take(id, from: directory)
                    continue
                } catch {
                    guard error.errno == EEXIST else {
                        throw LayerError(error, "put back", path: snapshots.path.appending(name))
                    }
                }
            }
            // One that cannot be removed keeps nobody from anything.
            if index.condemned.contains(id), index.records[id] == nil {
                try? SnapshotDirectories.remove(name, in: directory, path)
            } else if (try? SnapshotDirectories.sweep(id, in: directory, holdsPacked: snapshots.holdsPacked)) == .lost {
                lost.append(path.appending(name).description + StoredForm.isLost)
            }
        }
        return lost
    }
}
