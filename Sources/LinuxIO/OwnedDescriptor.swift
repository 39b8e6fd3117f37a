internal import CLinux
import Glibc
public import LayerModel

/// A file descriptor with one owner; the only type that closes one.
///
/// All names are looked up relative to a descriptor. Every call throws `SystemCallError` with the call's name and
/// errno, as its man page in section 2 describes them; EINTR is retried inside.
public struct OwnedDescriptor: ~Copyable, Sendable {
    @usableFromInline let raw: Int32

    /// Takes over `descriptor`, which nobody else may close.
    public init(adopting descriptor: Int32) { raw = descriptor }

    deinit { _ = ldl_close(raw) }

    /// Closes and reports what only close(2) may report, such as a late EIO or EDQUOT of a written file.
    public consuming func close() throws(SystemCallError) {
        let descriptor = raw
        discard self
        try check(ldl_close(descriptor), "close")
    }

    /// Gives up ownership: the caller closes.
    public consuming func relinquish() -> Int32 {
        let descriptor = raw
        discard self
        return descriptor
    }

    /// The number, for calls made elsewhere (a ring, a library). It stays owned here.
    @inlinable public var number: Int32 { raw }
}

/// How to open.
public struct OpenFlags: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }

    public static let readOnly = OpenFlags([])
    public static let writeOnly = OpenFlags(rawValue: 0o1)
    public static let readWrite = OpenFlags(rawValue: 0o2)
    public static let create = OpenFlags(rawValue: 0o100)
    public static let exclusive = OpenFlags(rawValue: 0o200)
    public static let truncate = OpenFlags(rawValue: 0o1000)
    /// Opening a FIFO or device does not wait.
    public static let nonBlocking = OpenFlags(rawValue: 0o4000)
    public static let directory = OpenFlags(rawValue: 0o200000)
    public static let noFollow = OpenFlags(rawValue: 0o400000)
    /// A new file without a name in the directory that is opened; it vanishes unless it is given one.
    public static let unnamed = OpenFlags(rawValue: 0o20200000)
    /// A handle on the name only: no contents, no side effects on devices.
    public static let pathOnly = OpenFlags(rawValue: 0o10000000)
}

/// How openat2(2) resolves.
public struct ResolveFlags: OptionSet, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Fails with EXDEV where the path enters another mount.
    public static let noCrossing = ResolveFlags(rawValue: 0x01)
    public static let noMagicLinks = ResolveFlags(rawValue: 0x02)
    public static let noSymlinks = ResolveFlags(rawValue: 0x04)
    public static let beneath = ResolveFlags(rawValue: 0x08)
    public static let inRoot = ResolveFlags(rawValue: 0x10)
    /// Fails with EAGAIN instead of waiting for a disk.
    public static let cached = ResolveFlags(rawValue: 0x20)
}

extension OwnedDescriptor {
    /// Opens `path` relative to the working directory.
    public static func open(_ path: borrowing NamePointer, _ flags: OpenFlags, mode: UInt32 = 0)
        throws(SystemCallError) -> OwnedDescriptor
    {
        // Reason: NamePointer is NUL-terminated and valid during the call. AT_FDCWD is -100.
        let result = unsafe ldl_openat(-100, path.address, flags.rawValue, mode)
        return OwnedDescriptor(adopting: try check(result, "openat"))
    }

    /// Opens `name` in this directory.
    public func open(_ name: borrowing NamePointer, _ flags: OpenFlags, mode: UInt32 = 0)
        throws(SystemCallError) -> OwnedDescriptor
    {
        OwnedDescriptor(adopting: try check(openRaw(name, flags, mode: mode), "openat"))
    }

    /// As `open`, but returns the negated errno instead of throwing: for callers to whom a failure is ordinary.
    public func tryOpen(_ name: borrowing NamePointer, _ flags: OpenFlags, mode: UInt32 = 0) -> Result<
        Int32, SystemCallError
    > {
        let result = openRaw(name, flags, mode: mode)
        return result < 0 ? .failure(SystemCallError("openat", errno: -result)) : .success(result)
    }

    private func openRaw(_ name: borrowing NamePointer, _ flags: OpenFlags, mode: UInt32) -> Int32 {
        // Reason: NamePointer is NUL-terminated and valid during the call.
        unsafe ldl_openat(raw, name.address, flags.rawValue, mode)
    }

    /// Opens `path` beneath this directory with openat2(2), or one component at a time where there is none.
    public func open(
        _ path: borrowing NamePointer, _ flags: OpenFlags, resolve: ResolveFlags, mode: UInt32 = 0
    ) throws(SystemCallError) -> OwnedDescriptor {
        // Reason: NamePointer is NUL-terminated and valid during the call.
        let result = unsafe ldl_openat2(
            raw, path.address, UInt64(UInt32(bitPattern: flags.rawValue)), UInt64(mode), resolve.rawValue)
        // ENOSYS of an old kernel, and ENOSYS or EPERM of a container's filter.
        if result == -38 || result == -1, ComponentWalk.isNeeded {
            return try ComponentWalk.open(path, in: self, flags, resolve, mode: mode)
        }
        return OwnedDescriptor(adopting: try check(result, "openat2"))
    }

    /// A second descriptor of the same open file.
    public func duplicate() throws(SystemCallError) -> OwnedDescriptor {
        OwnedDescriptor(adopting: try check(ldl_dup(raw), "fcntl"))
    }
}

/// Turns a shim's result into a value or an error.
///
/// EBADF and EFAULT mean that this program is wrong, not its input: going on could write into a stranger's file,
/// so they end the process.
@inline(__always) @discardableResult
func check(_ result: Int32, _ call: StaticCallName) throws(SystemCallError) -> Int32 {
    if result < 0 { throw failure(-result, call) }
    return result
}

@inline(__always) @discardableResult
func check(_ result: Int64, _ call: StaticCallName) throws(SystemCallError) -> Int {
    if result < 0 { throw failure(Int32(-result), call) }
    return Int(result)
}

@inline(never)
private func failure(_ errno: Int32, _ call: StaticCallName) -> SystemCallError {
    precondition(errno != EBADF && errno != EFAULT, "a bad descriptor or address was passed to the kernel")
    return SystemCallError(call, errno: errno)
}
