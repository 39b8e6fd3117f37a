import Glibc
import LayerModel

/// Asks a daemon for its metrics: one HTTP request on a unix socket.
enum MetricsClient {
    /// Where a daemon's metrics may be found that serves `address`: the socket of their own beside it, or itself.
    ///
    /// As `MetricsEndpoint.path` of the daemons has it, which this program does not link.
    static func places(_ address: String) -> [String] {
        let name = "metrics.sock"
        guard let cut = address.lastIndex(of: "/"), address[address.index(after: cut)...] != name else {
            return [address]
        }
        let directory = address[..<cut]
        return [directory.hasSuffix("/docker/plugins") ? "/run/ldiff/docker-\(name)" : "\(directory)/\(name)", address]
    }

    /// The metrics that the daemon at `address` shows.
    ///
    /// Throws `notFound` where no daemon answers.
    static func metrics(of address: String) throws(LayerError) -> String {
        try first(of: address) { (place) throws(LayerError) in
            let answer = try ask(place, "/metrics")
            guard answer.status == 200 else {
                throw LayerError(
                    .invalidArgument, "ask the daemon", path: PathBytes(place), cause: .reason("it shows no metrics"),
                    hint: "name the daemon's metrics.sock")
            }
            return answer.body
        }
    }

    /// What keeps the daemon at `address` from its work, a line each.
    ///
    /// Throws `notFound` where no daemon answers. One that is too old to say is taken to be well.
    static func troubles(of address: String) throws(LayerError) -> [String] {
        try first(of: address) { (place) throws(LayerError) in
            let answer = try ask(place, "/health")
            guard answer.status == 503 else { return [] }
            return answer.body.split(separator: "\n").map(String.init)
        }
    }

    private static func first<Result>(of address: String, _ ask: (String) throws(LayerError) -> Result)
        throws(LayerError) -> Result
    {
        var last: LayerError?
        for place in places(address) {
            do throws(LayerError) {
                return try ask(place)
            } catch {
                // What the user named tells more than what stands beside it.
                last = error
            }
        }
        throw last ?? LayerError(.notFound, "ask the daemon", path: PathBytes(address))
    }

    private static func ask(_ path: String, _ what: String) throws(LayerError) -> (status: Int, body: String) {
        let answer = String(
            decoding: try exchange(path, "GET \(what) HTTP/1.0\r\nHost: localhost\r\n\r\n"), as: UTF8.self)
        // Swift takes CR LF for one character.
        guard answer.hasPrefix("HTTP/1."),
            let status = answer.split(separator: " ", maxSplits: 2).dropFirst().first.flatMap({ Int($0) }),
            let body = answer.firstRange(of: "\r\n\r\n")
        else {
            throw LayerError(
                .invalidArgument, "ask the daemon", path: PathBytes(path), cause: .reason("it does not answer as one"),
                hint: "name the daemon's metrics.sock")
        }
        return (status, String(answer[body.upperBound...]))
    }

    /// Why the daemon's own socket takes no connection; nil where it does, or where `address` is that of the metrics.
    static func refusal(of address: String) -> String? {
        guard places(address).count > 1 else { return nil }
        do throws(LayerError) {
            close(try connection(to: address))
            return nil
        } catch {
            return error.description
        }
    }

    private static func exchange(_ path: String, _ request: String) throws(LayerError) -> [UInt8] {
        let descriptor = try connection(to: path)
        defer { close(descriptor) }
        let bytes = Array(request.utf8)
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw failure("send", path)
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while answer.count < 16 << 20 {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            guard count > 0 else { return answer }
            answer += buffer[..<count]
        }
        return answer
    }

    /// A socket that is connected to the one at `path`, and waits for neither side longer than five seconds.
    private static func connection(to path: String) throws(LayerError) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("socket", path) }
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        do throws(LayerError) {
            guard try connects(descriptor, path) else { throw failure("connect", path) }
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    private static func connects(_ descriptor: Int32, _ path: String) throws(LayerError) -> Bool {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw LayerError(
                .invalidArgument, "ask the daemon", path: PathBytes(path),
                cause: .reason("no socket has so long a path"))
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
    }

    private static func failure(_ call: StaticCallName, _ path: String) -> LayerError {
        let cause = errno
        let isAbsent = cause == ECONNREFUSED || cause == ENOENT
        return LayerError(
            isAbsent ? .notFound : LayerError.Code(errno: cause), "ask the daemon", path: PathBytes(path),
            cause: .systemCall(SystemCallError(call, errno: cause)),
            hint: isAbsent ? "no daemon listens there" : nil)
    }
}
