import Synchronization
import Testing

/// What callers were told of snapshots, so that it must hold whatever happens afterwards.
final class SnapshotPromises: Sendable {
    /// Names that must be there, must not be there, or may be either.
    enum Expectation { case present, absent, open }
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
            case .open: break
            }
        }
    }
}
