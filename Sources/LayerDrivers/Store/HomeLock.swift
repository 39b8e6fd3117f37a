import LayerModel
import LinuxIO

/// An advisory lock beside a store's directory, held while a process has the store open, so that what a crash left is
/// only swept when nobody else is at work (drivers.md 1.18).
///
/// It lies outside the store, `<root>/.<driver>.lock`, where no layer can have its name. Docker does not know it.
final class HomeLock: Sendable {
    private let file: OwnedDescriptor
    /// Whether no other process had the store open when this one opened it.
    let wasAlone: Bool

    /// Opens the lock of the store at `home`, whose parent must exist.
    init(_ home: PathBytes) throws(LayerError) {
        guard let (root, name) = home.splitLast() else {
            throw LayerError(
                .invalidArgument, "open the store", path: home, cause: .reason("the root directory is no store"))
        }
        let path = root.appending(PathBytes(Array(".".utf8) + name.bytes + Array(".lock".utf8)))
        var alone = false
        file = try attempt("open the lock", path) { () throws(SystemCallError) in
            let file = try path.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.readWrite, .create, .noFollow], mode: 0o600)
            }
            alone = try file.tryLock(.exclusive)
            return file
        }
        wasAlone = alone
        if !alone { try share() }
    }

    /// Runs `body`, told whether this process is the only one that has the store open. If it is, others that open the store
    /// wait until `body` is done.
    func whileAlone<Result>(_ body: (_ isAlone: Bool) throws(LayerError) -> Result) throws(LayerError) -> Result {
        let isAlone = try attempt("lock the store", PathBytes(".lock")) { () throws(SystemCallError) in
            try file.tryLock(.exclusive)
        }
        do throws(LayerError) {
            let result = try body(isAlone)
            // Also where it was not granted: a refused change of a lock loses the one that was held, see flock(2).
            try share()
            return result
        } catch {
            try? share()
            throw error
        }
    }

    /// From now on others may open the store too; called when sweeping is done.
    func share() throws(LayerError) {
        try attempt("lock the store", PathBytes(".lock")) { () throws(SystemCallError) in
            // Another process may hold it exclusively for the moment of its own sweep.
            var tries = 0
            while try !file.tryLock(.shared) {
                tries += 1
                guard tries < 3000 else { throw SystemCallError("flock", errno: 11) }
                ProcessState.sleep(milliseconds: 10)
            }
        }
    }
}
