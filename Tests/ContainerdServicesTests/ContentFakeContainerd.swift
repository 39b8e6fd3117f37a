import ContainerdAPI
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import LayerDrivers
import LayerModel
import SwiftProtobuf
import Synchronization
import TestSupport

/// The part of containerd that a differ calls, in memory, with what it was told kept for tests to look at.
final class FakeContainerd: Sendable {
    struct Blob: Sendable {
        var bytes: [UInt8]
        var labels: [String: String] = [:]
    }

    struct State: Sendable {
        /// By namespace and digest.
        var blobs: [String: [String: Blob]] = ["default": [:]]
        /// Unfinished writes by namespace and reference.
        var ingests: [String: [UInt8]] = [:]
        var leases: [String: [String: String]] = [:]
        /// Leases under which blobs were committed.
        var leaseOfWrite: [String] = []
        /// Digests that were added to each lease.
        var added: [String: [String]] = [:]
        /// The content store's directory as Introspection tells it; nil for none.
        var root: String?
        /// Messages larger than this are refused.
        var largestMessage = 0
        /// What to fail with, by the call's name.
        var failures: [String: RPCError] = [:]
        /// Called when a write has this many bytes.
        var pauseAt: Int?
        var calls: [String] = []
    }

    let state = Mutex(State())

    subscript<Value: Sendable>(path: WritableKeyPath<State, Value>) -> Value {
        get { state.withLock { $0[keyPath: path] } }
        set { state.withLock { $0[keyPath: path] = newValue } }
    }

    /// Keeps `bytes` as a blob of a namespace.
    @discardableResult
    func add(_ bytes: [UInt8], namespace: String = "default") -> String {
        let digest = Digest.of(bytes.rawBytes).description
        state.withLock { $0.blobs[namespace, default: [:]][digest] = Blob(bytes: bytes) }
        return digest
    }

    func blob(_ digest: String, namespace: String = "default") -> Blob? {
        state.withLock { $0.blobs[namespace]?[digest] }
    }

    /// Serves at `socket` while `body` runs.
    func serve<Result: Sendable>(at socket: String, _ body: () async throws -> Result) async throws -> Result {
        try await serving(
            [FakeContent(owner: self), FakeLeases(owner: self), FakeNamespaces(owner: self), FakePlugins(owner: self)],
            at: socket, body)
    }

    /// Says that a call came, and fails where the test wants it.
    func enter(_ call: String) throws {
        let failure = state.withLock { state in
            state.calls.append(call)
            return state.failures[call]
        }
        if let failure { throw failure }
    }

    static func namespace(_ metadata: Metadata) throws -> String {
        guard let namespace = metadata[stringValues: "containerd-namespace"].first(where: { _ in true }) else {
            throw RPCError(code: .failedPrecondition, message: "namespace is required: failed precondition")
        }
        return namespace
    }
}

/// Runs a gRPC server on a unix socket while `body` runs.
func serving<Result: Sendable>(
    _ services: [any RegistrableRPCService], at socket: String, _ body: () async throws -> Result
) async throws -> Result {
    let transport = HTTP2ServerTransport.Posix(
        address: .unixDomainSocket(path: socket), transportSecurity: .plaintext,
        config: .defaults { $0.rpc.maxRequestPayloadSize = 16 << 20 })
    let server = GRPCServer(transport: transport, services: services)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.serve() }
        _ = try await server.listeningAddress
        do {
            let result = try await body()
            server.beginGracefulShutdown()
            try await group.waitForAll()
            return result
        } catch {
            group.cancelAll()
            throw error
        }
    }
}

private struct FakeContent: Containerd_Services_Content_V1_Content.ServiceProtocol {
    let owner: FakeContainerd

    private func missing(_ digest: String) -> RPCError {
        RPCError(code: .notFound, message: "content digest \(digest): not found")
    }

    func info(
        request: ServerRequest<Containerd_Services_Content_V1_InfoRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Content_V1_InfoResponse> {
        try owner.enter("Info")
        let digest = request.message.digest
        guard let blob = owner.blob(digest, namespace: try FakeContainerd.namespace(request.metadata)) else {
            throw missing(digest)
        }
        return ServerResponse(
            message: .with {
                $0.info.digest = digest
                $0.info.size = Int64(blob.bytes.count)
                $0.info.labels = blob.labels
            })
    }

    func update(
        request: ServerRequest<Containerd_Services_Content_V1_UpdateRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Content_V1_UpdateResponse> {
        try owner.enter("Update")
        let namespace = try FakeContainerd.namespace(request.metadata)
        let info = request.message.info
        owner.state.withLock { state in
            for path in request.message.updateMask.paths where path.hasPrefix("labels.") {
                let label = String(path.dropFirst("labels.".count))
                state.blobs[namespace]?[info.digest]?.labels[label] = info.labels[label]
            }
        }
        return ServerResponse(message: .with { $0.info = info })
    }

    func read(
        request: ServerRequest<Containerd_Services_Content_V1_ReadContentRequest>, context: ServerContext
    ) async throws -> StreamingServerResponse<Containerd_Services_Content_V1_ReadContentResponse> {
        try owner.enter("Read")
        let namespace = try FakeContainerd.namespace(request.metadata)
        guard let blob = owner.blob(request.message.digest, namespace: namespace) else {
            throw missing(request.message.digest)
        }
        return StreamingServerResponse { writer in
            for start in stride(from: 0, to: blob.bytes.count, by: 1 << 20) {
                let piece = blob.bytes[start..<min(start + 1 << 20, blob.bytes.count)]
                try await writer.write(
                    .with {
                        $0.offset = Int64(start)
                        $0.data = Data(piece)
                    })
            }
            return [:]
        }
    }

    func write(
        request: StreamingServerRequest<Containerd_Services_Content_V1_WriteContentRequest>, context: ServerContext
    ) async throws -> StreamingServerResponse<Containerd_Services_Content_V1_WriteContentResponse> {
        try owner.enter("Write")
        let namespace = try FakeContainerd.namespace(request.metadata)
        let lease = request.metadata[stringValues: "containerd-lease"].first { _ in true }
        let owner = owner
        return StreamingServerResponse { writer in
            var key = ""
            for try await message in request.messages {
                if key.isEmpty {
                    guard !message.ref.isEmpty else {
                        throw RPCError(code: .invalidArgument, message: "first message must have a reference")
                    }
                    key = namespace + "/" + message.ref
                }
                let answer = try owner.state.withLock { state in
                    try Self.handle(message, key, namespace, lease, &state)
                }
                try await writer.write(answer)
            }
            return [:]
        }
    }

    private static func handle(
        _ message: Containerd_Services_Content_V1_WriteContentRequest, _ key: String, _ namespace: String,
        _ lease: String?, _ state: inout FakeContainerd.State
    ) throws -> Containerd_Services_Content_V1_WriteContentResponse {
        state.largestMessage = max(state.largestMessage, message.data.count)
        var bytes = state.ingests[key] ?? []
        var digest = ""
        if message.action == .write {
            guard message.offset == 0 || message.offset == bytes.count else {
                throw RPCError(code: .outOfRange, message: "offset \(message.offset) of \(bytes.count): out of range")
            }
            if message.offset == 0 { bytes = [] }
            bytes += message.data
            if let failure = state.failures["data"], bytes.count > state.pauseAt ?? 0 { throw failure }
        }
        state.ingests[key] = bytes
        if message.action == .commit {
            digest = Digest.of(bytes.rawBytes).description
            guard message.expected.isEmpty || message.expected == digest, message.total == bytes.count else {
                throw RPCError(code: .failedPrecondition, message: "unexpected commit digest: failed precondition")
            }
            state.ingests[key] = nil
            if let lease { state.leaseOfWrite.append(lease) }
            guard state.blobs[namespace]?[digest] == nil else {
                throw RPCError(code: .alreadyExists, message: "content \(digest): already exists")
            }
            state.blobs[namespace, default: [:]][digest] = FakeContainerd.Blob(bytes: bytes, labels: message.labels)
        }
        return .with {
            $0.action = message.action
            $0.offset = Int64(bytes.count)
            $0.total = message.total
            $0.digest = digest
        }
    }

    func abort(
        request: ServerRequest<Containerd_Services_Content_V1_AbortRequest>, context: ServerContext
    ) async throws -> ServerResponse<SwiftProtobuf.Google_Protobuf_Empty> {
        try owner.enter("Abort")
        let key = try FakeContainerd.namespace(request.metadata) + "/" + request.message.ref
        owner.state.withLock { $0.ingests[key] = nil }
        return ServerResponse(message: .init())
    }
}

private struct FakeLeases: Containerd_Services_Leases_V1_Leases.ServiceProtocol {
    let owner: FakeContainerd

    func create(
        request: ServerRequest<Containerd_Services_Leases_V1_CreateRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Leases_V1_CreateResponse> {
        try owner.enter("Create")
        _ = try FakeContainerd.namespace(request.metadata)
        owner.state.withLock { $0.leases[request.message.id] = request.message.labels }
        return ServerResponse(message: .with { $0.lease.id = request.message.id })
    }

    func delete(
        request: ServerRequest<Containerd_Services_Leases_V1_DeleteRequest>, context: ServerContext
    ) async throws -> ServerResponse<SwiftProtobuf.Google_Protobuf_Empty> {
        try owner.enter("Delete")
        owner.state.withLock { $0.leases[request.message.id] = nil }
        return ServerResponse(message: .init())
    }

    func addResource(
        request: ServerRequest<Containerd_Services_Leases_V1_AddResourceRequest>, context: ServerContext
    ) async throws -> ServerResponse<SwiftProtobuf.Google_Protobuf_Empty> {
        try owner.enter("AddResource")
        let resource = request.message.resource
        try owner.state.withLock { state in
            guard state.leases[request.message.id] != nil, resource.type == "content" else {
                throw RPCError(code: .notFound, message: "lease \(request.message.id)")
            }
            state.added[request.message.id, default: []].append(resource.id)
        }
        return ServerResponse(message: .init())
    }
}

private struct FakeNamespaces: Containerd_Services_Namespaces_V1_Namespaces.SimpleServiceProtocol {
    let owner: FakeContainerd

    func list(
        request: Containerd_Services_Namespaces_V1_ListNamespacesRequest, context: ServerContext
    ) async throws -> Containerd_Services_Namespaces_V1_ListNamespacesResponse {
        try owner.enter("Namespaces")
        let names = owner.state.withLock { $0.blobs.keys.sorted() }
        return .with { $0.namespaces = names.map { name in .with { $0.name = name } } }
    }
}

private struct FakePlugins: Containerd_Services_Introspection_V1_Introspection.SimpleServiceProtocol {
    let owner: FakeContainerd

    func plugins(
        request: Containerd_Services_Introspection_V1_PluginsRequest, context: ServerContext
    ) async throws -> Containerd_Services_Introspection_V1_PluginsResponse {
        try owner.enter("Plugins")
        let root = owner.state.withLock { $0.root }
        return .with {
            $0.plugins = [
                .with {
                    $0.type = "io.containerd.content.v1"
                    $0.id = "content"
                    $0.exports = root.map { ["root": $0] } ?? [:]
                }
            ]
        }
    }
}
