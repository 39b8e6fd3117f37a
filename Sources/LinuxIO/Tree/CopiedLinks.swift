import LayerModel

/// The first copies of files that have several names, so that the others become names of the copy.
final class CopiedLinks: Sendable {
    struct Key: Hashable, BitwiseCopyable {
        var device: UInt64
        var inode: UInt64

        init(_ metadata: EntryMetadata) {
            device = metadata.device
            inode = metadata.inode
        }
    }

    /// A name in the target.
    struct Place: BitwiseCopyable {
        var directory: UInt32
        var name: NameRef
    }

    enum Claim {
        /// Nobody has copied the file: the caller does, and publishes the copy's name.
        case first
        case copied(Place)
        /// The copy has ended.
        case stopped
    }

    private struct State {
        /// Nil while the first copy has no name yet.
        var places: [Key: Place?] = [:]
        var stopped = false
    }
    private let state = Monitor(State())

    /// Asks for a file's copy; waits while another thread makes its name, which is one system call.
    func claim(_ key: Key) -> Claim {
        state.waitFor { state -> (result: Claim, wake: Bool)? in
            if state.stopped { return (.stopped, false) }
            guard let known = state.places[key] else {
                state.places.updateValue(nil, forKey: key)
                return (.first, false)
            }
            guard let place = known else { return nil }
            return (.copied(place), false)
        }
    }

    /// Says under which name a copy now exists.
    func publish(_ key: Key, _ place: Place) { state.change { $0.places[key] = place } }

    func stop() { state.change { $0.stopped = true } }
}
