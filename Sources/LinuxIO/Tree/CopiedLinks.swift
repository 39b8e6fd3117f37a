import LayerModel

/// The first copies of files that have several names, so that the others become names of the copy.
final class CopiedLinks: Sendable {
    typealias Key = FileIdentity

    /// A name in the target.
    struct Place: BitwiseCopyable {
        var directory: UInt32
        var name: NameRef
    }

    enum Claim {
        /// Nobody has copied the file: the caller does, and publishes the copy's name.
        case first
        case copied(Place)
        /// The file was left out, and with it all of its names.
        case skipped
        /// The copy has ended.
        case stopped
    }

    private enum Copy {
        case isMade
        case stands(Place)
        case skipped
    }

    private struct State {
        var copies: [Key: Copy] = [:]
        var stopped = false
    }
    private let state = Monitor(State())

    /// Asks for a file's copy; waits while another thread makes it. A name of a copy without all of its contents would stay
    /// behind where those cannot be had.
    func claim(_ key: Key) -> Claim {
        state.waitFor { state -> (result: Claim, wake: Bool)? in
            if state.stopped { return (.stopped, false) }
            switch state.copies[key] {
            case nil:
                state.copies[key] = .isMade
                return (.first, false)
            case .isMade: return nil
            case .stands(let place): return (.copied(place), false)
            case .skipped: return (.skipped, false)
            }
        }
    }

    /// Says under which name a complete copy now exists.
    func publish(_ key: Key, _ place: Place) { state.change { $0.copies[key] = .stands(place) } }

    /// Says that the file has no copy.
    func skip(_ key: Key) { state.change { $0.copies[key] = .skipped } }

    func stop() { state.change { $0.stopped = true } }
}
