import Glibc
import LayerModel

/// Unix socket addresses and the few socket calls that daemons make themselves, see unix(7).
package enum UnixAddress {
    /// The longest path that fits into an address with its NUL.
    package static let maxByteCount = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

    /// Runs `body` with the address of `path`. A path that begins with `@` lies in the abstract name space.
    ///
    /// Throws `invalidArgument` for a path that is too long.
    package static func with<Result>(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Result
    ) throws -> Result {
        var bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count <= maxByteCount, !bytes.contains(0) else {
            throw LayerError(
                .invalidArgument, "use the socket", path: PathBytes(path),
                cause: .reason("a socket's path has 1 to \(maxByteCount) bytes"), hint: "choose a shorter directory")
        }
        let isAbstract = bytes[0] == UInt8(ascii: "@")
        if isAbstract { bytes[0] = 0 }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        // An abstract name ends where the address does; a path ends with a NUL.
        let length = socklen_t(
            MemoryLayout<sockaddr_un>.offset(of: \.sun_path).unsafelyUnwrapped + bytes.count + (isAbstract ? 0 : 1))
        return try withUnsafePointer(to: &address) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { try body($0, length) }
        }
    }

    /// A new socket that is closed on exec.
    static func socket(_ type: __socket_type) throws(LayerError) -> Int32 {
        let descriptor = Glibc.socket(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else {
            throw LayerError(SystemCallError("socket", errno: errno), "make a socket", path: nil)
        }
        return descriptor
    }

    /// Connects a new stream socket; the result is the errno, or a descriptor that the caller closes.
    static func connect(_ path: String) throws -> Result<Int32, SystemCallError> {
        let descriptor = try socket(SOCK_STREAM)
        let result = try with(path) { address, length in
            Glibc.connect(descriptor, address, length) == 0 ? 0 : errno
        }
        guard result == 0 else {
            close(descriptor)
            return .failure(SystemCallError("connect", errno: result))
        }
        return .success(descriptor)
    }
}
