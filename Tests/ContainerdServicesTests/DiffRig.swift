import ContainerdAPI
import DaemonSupport
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import LayerModel
import Logging
import Metrics
import TestSupport

@testable import ContainerdServices

typealias DiffClient = Containerd_Services_Diff_V1_Diff.Client<HTTP2ClientTransport.Posix>
typealias Descriptor = Containerd_Types_Descriptor

/// A differ on a socket, a containerd that is only played, and a directory of a test's own.
final class DiffRig: @unchecked Sendable {
    let directory: TemporaryDirectory
    let containerd = FakeContainerd()
    let bridge = BlockingBridge()
    /// Of a blob's file and the socket's.
    var path: String { directory.path }
    var containerdSocket: String { path + "/containerd.sock" }

    init() throws {
        directory = try TemporaryDirectory()
        _ = try directory.directory("work")
        _ = try directory.directory("content")
        _ = try directory.directory("content/blobs")
        _ = try directory.directory("content/blobs/sha256")
        containerd[\.root] = path + "/content"
    }

    func options() -> DifferOptions {
        var options = DifferOptions(containerdAddress: containerdSocket, workDirectory: PathBytes(path + "/work"))
        options.contentRoot = nil
        return options
    }

    /// Keeps a blob where containerd keeps it; returns its digest.
    func addFile(_ bytes: [UInt8]) throws -> String {
        let digest = Digest.of(bytes.rawBytes)
        try writeFile(path + "/content/blobs/sha256/" + digest.hexadecimal, bytes)
        return digest.description
    }

    /// Mounts in or of the rig's directory: others of the machine come and go meanwhile.
    private func mounts() throws -> [String] {
        String(decoding: try readFile("/proc/self/mountinfo"), as: UTF8.self).split(separator: "\n").map(String.init)
            .filter { $0.contains(path) }
    }

    /// Serves both while `body` runs.
    func run<Result: Sendable>(
        _ options: DifferOptions? = nil, _ body: @Sendable (DiffClient) async throws -> Result
    ) async throws -> Result {
        try await containerd.serve(at: containerdSocket) { try await runAlone(options, body) }
    }

    /// Serves the differ only.
    func runAlone<Result: Sendable>(
        _ options: DifferOptions? = nil, _ body: @Sendable (DiffClient) async throws -> Result
    ) async throws -> Result {
        let before = try mounts()
        let metrics = CallMetrics(NOOPMetricsHandler.instance, program: "test", version: "0", drivers: [])
        let service = DiffService(
            options: options ?? self.options(), snapshots: nil, bridge: bridge, metrics: metrics,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let socket = path + "/differ.sock"
        let result = try await serving([service], at: socket) {
            let transport = try HTTP2ClientTransport.Posix(
                target: .unixDomainSocket(path: socket, authority: "localhost"), transportSecurity: .plaintext)
            return try await withGRPCClient(transport: transport) { client in
                try await body(DiffClient(wrapping: client))
            }
        }
        guard try mounts() == before else { throw TestFailure("a mount was left: \(try mounts()), before: \(before)") }
        guard bridge.longCount == 0 else { throw TestFailure("work goes on") }
        guard directoryNames(path + "/work") == [] else { throw TestFailure("something stayed in the work directory") }
        return result
    }
}

extension DiffClient {
    static let tar = "application/vnd.oci.image.layer.v1.tar"

    /// Applies a blob in the namespace `default`.
    func apply(
        _ digest: String, _ mediaType: String = tar, to mounts: [MountSpec], namespace: String? = "default",
        syncs: Bool = false
    ) async throws -> Descriptor {
        try await apply(
            .with {
                $0.diff.mediaType = mediaType
                $0.diff.digest = digest
                $0.mounts = mounts.map(\.message)
                $0.syncFs = syncs
            }, metadata: Self.metadata(namespace)
        ).applied
    }

    /// Writes the difference of two sides.
    func diff(
        _ left: [MountSpec], _ right: [MountSpec], _ mediaType: String = tar, ref: String = "",
        labels: [String: String] = [:], epoch: Int64? = nil, namespace: String? = "default",
        lease: String? = nil
    ) async throws -> Descriptor {
        try await diff(
            .with {
                $0.left = left.map(\.message)
                $0.right = right.map(\.message)
                $0.mediaType = mediaType
                $0.ref = ref
                $0.labels = labels
                if let epoch { $0.sourceDateEpoch.seconds = epoch }
            }, metadata: Self.metadata(namespace, lease)
        ).diff
    }

    private static func metadata(_ namespace: String?, _ lease: String? = nil) -> Metadata {
        var metadata: Metadata = namespace.map { ["containerd-namespace": "\($0)"] } ?? [:]
        if let lease { metadata.addString(lease, forKey: "containerd-lease") }
        return metadata
    }
}

extension MountSpec {
    var message: Containerd_Types_Mount {
        .with {
            $0.type = type
            $0.source = source
            $0.target = target
            $0.options = options
        }
    }
}

/// What programs make of bytes: `gzip`, `zstd`.
func filtered(_ words: String..., input: [UInt8]) throws -> [UInt8] {
    let result = try runProgram(words, input: input)
    guard result.status == 0 else { throw TestFailure("\(words): \(result.errors)") }
    return result.output
}

/// The entries of a tar in its order: name, type, mode, size, time, link.
func entries(_ archive: [UInt8]) throws -> [String] {
    let program = """
        import sys, tarfile
        for e in tarfile.open(fileobj=sys.stdin.buffer, mode="r|"):
            print(e.name, e.type.decode(), oct(e.mode), e.size, int(e.mtime), e.linkname or "-")
        """
    return try runProgramLines(["/usr/bin/python3", "-c", program], input: archive)
}

private func runProgramLines(_ words: [String], input: [UInt8]) throws -> [String] {
    let result = try runProgram(words, input: input)
    guard result.status == 0 else { throw TestFailure("\(words[0]): \(result.errors)") }
    return result.lines
}

/// The code of the status that a call ends with, and its text.
func refusal(_ body: () async throws -> Void) async -> (code: RPCError.Code, message: String)? {
    do {
        try await body()
        return nil
    } catch let error as RPCError {
        return (error.code, error.message)
    } catch {
        return (.unknown, "\(error)")
    }
}
