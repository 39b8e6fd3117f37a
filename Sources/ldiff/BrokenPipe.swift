import Glibc
import LayerModel

/// A reader of the output that went away, as `head` does: nothing that anybody need be told.
enum BrokenPipe {
    /// Whether that is why a job ended.
    static func isCause(of error: LayerError) -> Bool {
        // Other pipes and sockets that break are errors.
        guard error.operation == "write", case .systemCall(let failed) = error.cause else { return false }
        return failed.errno == EPIPE
    }

    /// Ends the process as the signal does that other programs get then; called when all is taken back.
    static func end() -> Never {
        signal(SIGPIPE, SIG_DFL)
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGPIPE)
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        raise(SIGPIPE)
        // What the shell makes of that signal, should something have kept it.
        exit(128 + SIGPIPE)
    }
}
