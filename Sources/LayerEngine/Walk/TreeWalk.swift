import LayerModel
import LinuxIO

/// Runs a walk on all workers and leaves its tables filled.
enum TreeWalk {
    /// Walks from the root down; throws the first error of any worker.
    static func run(_ plan: WalkPlan, workers: Int?) throws(LayerError) -> WalkTally {
        try addRoot(plan)
        plan.stack.push([0])
        let tallies = Tallies()
        let pool = WorkerPool(count: min(WorkerPool(count: workers).count, plan.descriptors.workers))
        // A worker that fails elsewhere must not leave the others waiting for work that never comes. The flag is the
        // pool's own: the caller's says what the caller wants, and may serve the next job.
        try pool.run(cancel: CancelFlag()) { () throws(LayerError) in
            var worker = WalkWorker(plan)
            do throws(LayerError) { try worker.run() } catch {
                plan.stack.stop()
                throw error
            }
            tallies.add(worker.finishTally())
        }
        try plan.cancel.check()
        propagateChanges(plan.store)
        return tallies.sum
    }

    /// Makes the record of the root: index 0.
    static func addRoot(_ plan: WalkPlan) throws(LayerError) {
        var root = DirectoryRecord(parent: noIndex, name: .empty, entry: noIndex, upper: 0)
        root.base = plan.baseRoots
        if plan.dialect.name != .tree { root.rest = plan.lowerRoots }
        _ = try plan.store.addDirectory(root)
    }

    /// Marks every directory above a changed one; parents always come before their children in the table.
    static func propagateChanges(_ store: TreeStore) {
        for index in stride(from: store.directories.count - 1, to: 0, by: -1) {
            let record = store.directories[index]
            if record.flags.contains(.changed), record.parent != noIndex {
                store.directories[Int(record.parent)].flags.insert(.changed)
            }
        }
    }
}

/// The sum of the workers' tallies.
private final class Tallies: Sendable {
    private let held = Monitor(WalkTally())

    func add(_ tally: WalkTally) {
        held.update { held in
            held.add(tally)
            return ((), false)
        }
    }

    var sum: WalkTally { held.update { ($0, false) } }
}
