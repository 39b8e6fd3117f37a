import Glibc
import LayerModel

/// Where a daemon shows its metrics: at a unix socket always, for `ldiff status`; and at a TCP port if it is told so.
package final class MetricsPlaces: Sendable {
    private let endpoints: [MetricsEndpoint]

    /// Starts to answer with what `text` returns.
    ///
    /// An `address` with a slash is the unix socket's path; any other is `HOST:PORT` and comes beside the usual socket, which
    /// is `metrics.sock` next to the daemon's own. Throws as `ListeningSocket`.
    package init(
        _ address: String?, besideSocket socket: String, from activation: SocketActivation?, health: StoreHealth? = nil,
        _ text: @escaping @Sendable () -> String
    ) throws {
        var (path, port) = (MetricsEndpoint.path(besideSocket: socket), NumericAddress?.none)
        if let address {
            if address.contains("/") { path = address } else { port = try NumericAddress(parsing: address) }
        }
        // What cannot be had is told before anything is made.
        let listening = try port.map { try ListeningSocket.open($0) }
        var endpoints = [
            try MetricsEndpoint(
                ListeningSocket.open(path, named: MetricsEndpoint.socketName, from: activation), health: health, text)
        ]
        if let listening { endpoints.append(try MetricsEndpoint(listening, health: health, text)) }
        self.endpoints = endpoints
    }

    /// Stops answering; waits for answers that are being given.
    package func close() { for endpoint in endpoints { endpoint.close() } }
}

/// An address of this machine with a port, in numbers: a name could mean another one tomorrow.
package struct NumericAddress: Sendable, Equatable {
    package let host: String
    package let port: UInt16

    /// `127.0.0.1:9464` or `[::1]:9464`.
    ///
    /// Throws `invalidArgument` for anything else.
    package init(parsing text: String) throws(LayerError) {
        let wrong = LayerError(
            .invalidArgument, "read the address", path: PathBytes(text),
            cause: .reason("it is no number of a host with a port, and no path of a socket"),
            hint: "write 127.0.0.1:9464, [::1]:9464, or an absolute path")
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            throw wrong
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { throw wrong }
        } else {
            guard !host.contains(":") else { throw wrong }
        }
        guard !host.isEmpty else { throw wrong }
        self.host = String(host)
        self.port = port
    }
}

extension ListeningSocket {
    /// Listens at a TCP port. Whoever reaches it may ask: it is for what tells no secrets.
    ///
    /// Throws `invalidArgument` for a host that is no number, and what bind(2) and listen(2) say.
    package static func open(_ address: NumericAddress) throws(LayerError) -> ListeningSocket {
        let name = address.host.contains(":") ? "[\(address.host)]:\(address.port)" : "\(address.host):\(address.port)"
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(address.host, address.port.description, &hints, &found) == 0, let first = found else {
            throw LayerError(
                .invalidArgument, "listen at", path: PathBytes(name), cause: .reason("the host is no number"),
                hint: "write 127.0.0.1:\(address.port)")
        }
        defer { freeaddrinfo(found) }
        func check(_ result: Int32, _ call: StaticCallName) throws(LayerError) {
            guard result < 0 else { return }
            throw LayerError(SystemCallError(call, errno: errno), "listen at", path: PathBytes(name))
        }
        let type = first.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(first.pointee.ai_family, type, 0)
        try check(descriptor, "socket")
        do throws(LayerError) {
            // A daemon that starts anew takes the port at once.
            var one: Int32 = 1
            try check(setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4), "setsockopt")
            try check(bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen), "bind")
            try check(listen(descriptor, 128), "listen")
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        return ListeningSocket(port: name, descriptor: descriptor)
    }
}
