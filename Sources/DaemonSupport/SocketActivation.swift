import Glibc
import LayerModel
import Synchronization

/// The sockets that systemd made for this process, see sd_listen_fds(3): descriptors from 3 on, told in the environment.
///
/// The environment is read and cleared at once, so that children do not take the sockets for theirs.
package final class SocketActivation: Sendable {
    /// A socket that was handed over.
    package struct Inherited: Sendable {
        package var descriptor: Int32
        /// `FileDescriptorName=` of the unit; the unit's own name where it says none.
        package var name: String
        /// Where it is bound.
        package var path: String?
    }

    private let sockets: Mutex<[Inherited]>

    /// Takes what the environment tells; nil where it is not for this process.
    ///
    /// Throws `invalidArgument` where a descriptor is no listening unix socket.
    package static func fromEnvironment() throws(LayerError) -> SocketActivation? {
        let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]
        let values = variables.map { name in getenv(name).map { String(cString: $0) } }
        for name in variables { unsetenv(name) }
        guard let process = values[0].flatMap({ pid_t($0) }), process == getpid(),
            let count = values[1].flatMap({ Int32($0) }), (1...1024).contains(count)
        else { return nil }
        let names = (values[2] ?? "").split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        var found: [Inherited] = []
        for index in 0..<count {
            let descriptor = 3 + index
            guard listens(descriptor) else {
                throw LayerError(
                    .invalidArgument, "take the socket from systemd",
                    cause: .reason("descriptor \(descriptor) is no listening unix stream socket"),
                    hint: "the .socket unit needs ListenStream= with a path")
            }
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
            found.append(
                Inherited(
                    descriptor: descriptor, name: names.indices.contains(Int(index)) ? names[Int(index)] : "unknown",
                    path: boundPath(descriptor)))
        }
        return SocketActivation(found)
    }

    private init(_ sockets: [Inherited]) { self.sockets = Mutex(sockets) }

    /// Hands out the socket of this name; without one, the first that no special name was given to. Each only once.
    func take(_ name: String?) throws(LayerError) -> Inherited? {
        sockets.withLock { sockets in
            let index =
                name.map { name in sockets.firstIndex { $0.name == name } }
                ?? sockets.firstIndex { $0.name != MetricsEndpoint.socketName }
            return index.map { sockets.remove(at: $0) }
        }
    }

    private static func listens(_ descriptor: Int32) -> Bool {
        option(descriptor, SO_ACCEPTCONN) == 1 && option(descriptor, SO_DOMAIN) == AF_UNIX
            && option(descriptor, SO_TYPE) == Int32(SOCK_STREAM.rawValue)
    }

    private static func option(_ descriptor: Int32, _ option: Int32) -> Int32? {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, option, &value, &length) == 0 ? value : nil
    }

    private static func boundPath(_ descriptor: Int32) -> String? {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard result == 0 else { return nil }
        let path = withUnsafeBytes(of: &address.sun_path) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return path.isEmpty ? nil : path
    }
}
