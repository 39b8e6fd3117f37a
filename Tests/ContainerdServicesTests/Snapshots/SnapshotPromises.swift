import Synchronization
import Testing

/// What callers were told of snapshots, so that it must hold whatever happens afterwards.
final class SnapshotPromises: Sendable {
    enum Expectation {
        case present, absent
        /// May be there or not.
        case open
        /// Removed, which is on disk a little later: it may come back with a disk that ended, and is then removed again.
        case removed
    }
    private let held = Mutex<[String: Expectation]>([:])

    func set(_ name: String, _ expectation: Expectation) { held.withLock { $0[name] = expectation } }
    var all: [String: Expectation] { held.withLock { $0 } }
    /// Whether a caller got as far as a committed layer.
    var hasCommitted: Bool { all.contains { !$0.key.hasSuffix("-key") && $0.value == .present } }

    /// Whether these are the snapshots that must be there.
    func check(_ names: Set<String>, _ when: String) {
        for (name, expectation) in all {
            switch expectation {
            case .present: #expect(names.contains(name), "\(when): \(name) was promised")
            case .absent: #expect(!names.contains(name), "\(when): \(name) was gone")
            case .open, .removed: break
            }
        }
    }
}
