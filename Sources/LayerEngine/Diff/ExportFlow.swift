import LayerModel
import LinuxIO

/// What a worker of an export does next.
enum ExportTask {
    /// Write a segment: the next one in order. Only the writer gets it.
    case write(EncodedSegment)
    case encode(Int)
    /// Decide the next items; the planner is the worker's own until `planned` is called.
    case plan
    case walk(UInt32)
    /// Nothing but the reads that the worker has in flight.
    case collect
    case done
}

/// What the work of an export is enough for.
enum ExportDemand: Comparable {
    case one
    /// All cores.
    case several
    /// More threads than cores: metadata come from a disk, and each thread can only wait for one inode.
    case cold
    /// Far more threads than cores: opening a file takes a disk so long that it answers many at once, or none would use it.
    case slow
}

/// Hands out the work of an export: walking, planning, encoding and writing go on side by side.
///
/// A worker walks only when nothing can be encoded, so that files are read while what the walk learned of their inodes is
/// still in the processor's cache; and while reads wait for a disk it walks on, so that both wait at once. No worker
/// encodes further ahead of the writer than the window, so memory does not grow with the layer.
final class ExportFlow: Sendable {
    private struct State {
        /// Directories still to be walked; the last one is taken first.
        var directories: [UInt32] = [0]
        var walking = 0
        /// Directories whose walk took so long that it must have waited for a disk.
        var slowWalks = 0
        /// Segments whose files took so long to open.
        var slowSegments = 0
        var isSlow: Bool { slowSegments >= 2 }
        /// By index: whether the directory's names are in the tables.
        var walked: [Bool] = []
        var isPlanning = false
        var isPlanned = false
        /// The directory without which the planner cannot go on.
        var wanted: UInt32 = 0
        var planned = 0
        var claimed = 0
        var written = 0
        var isStopped = false
        /// Finished segments by index modulo the window.
        var ready = [EncodedSegment?](repeating: nil, count: ExportFlow.window)

        var isWalked: Bool { directories.isEmpty && walking == 0 }

        func canPlan(_ plansAhead: Bool) -> Bool {
            guard !isPlanning, !isPlanned else { return false }
            if isWalked { return true }
            return plansAhead && (wanted == noIndex || (wanted < walked.count && walked[Int(wanted)]))
        }
    }

    private let state = Monitor(State())
    /// Whether planning may begin before all is walked: a comparison knows only at the end what is below a directory.
    private let plansAhead: Bool

    /// Finished or half-finished segments in memory: 64 of 256 KiB.
    static let window = 64
    /// The same while nothing waits for a disk: few, so that the same few slabs go round.
    private static let warmWindow = 12
    /// Segments of one worker that wait for the ring.
    static let depth = 24

    init(plansAhead: Bool) { self.plansAhead = plansAhead }

    /// The next task; waits for one. `inFlight` is the number of segments whose reads the worker waits for.
    func next(isWriter: Bool, inFlight: Int) -> ExportTask {
        state.waitFor { state -> (result: ExportTask, wake: Bool)? in
            if state.isStopped { return (.done, false) }
            if isWriter {
                let slot = state.written % Self.window
                if let segment = state.ready[slot] {
                    state.ready[slot] = nil
                    return (.write(segment), false)
                }
                if state.isPlanned, state.written == state.planned { return (.done, false) }
            }
            let window = inFlight == 0 && !state.isSlow ? Self.warmWindow : Self.window
            if inFlight < Self.depth, state.claimed < min(state.planned, state.written + window) {
                state.claimed += 1
                return (.encode(state.claimed - 1), false)
            }
            if let task = Self.preparation(&state, plansAhead) { return (task, false) }
            if inFlight > 0 { return (.collect, false) }
            return !isWriter && state.isPlanned && state.claimed == state.planned ? (.done, false) : nil
        }
    }

    /// The next task that brings the plan nearer to its end; waits for one, and is nil when the plan is complete.
    func nextForPlan() -> ExportTask? {
        state.waitFor { state -> (result: ExportTask?, wake: Bool)? in
            if state.isStopped || state.isPlanned { return (nil, false) }
            return Self.preparation(&state, plansAhead).map { ($0, false) }
        }
    }

    private static func preparation(_ state: inout State, _ plansAhead: Bool) -> ExportTask? {
        if state.canPlan(plansAhead) {
            state.isPlanning = true
            return .plan
        }
        guard let directory = state.directories.popLast() else { return nil }
        state.walking += 1
        return .walk(directory)
    }

    /// How much there is to do at once.
    var demand: ExportDemand {
        state.update { state in
            if state.isSlow { return (.slow, false) }
            if state.slowWalks >= 4 { return (.cold, false) }
            return (state.directories.count > 1 || state.planned - state.claimed > 1 ? .several : .one, false)
        }
    }

    /// Says that a directory is walked, and which were found in it, the one to be walked first at the end; `slowly` if it
    /// must have waited for a disk.
    func walked(_ directory: UInt32, found: borrowing [UInt32], slowly: Bool) {
        let added = copy found
        state.update { state in
            state.walking -= 1
            if slowly { state.slowWalks += 1 }
            state.directories.append(contentsOf: added)
            if state.walked.count <= directory {
                state.walked.append(contentsOf: repeatElement(false, count: Int(directory) + 1 - state.walked.count))
            }
            state.walked[Int(directory)] = true
            return ((), !added.isEmpty || state.wanted == directory || state.isWalked)
        }
    }

    /// Whether everything was handed to the writer.
    var isComplete: Bool { state.update { ($0.isPlanned && $0.written == $0.planned, false) } }

    func isWalked(_ directory: UInt32) -> Bool {
        state.update { state in (directory < state.walked.count && state.walked[Int(directory)], false) }
    }

    /// Gives the planner back: `count` segments are decided in all, and it goes on when `wanted` is walked.
    func planned(_ count: Int, waitingFor wanted: UInt32, isComplete: Bool) {
        state.update { state in
            state.isPlanning = false
            state.planned = count
            state.wanted = wanted
            state.isPlanned = isComplete
            return ((), true)
        }
    }

    /// Says that a segment's files took long to open.
    func encodedSlowly() { state.change { $0.slowSegments += 1 } }

    /// Hands in an encoded segment.
    func publish(_ index: Int, _ segment: EncodedSegment) {
        state.update { state in
            state.ready[index % Self.window] = segment
            // Only the writer waits for segments, and only for the next one in order.
            return ((), index == state.written)
        }
    }

    /// Says that the segment taken last is written: the window moves on.
    func advance() {
        state.update { state in
            state.written += 1
            return ((), true)
        }
    }

    /// Ends the work for everybody.
    func stop() {
        state.update { state in
            state.isStopped = true
            return ((), true)
        }
    }
}
