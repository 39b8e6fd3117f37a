import ContainerdAPI
import GRPCCore
import GRPCNIOTransportHTTP2Posix

typealias ContentAPI = Containerd_Services_Content_V1_Content
typealias LeasesAPI = Containerd_Services_Leases_V1_Leases
typealias NamespacesAPI = Containerd_Services_Namespaces_V1_Namespaces
typealias IntrospectionAPI = Containerd_Services_Introspection_V1_Introspection
typealias SnapshotsAPI = Containerd_Services_Snapshots_V1_Snapshots

typealias ContainerdTransport = HTTP2ClientTransport.Posix

/// The containerd behind a socket.
///
/// A connection lives for one job and costs a millisecond, so a containerd that was restarted is found by the next job,
/// and nothing waits for a broken connection to be given up.
struct ContainerdClient: Sendable {
    typealias Connection = GRPCClient<ContainerdTransport>

    /// Path of the socket.
    let address: String

    /// `address` may begin with `unix://`.
    init(address: String) {
        self.address = address.hasPrefix("unix://") ? String(address.dropFirst("unix://".count)) : address
    }

    /// Runs `body` with a connection, which is closed afterwards.
    ///
    /// Throws what the calls throw; `unavailable` names the socket.
    func withConnection<Result: Sendable>(
        _ body: @Sendable (Connection) async throws -> Result
    ) async throws -> Result {
        do {
            let transport = try HTTP2ClientTransport.Posix(
                target: .unixDomainSocket(path: address, authority: "localhost"), transportSecurity: .plaintext,
                config: .defaults { $0.connection.flushCoalescing = nil })
            return try await withGRPCClient(transport: transport, handleClient: body)
        } catch let error as RPCError where error.code == .unavailable {
            throw RPCError(
                code: .unavailable,
                message: "containerd at \(address) is not available: \(error.message): unavailable", cause: error)
        } catch let error as RuntimeError {
            throw RPCError(
                code: .unavailable, message: "cannot reach containerd at \(address) (\(error.message)): unavailable",
                cause: error)
        }
    }

    /// What calls are told by their headers.
    static func metadata(namespace: String, lease: String? = nil) -> Metadata {
        var metadata: Metadata = [:]
        metadata.addString(namespace, forKey: "containerd-namespace")
        if let lease { metadata.addString(lease, forKey: "containerd-lease") }
        return metadata
    }

    /// For calls that are answered at once. containerd may hold them up while it collects garbage.
    static let short: CallOptions = {
        var options = CallOptions.defaults
        options.timeout = .seconds(120)
        options.maxResponseMessageBytes = 16 << 20
        return options
    }()

    /// For streams, which last as long as they last.
    static let long: CallOptions = {
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = 16 << 20
        return options
    }()
}
