import LayerModel
import LinuxIO
import Synchronization

/// Runs a walk on all workers and leaves its tables filled.
enum TreeWalk {
    /// Workers a core on a cold tree, where the caller names no number.
    static let coldWorkersPerCore = 4

    /// Walks from the root down; throws the first error of any worker.
    static func run(_ plan: WalkPlan, workers: Int?) throws(LayerError) -> WalkTally {
        try addRoot(plan)
        plan.stack.push([0])
        let tallies = Tallies()
        let crew = WalkCrew(plan, workers: workers) { () throws(LayerError) in
            var worker = WalkWorker(plan)
            do throws(LayerError) { try worker.run() } catch {
                // A worker that fails elsewhere must not leave the others waiting for work that never comes.
                plan.stack.stop()
                throw error
            }
            tallies.add(worker.finishTally())
        }
        plan.onCold.withLock { $0 = { crew.grow() } }
        defer { plan.onCold.withLock { $0 = nil } }
        try crew.run()
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

/// The workers of a walk: as many as cores, and more of them when the tree turns out to be cold, since reading a directory, or
/// opening one, waits for the disk and is nothing that the ring does.
private final class WalkCrew: Sendable {
    private let body: @Sendable () throws(LayerError) -> Void
    private let helpers = Helpers()
    private let failure = FirstError()
    private let count: Int
    private let coldCount: Int
    private let started = Atomic<Int>(0)

    init(_ plan: WalkPlan, workers: Int?, _ body: @escaping @Sendable () throws(LayerError) -> Void) {
        self.body = body
        let most = plan.descriptors.workers
        count = min(WorkerPool(count: workers).count, most)
        coldCount = min(workers == nil ? TreeWalk.coldWorkersPerCore * count : count, most)
    }

    /// Does the work; throws the first error of any worker when all have ended.
    func run() throws(LayerError) {
        start(count)
        perform()
        helpers.join()
        if let error = failure.value { throw error }
    }

    /// The tree is cold.
    func grow() { start(coldCount) }

    private func start(_ count: Int) {
        // The calling thread is one.
        while started.load(ordering: .relaxed) < count - 1 {
            let number = started.add(1, ordering: .relaxed).oldValue
            guard number < count - 1 else { return }
            helpers.start { [self] in perform() }
        }
    }

    private func perform() {
        do throws(LayerError) { try body() } catch { failure.record(error) }
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
