internal import CLinux
public import LayerModel
internal import LinuxIO
internal import Synchronization

/// A mount namespace for the time of one call, see mount_namespaces(7).
///
/// What is mounted in it is seen by nobody else, keeps nobody else's file system busy, and is gone when the call ends,
/// however it ends: also when the process is killed. What others unmount meanwhile goes here too.
public enum PrivateMounts {
    /// Runs `body` on a thread that has mounts of its own, with an empty file system in memory at `directory`, an existing
    /// one, to mount things in.
    ///
    /// Threads and programs that `body` starts are in there with it, so it must not leave any behind; helpers of the engine
    /// are such threads then, and not Dispatch's (`Helpers`), which would stay in there. Blocks. Throws
    /// `.notPermitted` without CAP_SYS_ADMIN, and what `body` throws.
    public static func run<Result: Sendable>(
        in directory: PathBytes, _ body: @escaping @Sendable () throws(LayerError) -> Result
    ) throws(LayerError) -> Result {
        let outcome = Outcome<Result>()
        let thread = try WorkerThread {
            do throws(LayerError) {
                try enter(directory)
                let result = runAndUnmount(directory, body)
                outcome.value.withLock { $0 = result }
            } catch {
                outcome.value.withLock { $0 = .failure(error) }
            }
        }
        thread.join()
        guard let result = outcome.value.withLock({ $0 }) else { preconditionFailure("the thread says how it ended") }
        return try result.get()
    }

    private final class Outcome<Value: Sendable>: Sendable {
        let value = Mutex<Result<Value, LayerError>?>(nil)
    }

    private static func enter(_ directory: PathBytes) throws(LayerError) {
        let operation = "keep mounts apart"
        ldl_set_apart_thread()
        try check(ldl_unshare_mounts(), "unshare", operation, nil, hint: "this needs CAP_SYS_ADMIN")
        // Replicas: nothing gets out of here, but unmounting elsewhere comes in, so that no file system is held busy.
        try KernelMount.mount(
            source: PathBytes("none"), target: PathBytes("/"), type: nil, flags: [.makeReplica, .recursive])
        try KernelMount.mount(
            source: PathBytes("ldiff"), target: directory, type: "tmpfs", flags: [.noSetUser, .noDevices, .noExecute],
            data: Array("mode=0700,size=1m".utf8))
    }

    private static func runAndUnmount<Value>(
        _ directory: PathBytes, _ body: () throws(LayerError) -> Value
    ) -> Result<Value, LayerError> {
        let result: Result<Value, LayerError>
        do throws(LayerError) {
            result = .success(try body())
        } catch {
            result = .failure(error)
        }
        // A FUSE server lives in here as well and would hold on to what it serves.
        do throws(LayerError) {
            try KernelMount.unmountAll(atOrBelow: directory)
        } catch {
            guard case .failure = result else { return .failure(error) }
        }
        return result
    }
}
