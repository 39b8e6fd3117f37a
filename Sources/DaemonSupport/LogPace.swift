import Synchronization

/// Keeps the log from growing with every call that somebody has fail: after many lines at once only as many get through as a
/// slow trickle adds, and the next of them says how many were left out.
///
/// For each level by itself, so that a flood of warnings hides no error.
package final class LogPace: Sendable {
    private struct State {
        /// Lines that may pass, in thousandths.
        var credit: Int64
        var last: ContinuousClock.Instant
        var leftOut = 0
    }

    private let burst: Int64
    private let perSecond: Int64
    private let state: Mutex<State>

    package init(burst: Int, perSecond: Int, now: ContinuousClock.Instant = .now) {
        self.burst = Int64(burst) * 1000
        self.perSecond = Int64(perSecond) * 1000
        state = Mutex(State(credit: self.burst, last: now))
    }

    /// How many lines were left out before this one; nil where it is left out itself.
    package func admit(now: ContinuousClock.Instant = .now) -> Int? {
        state.withLock { state in
            let waited = max(.zero, min(now - state.last, .seconds(3600)))
            let earned = (waited / .milliseconds(1)) * Double(perSecond) / 1000
            state.credit = min(burst, state.credit + Int64(earned))
            // What was too short for a thousandth of a line is not forgotten.
            if earned >= 1 { state.last = now }
            guard state.credit >= 1000 else {
                state.leftOut += 1
                return nil
            }
            state.credit -= 1000
            defer { state.leftOut = 0 }
            return state.leftOut
        }
    }
}
