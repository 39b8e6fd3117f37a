internal import CLinux
internal import LayerModel
internal import LinuxIO
internal import Synchronization

/// Runs a call with another working directory, on a thread that ends with it.
///
/// The working directory belongs to the process unless a thread gives it up with unshare(CLONE_FS), which cannot be
/// undone: so neither the caller's thread nor a pool's may do it.
enum WorkingDirectory {
    private final class Outcome: Sendable {
        let call = Atomic<Int32>(0)
        let setup = Atomic<Int32>(0)
    }

    /// The result of `body`, run in `directory`. Throws where the directory cannot be entered.
    static func run(in directory: PathBytes, _ operation: String, _ body: @escaping @Sendable () -> Int32)
        throws(LayerError) -> Int32
    {
        let outcome = Outcome()
        let thread = try WorkerThread {
            ldl_set_apart_thread()
            var result = ldl_unshare_working_directory()
            if result >= 0 { result = Kernel.changeDirectory(Terminated(directory)) }
            outcome.setup.store(result, ordering: .releasing)
            if result >= 0 { outcome.call.store(body(), ordering: .releasing) }
        }
        thread.join()
        try check(outcome.setup.load(ordering: .acquiring), "chdir", operation, directory)
        return outcome.call.load(ordering: .acquiring)
    }
}
