import Glibc
import LayerModel
import LinuxIO

/// Answers `GET /metrics` on a unix socket of its own, from a thread of its own: also while everything else is stuck.
///
/// One request a connection, HTTP/1.0 and 1.1; anything else gets 404 or 405.
public final class MetricsEndpoint: Sendable {
    /// The file's name beside a daemon's socket, and the name that a systemd unit gives it.
    public static let socketName = "metrics.sock"

    public let socket: ListeningSocket
    private let text: @Sendable () -> String
    /// Set to end; its descriptor wakes the thread.
    private let stop = CancelFlag()
    private let hasEnded = Monitor(false)

    /// Where the metrics of the daemon at `address` are found: `metrics.sock` in the same directory. Docker takes every
    /// socket in its plugin directories for a plugin, so those of a socket there lie in `/run/ldiff`.
    public static func path(besideSocket address: String) -> String {
        guard let cut = address.lastIndex(of: "/") else { return socketName }
        let directory = address[..<cut]
        guard directory.hasSuffix("/docker/plugins") else { return "\(directory)/\(socketName)" }
        return "/run/ldiff/docker-\(socketName)"
    }

    /// Starts to answer with what `text` returns.
    public init(_ socket: ListeningSocket, _ text: @escaping @Sendable () -> String) throws(LayerError) {
        self.socket = socket
        self.text = text
        try DetachedThread.start { [self] in serve() }
    }

    /// Stops answering and removes the socket; waits for an answer that is being given.
    public func close() {
        stop.cancel()
        hasEnded.wait { $0 ? () : nil }
    }

    private func serve() {
        defer {
            socket.close()
            hasEnded.change { $0 = true }
        }
        var entries = [
            pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: stop.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        while !stop.isCancelled {
            guard poll(&entries, 2, -1) > 0, entries[0].revents != 0 else { continue }
            let connection = accept(socket.descriptor, nil, nil)
            guard connection >= 0 else {
                // Too many open files: not a reason to burn a processor.
                if errno == EMFILE || errno == ENFILE { usleep(100_000) }
                continue
            }
            _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
            answer(connection)
            Glibc.close(connection)
        }
    }

    private func answer(_ connection: Int32) {
        // Whoever connects and says nothing holds up the next only for a while.
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(connection, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        guard let request = readHead(connection) else { return }
        let words = request.prefix { !$0.isNewline }.split(separator: " ")
        guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return }
        switch (words[0], words[1]) {
        case ("GET", "/metrics"): send(connection, "200 OK", text())
        case (_, "/metrics"): send(connection, "405 Method Not Allowed", "only GET\n")
        default: send(connection, "404 Not Found", "only /metrics\n")
        }
    }

    /// The request up to the empty line; nil where it is longer than eight kilobytes or does not come.
    private func readHead(_ connection: Int32) -> String? {
        var head: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 2048)
        while head.count < 8192 {
            let count = read(connection, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            head += buffer[..<count]
            let text = String(decoding: head, as: UTF8.self)
            if text.contains("\r\n\r\n") || text.contains("\n\n") { return text }
        }
        return nil
    }

    private func send(_ connection: Int32, _ status: String, _ body: String) {
        let bytes = Array(
            """
            HTTP/1.1 \(status)\r
            Content-Type: text/plain; version=0.0.4; charset=utf-8\r
            Content-Length: \(body.utf8.count)\r
            Connection: close\r
            \r
            \(body)
            """.utf8)
        var done = 0
        bytes.withUnsafeBufferPointer { pointer in
            while done < bytes.count {
                let count = Glibc.send(
                    connection, pointer.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
                if count < 0, errno == EINTR { continue }
                if count <= 0 { return }
                done += count
            }
        }
    }
}
