internal import CLinux
internal import LayerModel
internal import LinuxIO

/// A path or text with its terminating NUL, as system calls take it.
struct Terminated: Sendable {
    private let bytes: [UInt8]

    init(_ path: PathBytes) { bytes = path.bytes + [0] }
    init(_ text: [UInt8]) { bytes = text + [0] }
    init(_ text: String) { bytes = Array(text.utf8) + [0] }

    var name: NamePointer {
        @_lifetime(borrow self)
        get { NamePointer(terminated: bytes.rawBytes) }
    }
}

/// The system calls of this target: a result of 0 or more, or the negated errno.
///
/// Reason, here and below: every text is NUL-terminated by `Terminated` and lives during the call; the kernel does not
/// keep it.
enum Kernel {
    static func mount(source: Terminated, target: Terminated, type: Terminated?, flags: UInt, data: Terminated?)
        -> Int32
    {
        let (source, target) = (source.name, target.name)
        switch (type, data) {
        case (let type?, let data?):
            return unsafe ldl_mount(
                source.address, target.address, type.name.address, UInt64(flags), data.name.address)
        case (let type?, nil):
            return unsafe ldl_mount(source.address, target.address, type.name.address, UInt64(flags), nil)
        case (nil, let data?):
            return unsafe ldl_mount(source.address, target.address, nil, UInt64(flags), data.name.address)
        case (nil, nil):
            return unsafe ldl_mount(source.address, target.address, nil, UInt64(flags), nil)
        }
    }

    static func unmount(_ target: Terminated, flags: Int32) -> Int32 {
        unsafe ldl_umount(target.name.address, flags)
    }

    static func openContext(_ type: Terminated) -> Int32 { unsafe ldl_fsopen(type.name.address) }

    static func configure(_ context: borrowing OwnedDescriptor, _ key: Terminated, _ value: Terminated) -> Int32 {
        unsafe ldl_fsconfig_string(context.number, key.name.address, value.name.address)
    }

    static func configure(_ context: borrowing OwnedDescriptor, _ key: Terminated, _ value: borrowing OwnedDescriptor)
        -> Int32
    {
        unsafe ldl_fsconfig_descriptor(context.number, key.name.address, value.number)
    }

    static func configure(_ context: borrowing OwnedDescriptor, flag: Terminated) -> Int32 {
        unsafe ldl_fsconfig_flag(context.number, flag.name.address)
    }

    /// Puts a detached mount at `target`, an absolute path or one relative to the working directory (AT_FDCWD is -100).
    static func move(_ mount: borrowing OwnedDescriptor, to target: Terminated) -> Int32 {
        unsafe ldl_move_mount(mount.number, -100, target.name.address)
    }

    static func cloneTree(_ path: Terminated, recursive: Bool) -> Int32 {
        unsafe ldl_open_tree_clone(path.name.address, recursive ? 1 : 0)
    }

    static func fileSystemType(_ path: Terminated) -> Int64 { unsafe ldl_path_filesystem_type(path.name.address) }

    static func changeDirectory(_ path: Terminated) -> Int32 { unsafe ldl_change_directory(path.name.address) }

    static func mayRun(_ path: Terminated) -> Int32 { unsafe ldl_may_run(path.name.address) }
}

/// Turns a shim's result into a value or an error that names the operation and the path.
@discardableResult
func check(_ result: Int32, _ call: StaticCallName, _ operation: String, _ path: PathBytes?, hint: String? = nil)
    throws(LayerError) -> Int32
{
    if result < 0 {
        throw LayerError(SystemCallError(call, errno: -result), operation, path: path, hint: hint)
    }
    return result
}

/// Runs a call of LinuxIO and gives its failure an operation and a path.
func naming<Result: ~Copyable>(
    _ operation: String, _ path: PathBytes?, _ body: () throws(SystemCallError) -> Result
) throws(LayerError) -> Result {
    do {
        return try body()
    } catch {
        throw LayerError(error, operation, path: path)
    }
}

/// Refuses what the kernel would silently cut at its first NUL.
func checkText(_ path: PathBytes, _ operation: String) throws(LayerError) {
    if path.bytes.isEmpty || path.bytes.contains(0) {
        throw LayerError(.invalidArgument, operation, path: path, cause: .reason("the path is empty or contains NUL"))
    }
}

/// A list of texts as execve(2) takes it.
struct TerminatedList {
    private let bytes: [UInt8]
    private let starts: [Int]

    init(_ texts: [[UInt8]]) {
        var bytes: [UInt8] = []
        starts = texts.map { text in
            defer { bytes += text + [0] }
            return bytes.count
        }
        self.bytes = bytes
    }

    /// The addresses with the NULL behind them, valid during `body`.
    func withAddresses<Result>(_ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result) -> Result? {
        unsafe bytes.withUnsafeBytes { bytes in
            var pointers: [UnsafePointer<CChar>?] = unsafe starts.map { start in
                unsafe bytes.baseAddress?.advanced(by: start).assumingMemoryBound(to: CChar.self)
            }
            unsafe pointers.append(nil)
            return unsafe pointers.withUnsafeBufferPointer { unsafe $0.baseAddress.map { unsafe body($0) } }
        }
    }
}

extension Kernel {
    /// Starts a program; its process id, or the negated errno.
    static func spawn(
        _ program: Terminated, _ arguments: TerminatedList, _ environment: TerminatedList, _ directory: Terminated?,
        _ streams: [Int32]
    ) -> Int32 {
        precondition(streams.count == 3)
        let outcome = unsafe arguments.withAddresses { arguments in
            unsafe environment.withAddresses { environment in
                unsafe streams.withUnsafeBufferPointer { streams in
                    if let directory {
                        return unsafe ldl_spawn(
                            program.name.address, arguments, environment, directory.name.address, streams.baseAddress)
                    }
                    return unsafe ldl_spawn(program.name.address, arguments, environment, nil, streams.baseAddress)
                }
            }
        }
        return (outcome ?? nil) ?? -einval
    }

    static func pipe() -> (Int32, (reading: Int32, writing: Int32)) {
        var (reading, writing): (Int32, Int32) = (-1, -1)
        let result = unsafe ldl_pipe(&reading, &writing)
        return (result, (reading, writing))
    }

    /// A bit for each descriptor that can be read or was closed by the other side; 0 after the time.
    static func waitReadable(_ descriptors: [Int32], milliseconds: Int32) -> Int32 {
        unsafe descriptors.withUnsafeBufferPointer {
            unsafe ldl_wait_readable($0.baseAddress, Int32($0.count), milliseconds)
        }
    }

    /// Waits for a child's end; its wait status.
    static func reap(_ process: Int32) -> Int32 {
        var status: Int32 = 0
        return unsafe ldl_reap(process, &status) < 0 ? 0xff00 : status
    }
}
