import Glibc
import LayerModel
import Synchronization

/// A socket that listens for one daemon: a unix socket, made by us or handed over by systemd, or a TCP port.
///
/// Only the owner can connect to one that we made: the socket has mode 0600, and directories that were missing are made
/// with mode 0700. It is unlinked by `close`, unless somebody else has put another there since.
package final class ListeningSocket: Sendable {
    package let path: String
    /// Bound and listening; it does not block. Owned by this object until `takeDescriptor`.
    package let descriptor: Int32
    /// Whether systemd made it and keeps it: then it is not unlinked, and clients wait in it while the daemon is away.
    package let isInherited: Bool

    private struct File: Equatable {
        var device: UInt
        var inode: UInt
    }

    private struct Ownership {
        var closes = true
        var unlinks = true
    }

    private let file: File?
    private let owned: Mutex<Ownership>

    private init(path: String, descriptor: Int32, isInherited: Bool) {
        self.path = path
        self.descriptor = descriptor
        self.isInherited = isInherited
        file = Self.identity(path)
        owned = Mutex(Ownership(closes: true, unlinks: !isInherited))
    }

    /// A TCP port, which has no file.
    init(port: String, descriptor: Int32) {
        path = port
        self.descriptor = descriptor
        isInherited = false
        file = nil
        owned = Mutex(Ownership(closes: true, unlinks: false))
    }

    /// Takes the socket called `name` that systemd handed over, or else makes one at `path`.
    ///
    /// Throws `alreadyExists` where another daemon answers at `path` or something that is no socket lies there,
    /// `invalidArgument` for a path that is too long, and what mkdir(2), bind(2) and listen(2) say.
    package static func open(_ path: String, named name: String? = nil, from activation: SocketActivation? = nil) throws
        -> ListeningSocket
    {
        if let inherited = try activation?.take(name) {
            return ListeningSocket(path: inherited.path ?? path, descriptor: inherited.descriptor, isInherited: true)
        }
        if let (directory, _) = PathBytes(path).splitLast() {
            try directory.makeDirectories("make the socket's directory")
        }
        try removeStale(path)
        let descriptor = try UnixAddress.socket(SOCK_STREAM)
        do {
            // The kernel gives the new file the mode of the socket's own inode, less the umask, so there is no moment in
            // which others could connect; see unix_bind in the kernel's net/unix/af_unix.c.
            try check(fchmod(descriptor, 0o600), "fchmod", "make the socket", path)
            try UnixAddress.with(path) { address, length in
                try check(bind(descriptor, address, length), "bind", "make the socket", path)
            }
            try check(chmod(path, 0o600), "chmod", "make the socket", path)
            try check(listen(descriptor, 1024), "listen", "listen at the socket", path)
            let flags = fcntl(descriptor, F_GETFL)
            try check(fcntl(descriptor, F_SETFL, flags | O_NONBLOCK), "fcntl", "listen at the socket", path)
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        return ListeningSocket(path: path, descriptor: descriptor, isInherited: false)
    }

    /// Gives the descriptor to whoever closes it from now on, such as a server; the file is still unlinked by `close`.
    package func takeDescriptor() -> Int32 {
        owned.withLock { $0.closes = false }
        return descriptor
    }

    /// Stops listening and takes the file away. Once is enough, more does no harm.
    package func close() {
        let last = owned.withLock { owned in
            let last = owned
            owned = Ownership(closes: false, unlinks: false)
            return last
        }
        if last.closes { Glibc.close(descriptor) }
        // Another daemon may have taken the place when this one was thought dead.
        if last.unlinks, let file, Self.identity(path) == file { unlink(path) }
    }

    deinit { close() }

    private static func identity(_ path: String) -> File? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return File(device: UInt(status.st_dev), inode: UInt(status.st_ino))
    }

    /// Removes a socket at which nobody listens any more.
    private static func removeStale(_ path: String) throws {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            guard errno == ENOENT else { throw failure("lstat", "look at the socket", path) }
            return
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw LayerError(
                .alreadyExists, "make the socket", path: PathBytes(path), cause: .reason("it is there and no socket"),
                hint: "remove it, or choose another path with --address")
        }
        switch try UnixAddress.connect(path) {
        case .success(let descriptor):
            Glibc.close(descriptor)
            throw LayerError(
                .alreadyExists, "make the socket", path: PathBytes(path),
                cause: .reason("another daemon answers there"),
                hint: "stop it, or choose another path with --address")
        case .failure(let error):
            // EAGAIN: its queue is full, so somebody lives.
            guard error.errno == ECONNREFUSED || error.errno == ENOENT else {
                throw LayerError(error, "look who listens at the socket", path: PathBytes(path))
            }
            guard unlink(path) == 0 || errno == ENOENT else { throw failure("unlink", "replace the old socket", path) }
        }
    }

    private static func check(_ result: Int32, _ call: StaticCallName, _ operation: String, _ path: String)
        throws(LayerError)
    {
        if result < 0 { throw failure(call, operation, path) }
    }

    private static func failure(_ call: StaticCallName, _ operation: String, _ path: String) -> LayerError {
        LayerError(SystemCallError(call, errno: errno), operation, path: PathBytes(path))
    }
}
