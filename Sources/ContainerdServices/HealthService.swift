import DaemonSupport
import GRPCCore
import ServiceLifecycle

/// `grpc.health.v1.Health`, which probes of Kubernetes and others ask.
struct HealthService: RegistrableRPCService {
    static let name = "grpc.health.v1.Health"

    /// What is well: empty stands for the daemon.
    private static let services: Set = [
        "", "containerd.services.snapshots.v1.Snapshots", "containerd.services.diff.v1.Diff",
    ]
    /// How often the stores are looked at for those who wait for a change.
    private static let interval = Duration.seconds(5)

    let health: StoreHealth

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: MethodDescriptor(fullyQualifiedService: Self.name, method: "Check"),
            deserializer: HealthRequestDeserializer(), serializer: HealthStatusSerializer()
        ) { request, _ in
            let service = try await Self.service(of: request)
            guard Self.services.contains(service) else {
                throw RPCError(code: .notFound, message: "nothing is known of the service \(service)")
            }
            return StreamingServerResponse(single: ServerResponse(message: await status))
        }
        router.registerHandler(
            forMethod: MethodDescriptor(fullyQualifiedService: Self.name, method: "Watch"),
            deserializer: HealthRequestDeserializer(), serializer: HealthStatusSerializer()
        ) { request, context in
            let service = try await Self.service(of: request)
            return StreamingServerResponse { writer in
                // Without this a watch would outlive the client that went.
                try? await Cancellation.carry(context) { try await watch(service, writer) }
                return [:]
            }
        }
    }

    private var status: HealthStatus {
        get async { await health.currentTroubles().isEmpty ? .serving : .notServing }
    }

    private static func service(of request: StreamingServerRequest<String>) async throws -> String {
        for try await service in request.messages { return service }
        throw RPCError(code: .internalError, message: "there was no request")
    }

    /// Tells the status, and again when it is another, until the client or the daemon goes.
    private func watch(_ service: String, _ writer: RPCWriter<HealthStatus>) async throws {
        try? await cancelWhenGracefulShutdown {
            var last: HealthStatus?
            while !Task.isCancelled {
                let now = Self.services.contains(service) ? await status : .serviceUnknown
                if now != last { try await writer.write(now) }
                last = now
                try await Task.sleep(for: Self.interval)
            }
        }
    }
}

/// What the protocol calls `ServingStatus`.
enum HealthStatus: UInt8, Sendable {
    case serving = 1
    case notServing = 2
    case serviceUnknown = 3
}

/// A message with the status in field 1. Two bytes are no reason for generated code.
struct HealthStatusSerializer: MessageSerializer {
    func serialize<Bytes: GRPCContiguousBytes>(_ status: HealthStatus) throws -> Bytes {
        var bytes = Bytes(repeating: 0x08, count: 2)
        bytes.withUnsafeMutableBytes { $0[1] = status.rawValue }
        return bytes
    }
}

/// A message with the service's name in field 1; other fields are passed over.
struct HealthRequestDeserializer: MessageDeserializer {
    func deserialize<Bytes: GRPCContiguousBytes>(_ message: Bytes) throws -> String {
        let bytes = message.withUnsafeBytes { Array($0) }
        var name: ArraySlice<UInt8> = []
        var index = 0
        func number() throws -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 64, by: 7) {
                guard index < bytes.count else { break }
                let byte = bytes[index]
                index += 1
                value |= UInt64(byte & 0x7f) << shift
                if byte < 0x80 { return value }
            }
            throw RPCError(code: .invalidArgument, message: "the request is malformed")
        }
        while index < bytes.count {
            let key = try number()
            let length: UInt64
            switch key & 7 {
            case 0:
                _ = try number()
                length = 0
            case 1: length = 8
            case 2: length = try number()
            case 5: length = 4
            default: throw RPCError(code: .invalidArgument, message: "the request is malformed")
            }
            guard length <= UInt64(bytes.count - index) else {
                throw RPCError(code: .invalidArgument, message: "the request is malformed")
            }
            let end = index + Int(length)
            if key == 1 << 3 | 2 { name = bytes[index..<end] }
            index = end
        }
        return String(decoding: name, as: UTF8.self)
    }
}
