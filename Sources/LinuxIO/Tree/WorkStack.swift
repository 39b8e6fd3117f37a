/// Numbers of directories still to be worked on: last in, first out, so that few are open at a time.
///
/// It ends when it is empty and no worker is busy. Any thread may use it.
public final class WorkStack: Sendable {
    private struct State {
        var items: [UInt32] = []
        var busy = 0
        var stopped = false
    }
    private let state = Monitor(State())

    public init() {}

    /// Adds directories; the last one is taken first.
    public func push(_ items: borrowing [UInt32]) {
        let added = copy items
        state.update { state in
            state.items.append(contentsOf: added)
            return ((), !added.isEmpty)
        }
    }

    /// Adds one directory.
    public func push(_ item: UInt32) {
        state.update { state in
            state.items.append(item)
            return ((), true)
        }
    }

    /// The next directory, or nil when all work is done or stopped. `wasBusy` says that the caller finished one.
    public func pop(wasBusy: Bool) -> UInt32? {
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

    /// Ends the work for everybody.
    public func stop() {
        state.update { state in
            state.stopped = true
            return ((), true)
        }
    }
}
