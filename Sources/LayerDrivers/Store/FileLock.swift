import Glibc
import LayerModel
import LinuxIO

/// An advisory lock of a directory or file, flock(2): it holds among threads and processes, and ends with this, however the
/// process ends.
///
/// What is locked is the inode: a directory that is renamed takes its lock along.
final class FileLock: Sendable {
    private let file: OwnedDescriptor

    private init(_ file: consuming OwnedDescriptor) { self.file = file }

    enum Outcome {
        /// Nothing is there.
        case absent
        /// Somebody else holds it.
        case busy
        case taken(FileLock)
    }

    /// How long `take` waits. Locks are held for the time of a mount at most, never while a stream is read.
    static let patienceSeconds = 60

    /// Locks what lies at `path`, links not followed, unless somebody else has. What is locked is still there.
    static func tryTake(_ path: PathBytes, _ kind: LockKind) throws(LayerError) -> Outcome {
        while true {
            let file: OwnedDescriptor
            do throws(SystemCallError) {
                file = try path.open([.readOnly, .noFollow, .nonBlocking])
            } catch {
                // ENOTDIR, ELOOP: no directory is there, or a link.
                if [ENOENT, ENOTDIR, ELOOP].contains(error.errno) { return .absent }
                throw LayerError(error, "lock", path: path)
            }
            do throws(SystemCallError) {
                guard try file.tryLock(kind) else { return .busy }
            } catch {
                throw LayerError(error, "lock", path: path)
            }
            let lock = FileLock(file)
            // Renamed or removed between the two calls: look again.
            if try lock.isAt(path) { return .taken(lock) }
        }
    }

    /// The same, but waits for others. Nil where nothing is there.
    ///
    /// Throws `inUse` where it cannot be had within a minute.
    static func take(_ path: PathBytes, _ kind: LockKind) throws(LayerError) -> FileLock? {
        let clock = ContinuousClock()
        let deadline = clock.now + .seconds(patienceSeconds)
        var pause: UInt32 = 1
        while true {
            switch try tryTake(path, kind) {
            case .absent: return nil
            case .taken(let lock): return lock
            case .busy: break
            }
            guard clock.now < deadline else {
                throw LayerError(
                    .inUse, "lock", path: path, cause: .reason("another process has held it for a minute"),
                    hint: "see who works on this store, for instance with lsof, and try again")
            }
            ProcessState.sleep(milliseconds: pause)
            pause = min(pause * 2, 20)
        }
    }

    /// Whether `path` leads to what is locked.
    func isAt(_ path: PathBytes) throws(LayerError) -> Bool {
        guard let found = try StoreFiles.metadata(path) else { return false }
        let own = try attempt("look at", path) { () throws(SystemCallError) in try file.metadata() }
        return found.inode == own.inode && found.device == own.device
    }
}
