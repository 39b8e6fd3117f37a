#if canImport(Glibc)
    import Glibc
#endif

extension LayerError {
    /// The error for a failed system call on `path`; the code follows from the errno.
    @inline(never)
    public init(_ error: SystemCallError, _ operation: String, path: PathBytes?, hint: String? = nil) {
        self.init(
            Code(errno: error.errno), operation, path: path, cause: .systemCall(error),
            hint: hint ?? Self.remedy(error.errno))
    }

    /// What helps against an error whatever was being done.
    private static func remedy(_ errno: Int32) -> String? {
        switch errno {
        case EMFILE: "raise this process's limit of open files (ulimit -n, LimitNOFILE=)"
        case ENFILE: "raise the system's limit of open files (sysctl fs.file-max)"
        default: nil
        }
    }
}

extension LayerError.Code {
    /// The kind of failure an errno stands for.
    public init(errno: Int32) {
        switch errno {
        case ENOENT: self = .notFound
        case EEXIST, ENOTEMPTY: self = .alreadyExists
        case EBUSY, ETXTBSY: self = .inUse
        case ENOSYS, EOPNOTSUPP: self = .unsupported
        case EPERM, EACCES: self = .notPermitted
        case ENOSPC, EDQUOT: self = .noSpace
        case ECANCELED: self = .cancelled
        default: self = .io
        }
    }
}

extension LayerError: CustomStringConvertible {
    /// One line: `OPERATION PATH: WHY (what to do)`.
    public var description: String {
        var text = operation
        if let path { text += " \(path)" }
        switch cause {
        case .systemCall(let error):
            text += ": \(errorText(error.errno)) (\(error.call))"
        case .archive(let offset, let reason):
            text += ": \(reason) (at byte \(offset) of the tar stream)"
        case .reason(let reason):
            text += ": \(reason)"
        case nil:
            break
        }
        if let hint { text += "; \(hint)" }
        return text
    }
}

/// The system's words for an errno, see strerror(3).
public func errorText(_ errno: Int32) -> String {
    // Reason: the buffer is used inside the closure only.
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
        // Reason: strerror_r writes at most the given number of bytes and returns a NUL-terminated string.
        guard let address = buffer.baseAddress, unsafe strerror_r(errno, address, buffer.count) == 0
        else { return "error " + errno.description }
        return unsafe String(cString: address)
    }
}
