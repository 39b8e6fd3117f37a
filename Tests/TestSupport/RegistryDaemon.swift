import Glibc

/// Debian's docker-registry on a port of the loopback device that nobody else has, without encryption, with its files
/// below one directory.
package final class RegistryDaemon {
    /// `127.0.0.1:PORT`: what stands before an image's name.
    package let host: String
    private let daemon: Daemon

    package static let program = "/usr/bin/docker-registry"

    package init(in directory: String) throws {
        guard access(Self.program, X_OK) == 0 else {
            throw TestFailure("\(Self.program) is missing: install Debian's docker-registry")
        }
        let port = try Self.freePort()
        host = "127.0.0.1:\(port)"
        let configuration = """
            version: 0.1
            log: {level: warn}
            storage: {filesystem: {rootdirectory: "\(directory)/registry"}, delete: {enabled: true}}
            http: {addr: "\(host)"}
            """
        try writeFile(directory + "/registry.yml", Array(configuration.utf8))
        daemon = try Daemon(
            [Self.program, "serve", directory + "/registry.yml"], environment: ["HOME": directory],
            log: directory + "/registry.log")
        try daemon.wait(until: "ready") { Self.accepts(port) }
    }

    /// A port that was free a moment ago: the kernel gives it to the next who asks only after many others.
    private static func freePort() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure.call("socket", "AF_INET") }
        defer { close(descriptor) }
        var address = loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard result == 0 else { throw TestFailure.call("bind", "127.0.0.1") }
        return UInt16(bigEndian: address.sin_port)
    }

    private static func accepts(_ port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = loopback(port)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    private static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    /// Ends it.
    package func stop() throws { try daemon.stop() }
}
