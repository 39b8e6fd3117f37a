import LayerModel
import LinuxIO

/// The directories still to be walked: last in, first out, so that few are open at a time; it ends when it is
/// empty and no worker is busy.
final class WorkStack: Sendable {
    private struct State {
        var items: [UInt32] = []
        var busy = 0
        var stopped = false
    }
    private let state = Monitor(State())

    /// Adds directories; the last one is taken first.
    func push(_ items: borrowing [UInt32]) {
        let added = copy items
        state.update { state in
            state.items.append(contentsOf: added)
            return ((), !added.isEmpty)
        }
    }

    /// The next directory, or nil when all work is done or stopped. `wasBusy` says that the caller finished one.
    func pop(wasBusy: Bool) -> UInt32? {
        var finished = wasBusy
        return state.waitFor { state -> (result: UInt32?, wake: Bool)? in
            if finished {
                state.busy -= 1
                finished = false
            }
            if state.stopped { return (nil, true) }
            if let item = state.items.popLast() {
                state.busy += 1
                return (item, false)
            }
            return state.busy == 0 ? (nil, true) : nil
        }
    }

    /// Ends the walk for everybody.
    func stop() {
        state.update { state in
            state.stopped = true
            return ((), true)
        }
    }
}
