private import CCallWatch
import Glibc

/// Watches the calls that a running program makes to one file system: counts them, has one or all from one on fail, or kills the
/// program at one. The kernel asks about each, so those of every thread and library are among them; see `Tests/CallWatch`.
///
/// A file system that is mounted over directories of the program's own must not be watched: the watcher looks at what is
/// called, and would wait for the program that waits for it.
package final class CallWatch: @unchecked Sendable {
    /// How the file system fails.
    package enum Fault: String, CaseIterable, Sendable {
        case full
        case readOnly = "read-only"
        case broken
        /// What was written does not reach the disk: few calls, each with more that hangs on it than others.
        case unsynced
        /// The program is killed.
        case kill

        fileprivate var errno: Int32 {
            switch self {
            case .full: ENOSPC
            case .readOnly: EROFS
            case .broken, .unsynced: EIO
            case .kill: 100_000
            }
        }

        /// The calls that can fail so. Looking needs no room, and between two looks at a disk there is nothing to be killed.
        fileprivate var kinds: UInt32 {
            switch self {
            case .full: 1
            case .readOnly, .kill: 2
            case .broken: 2 | 4
            case .unsynced: 8
            }
        }
    }

    private let watch: OpaquePointer

    /// What is put before a program's words to have it watched.
    package static func prefix() throws -> [String] { [try programBesideTests("driver-fault"), "watched"] }

    /// For that program: becomes the one whose words follow.
    package static func becomeWatched(_ words: [String]) -> Never {
        let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        _ = watch_exec(arguments)
        print("cannot watch \(words[0]): \(String(cString: strerror(errno)))")
        exit(71)
    }

    /// Takes over the calls of a process that was started with `prefix`. It waits until `go`.
    package init(_ process: Int32, store: String) throws {
        guard let watch = watch_take(process, store) else { throw TestFailure.call("watch \(process) in", store) }
        self.watch = watch
    }

    package func go() { watch_go(watch) }

    /// From now on the calls that can fail so are counted. The one with this number fails, with `lasts` all after it, too; 0 only
    /// counts.
    package func plan(_ fault: Fault, call: Int, lasts: Bool) {
        watch_plan(watch, fault.kinds, UInt64(call), fault.errno, lasts)
    }

    /// Nothing fails any more.
    package func rest() { watch_rest(watch) }

    /// Calls counted since the plan.
    package var calls: Int { Int(watch_calls(watch)) }

    /// The call that failed first since the plan; empty where none did.
    package var failed: String { String(cString: watch_failed(watch)) }

    deinit { watch_end(watch) }
}
