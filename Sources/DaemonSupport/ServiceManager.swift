import Glibc

/// Tells systemd how the daemon is, see sd_notify(3). Without systemd nothing happens.
package struct ServiceManager: Sendable {
    private let address: String?

    /// Reads and clears the address that the environment tells, so that children do not speak for the daemon.
    package init() {
        address = getenv("NOTIFY_SOCKET").map { String(cString: $0) }
        unsetenv("NOTIFY_SOCKET")
    }

    /// The daemon answers from now on.
    package func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }

    /// The daemon begins to end.
    package func stopping() { send("STOPPING=1\nSTATUS=stopping") }

    private func send(_ text: String) {
        guard let address, let descriptor = try? UnixAddress.socket(SOCK_DGRAM) else { return }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        // Whoever does not listen any more has not asked for an error.
        _ = try? UnixAddress.with(address) { address, length in
            sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), address, length)
        }
    }
}
