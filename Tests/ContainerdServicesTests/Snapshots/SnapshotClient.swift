import ContainerdAPI
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import SwiftProtobuf

typealias Mounts = [Containerd_Types_Mount]
typealias Info = Containerd_Services_Snapshots_V1_Info

/// containerd's side of the socket, for tests: one snapshotter by its name.
struct SnapshotClient {
    typealias Service = Containerd_Services_Snapshots_V1_Snapshots

    let service: Service.Client<HTTP2ClientTransport.Posix>
    /// The other service of the same socket.
    let differ: DiffClient
    var snapshotter = "ldiff"

    /// What the suite puts on everything that it makes.
    static let root = ["containerd.io/gc.root": "2026-11-21T12:00:00Z"]

    func prepare(_ key: String, _ parent: String = "", labels: [String: String] = root) async throws -> Mounts {
        try await service.prepare(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
                $0.parent = parent
                $0.labels = labels
            }
        ).mounts
    }

    func view(_ key: String, _ parent: String = "", labels: [String: String] = root) async throws -> Mounts {
        try await service.view(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
                $0.parent = parent
                $0.labels = labels
            }
        ).mounts
    }

    func mounts(_ key: String) async throws -> Mounts {
        try await service.mounts(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
            }
        ).mounts
    }

    func commit(
        _ name: String, _ key: String, labels: [String: String] = root, parent: String = ""
    ) async throws {
        _ = try await service.commit(
            .with {
                $0.snapshotter = snapshotter
                $0.name = name
                $0.key = key
                $0.labels = labels
                $0.parent = parent
            })
    }

    func remove(_ key: String) async throws {
        _ = try await service.remove(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
            })
    }

    func stat(_ key: String) async throws -> Info {
        try await service.stat(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
            }
        ).info
    }

    func update(_ name: String, _ labels: [String: String], paths: [String] = [], parent: String = "") async throws
        -> Info
    {
        try await service.update(
            .with {
                $0.snapshotter = snapshotter
                $0.info.name = name
                $0.info.labels = labels
                $0.info.parent = parent
                if !paths.isEmpty { $0.updateMask.paths = paths }
            }
        ).info
    }

    func usage(_ key: String) async throws -> (size: Int64, inodes: Int64) {
        let usage = try await service.usage(
            .with {
                $0.snapshotter = snapshotter
                $0.key = key
            })
        return (usage.size, usage.inodes)
    }

    func cleanup() async throws { _ = try await service.cleanup(.with { $0.snapshotter = snapshotter }) }

    /// Each block as it comes.
    func walk(_ filters: [String] = [], _ body: @Sendable @escaping ([Info]) async throws -> Void) async throws {
        try await service.list(
            .with {
                $0.snapshotter = snapshotter
                $0.filters = filters
            }
        ) { response in
            for try await message in response.messages { try await body(message.info) }
        }
    }

    /// All of them, by name.
    func list(_ filters: String...) async throws -> [String: Info] { try await list(filters) }

    func list(_ filters: [String]) async throws -> [String: Info] {
        try await service.list(
            .with {
                $0.snapshotter = snapshotter
                $0.filters = filters
            }
        ) { response in
            var found: [String: Info] = [:]
            for try await message in response.messages { for info in message.info { found[info.name] = info } }
            return found
        }
    }

    /// Connects to the socket at `path` for the time of `body`. Calls made while nobody answers fail.
    static func connected<Result: Sendable>(
        to path: String, named snapshotter: String = "ldiff", _ body: (SnapshotClient) async throws -> Result
    ) async throws -> Result {
        let failsFast = MethodConfig(names: [MethodConfig.Name(service: "")], waitForReady: false)
        return try await withGRPCClient(
            transport: .http2NIOPosix(
                target: .unixDomainSocket(path: path, authority: "localhost"), transportSecurity: .plaintext,
                serviceConfig: ServiceConfig(methodConfig: [failsFast]))
        ) { client in
            try await body(
                SnapshotClient(
                    service: Service.Client(wrapping: client), differ: DiffClient(wrapping: client),
                    snapshotter: snapshotter))
        }
    }
}

/// The code and text that a call failed with; nil where it did not fail.
func failure<Answer>(_ body: () async throws -> Answer) async throws -> (code: RPCError.Code, message: String)? {
    do {
        _ = try await body()
        return nil
    } catch let error as RPCError {
        return (error.code, error.message)
    }
}

extension SwiftProtobuf.Google_Protobuf_Timestamp {
    var inNanoseconds: Int64 { seconds * 1_000_000_000 + Int64(nanos) }
}
