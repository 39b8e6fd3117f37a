import LayerModel
import LinuxIO

/// Hands out segments to workers and takes their bytes back in order. No worker runs further ahead of the writer
/// than the window, so memory does not grow with the layer.
final class SegmentBoard: Sendable {
    private struct State {
        var claimed = 0
        var written = 0
        var stopped = false
        /// Finished segments by index modulo the window.
        var ready: [EncodedSegment?]
    }

    private let state: Monitor<State>
    private let window: Int
    let count: Int

    init(count: Int, window: Int) {
        self.count = count
        self.window = window
        state = Monitor(State(ready: [EncodedSegment?](repeating: nil, count: window)))
    }

    /// A segment to encode; nil when none is left, or with `wait` false when the window is full.
    func claim(wait: Bool) -> Int? {
        state.waitFor { state -> (result: Int?, wake: Bool)? in
            if state.stopped || state.claimed == count { return (nil, false) }
            if state.claimed < state.written + window {
                state.claimed += 1
                return (state.claimed - 1, false)
            }
            return wait ? nil : (nil, false)
        }
    }

    /// Whether segments are left that nobody encodes yet.
    var hasUnclaimed: Bool {
        state.update { (!$0.stopped && $0.claimed < count, false) }
    }

    /// Hands in an encoded segment.
    func publish(_ index: Int, _ segment: EncodedSegment) {
        state.update { state in
            state.ready[index % window] = segment
            // Only the writer waits for segments, and only for the next one in order.
            return ((), index == state.written)
        }
    }

    /// The next segment in order, if it is ready; with `wait`, waits for it. Nil also when stopped.
    func take(wait: Bool) -> EncodedSegment? {
        state.waitFor { state -> (result: EncodedSegment?, wake: Bool)? in
            let slot = state.written % window
            if let segment = state.ready[slot] {
                state.ready[slot] = nil
                return (segment, false)
            }
            return wait && !state.stopped ? nil : (nil, false)
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
            state.stopped = true
            return ((), true)
        }
    }
}
