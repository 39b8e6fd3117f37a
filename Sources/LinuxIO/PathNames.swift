import Glibc
public import LayerModel

extension PathBytes {
    /// Runs `body` with the path as the kernel takes it.
    public func withName<Result: ~Copyable>(
        _ body: (borrowing NamePointer) throws(SystemCallError) -> Result
    ) throws(SystemCallError) -> Result {
        var terminated = bytes
        terminated.append(0)
        return try body(NamePointer(terminated: terminated.rawBytes))
    }

    /// Opens the path, relative to the working directory.
    public func open(_ flags: OpenFlags) throws(SystemCallError) -> OwnedDescriptor {
        try withName { (name) throws(SystemCallError) in try OwnedDescriptor.open(name, flags) }
    }

    /// Makes this directory and those above it that are missing: for their owner alone, but at the top of the file system for
    /// all to enter. One that is there keeps what it has, and may be a link to one.
    public func makeDirectories(_ operation: String) throws(LayerError) {
        guard let (above, name) = splitLast(), (try? open([.pathOnly, .directory])) == nil else { return }
        try above.makeDirectories(operation)
        let isTop = bytes.count { $0 == UInt8(ascii: "/") } == 1
        try attempt(operation, self) { () throws(SystemCallError) in
            let parent = try above.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in
                do throws(SystemCallError) { _ = try parent.makeDirectory(name, exactly: isTop ? 0o755 : 0o700) } catch
                {
                    guard error.errno == EEXIST else { throw error }
                }
            }
        }
    }

    /// The path with one more component.
    public func appending(_ name: PathBytes) -> PathBytes {
        PathBytes(bytes.last == UInt8(ascii: "/") ? bytes + name.bytes : bytes + [UInt8(ascii: "/")] + name.bytes)
    }

    /// The path with one more component.
    public func appending(_ name: String) -> PathBytes { appending(PathBytes(name)) }

    /// The directory part and the last component, trailing slashes left out; nil where the last component is no name
    /// that could be created: empty, `.` or `..`.
    public func splitLast() -> (directory: PathBytes, name: PathBytes)? {
        let slash = UInt8(ascii: "/")
        var rest = bytes[...]
        while rest.last == slash { rest.removeLast() }
        let cut = rest.lastIndex(of: slash).map { $0 + 1 } ?? rest.startIndex
        let name = PathBytes(Array(rest[cut...]))
        guard !name.bytes.isEmpty, name != PathBytes("."), name != PathBytes("..") else { return nil }
        guard cut > rest.startIndex else { return (PathBytes("."), name) }
        var directory = rest[..<cut]
        while directory.count > 1, directory.last == slash { directory.removeLast() }
        return (PathBytes(Array(directory)), name)
    }
}

/// Runs system calls for `operation` on `path`; a failure becomes a `LayerError`, of the kind `code` if one is given.
public func attempt<Result: ~Copyable>(
    _ operation: String, _ path: PathBytes, as code: LayerError.Code? = nil,
    _ body: () throws(SystemCallError) -> Result
) throws(LayerError) -> Result {
    do throws(SystemCallError) {
        return try body()
    } catch {
        throw LayerError(
            code ?? LayerError.Code(errno: error.errno), operation, path: path, cause: .systemCall(error))
    }
}
