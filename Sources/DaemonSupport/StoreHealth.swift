import Glibc
import LayerModel
import Synchronization

/// What keeps a daemon from its work, as far as a look at its stores tells: also for whoever cannot wait for a disk that
/// does not answer.
package final class StoreHealth: Sendable {
    /// What is looked at.
    package enum Subject: Sendable {
        /// A store that is open.
        case store(driver: String, home: PathBytes)
        /// Why another one is not.
        case trouble(String)
    }

    /// Of what the daemon's clients cannot tell: which directory a store's home was when it was looked at first.
    private struct Place: Equatable {
        var device: UInt64
        var inode: UInt64
    }

    private struct State {
        var isLooking = false
        var troubles: [String] = []
        var places: [PathBytes: Place] = [:]
    }

    private let subjects: @Sendable () -> [Subject]
    private let start: @Sendable (@escaping @Sendable () -> Void) throws(LayerError) -> Void
    private let state = Mutex(State())

    /// How often, in hundredths of a second, it is asked whether a look is over.
    private static let patience = 200

    /// Looks at `subjects` on the threads of `bridge`, which serve calls as well: where those hang, that is a trouble, too.
    package convenience init(_ bridge: BlockingBridge, _ subjects: @escaping @Sendable () -> [Subject]) {
        self.init(start: { (work) throws(LayerError) in try bridge.start(work) }, subjects)
    }

    init(
        start: @escaping @Sendable (@escaping @Sendable () -> Void) throws(LayerError) -> Void,
        _ subjects: @escaping @Sendable () -> [Subject]
    ) {
        self.start = start
        self.subjects = subjects
    }

    /// A line for each trouble; none where all is well. Waits two seconds at most.
    package func troubles() -> [String] {
        if let failure = begin() { return [failure] }
        for _ in 0..<Self.patience {
            if let found { return found }
            usleep(10_000)
        }
        return [Self.silence]
    }

    /// The same for a task, of which no thread waits.
    package func currentTroubles() async -> [String] {
        if let failure = begin() { return [failure] }
        for _ in 0..<Self.patience {
            if let found { return found }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return [Self.silence]
    }

    private static let silence = "a look at the stores is not over in two seconds: a disk, or the daemon, hangs"

    /// What the last look found; nil while one goes on.
    private var found: [String]? { state.withLock { $0.isLooking ? nil : $0.troubles } }

    /// Starts to look, unless somebody does already. What keeps it from that.
    private func begin() -> String? {
        let isMine = state.withLock { state in
            defer { state.isLooking = true }
            return !state.isLooking
        }
        guard isMine else { return nil }
        do throws(LayerError) {
            try start { [self] in
                let found = subjects().compactMap(look)
                state.withLock { state in
                    state.troubles = found
                    state.isLooking = false
                }
            }
            return nil
        } catch {
            state.withLock { $0.isLooking = false }
            return error.description
        }
    }

    private func look(_ subject: Subject) -> String? {
        switch subject {
        case .trouble(let text): return text
        case .store(let driver, let home):
            return trouble(home).map { "\(driver): \(home): \($0)" }
        }
    }

    private func trouble(_ home: PathBytes) -> String? {
        let path = home.bytes.map { CChar(bitPattern: $0) } + [0]
        var (facts, system) = (stat(), statvfs())
        guard stat(path, &facts) == 0, statvfs(path, &system) == 0 else {
            return "its directory cannot be looked at: " + String(cString: strerror(errno))
        }
        let place = Place(device: UInt64(facts.st_dev), inode: UInt64(facts.st_ino))
        let first = state.withLock { state in
            if state.places[home] == nil { state.places[home] = place }
            return state.places[home]
        }
        if first != place { return "it is another directory than it was; is a disk not mounted?" }
        if system.f_flag & UInt(ST_RDONLY) != 0 { return "its file system is mounted read-only" }
        if system.f_bavail == 0 { return "its file system is full" }
        if system.f_files > 0, system.f_ffree == 0 { return "its file system has no inodes left" }
        return nil
    }
}
