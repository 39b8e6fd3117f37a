import Glibc
import LayerModel
import LinuxIO

/// Answers `GET /metrics` and `GET /health` on a unix socket of its own, from a thread of its own: also while everything else is
/// stuck. Of what is well the second says `ok`; else it has the status 503 and a line for each trouble.
///
/// One request a connection, HTTP/1.0 and 1.1; anything else gets 404 or 405.
package final class MetricsEndpoint: Sendable {
    /// The file's name beside a daemon's socket, and the name that a systemd unit gives it.
    package static let socketName = "metrics.sock"

    package let socket: ListeningSocket
    private let text: @Sendable () -> String
    private let health: StoreHealth?
    /// Set to end; its descriptor wakes the thread.
    private let stop = CancelFlag()
    private let hasEnded = Monitor(false)

    /// Where the metrics of the daemon at `address` are found: `metrics.sock` in the same directory. Docker takes every
    /// socket in its plugin directories for a plugin, so those of a socket there lie in `/run/ldiff`.
    package static func path(besideSocket address: String) -> String {
        guard let cut = address.lastIndex(of: "/") else { return socketName }
        let directory = address[..<cut]
        guard directory.hasSuffix("/docker/plugins") else { return "\(directory)/\(socketName)" }
        return "/run/ldiff/docker-\(socketName)"
    }

    /// Starts to answer with what `text` returns.
    package init(_ socket: ListeningSocket, health: StoreHealth? = nil, _ text: @escaping @Sendable () -> String)
        throws(LayerError)
    {
        self.socket = socket
        self.text = text
        self.health = health
        try WorkerThread { [self] in serve() }.detach()
    }

    /// Stops answering and removes the socket; waits for an answer that is being given.
    package func close() {
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
        let connection = Guest(connection: connection, stop: stop)
        guard let request = readHead(connection) else { return }
        let words = request.prefix { !$0.isNewline }.split(separator: " ")
        guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return }
        switch (words[0], words[1]) {
        case ("GET", "/metrics"): send(connection, "200 OK", text())
        case ("GET", "/health"):
            let troubles = health?.troubles() ?? []
            // After the time for a look, the peer has that for an answer again.
            let guest = Guest(connection: connection.connection, stop: stop)
            send(
                guest, troubles.isEmpty ? "200 OK" : "503 Service Unavailable",
                troubles.isEmpty ? "ok\n" : troubles.map { $0 + "\n" }.joined())
        case (_, "/metrics"), (_, "/health"): send(connection, "405 Method Not Allowed", "only GET\n")
        default: send(connection, "404 Not Found", "only /metrics and /health\n")
        }
    }

    /// The request up to the empty line; nil where it is longer than eight kilobytes or does not come.
    private func readHead(_ guest: Guest) -> String? {
        var head: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 2048)
        while head.count < 8192 {
            guard guest.waits(for: POLLIN) else { return nil }
            let count = recv(guest.connection, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count > 0 else { return nil }
            head += buffer[..<count]
            let text = String(decoding: head, as: UTF8.self)
            if text.contains("\r\n\r\n") || text.contains("\n\n") { return text }
        }
        return nil
    }

    private func send(_ guest: Guest, _ status: String, _ body: String) {
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
            while done < bytes.count, guest.waits(for: POLLOUT) {
                let count = Glibc.send(
                    guest.connection, pointer.baseAddress.map { $0 + done }, bytes.count - done,
                    Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
                if count < 0, errno == EINTR || errno == EAGAIN { continue }
                if count <= 0 { return }
                done += count
            }
        }
    }
}

/// A connection that is served for two seconds, however slowly its peer speaks or reads: the next one waits.
private struct Guest {
    let connection: Int32
    let stop: CancelFlag
    private let end = ContinuousClock.now + .seconds(2)

    init(connection: Int32, stop: CancelFlag) {
        self.connection = connection
        self.stop = stop
    }

    /// Waits until the connection can do this; false where its time is over, or ours.
    func waits(for events: Int32) -> Bool {
        var entries = [
            pollfd(fd: connection, events: Int16(events), revents: 0),
            pollfd(fd: stop.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        while !stop.isCancelled {
            let left = (end - .now) / .milliseconds(1)
            guard left >= 1 else { return false }
            if poll(&entries, 2, Int32(left)) > 0, entries[0].revents != 0 { return true }
        }
        return false
    }
}
