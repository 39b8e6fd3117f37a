import ContainerdAPI
import DaemonSupport
import Foundation
import GRPCCore
import LayerCompression
import LayerModel
import LinuxIO
import Synchronization

/// Finds blobs of containerd's content store: as files where they can be reached, else through its API.
///
/// A blob is a plain file that never changes, and reading it directly avoids frames of 16 KiB. Whoever reads it verifies
/// its digest, so nothing has to be believed.
final class BlobSource: Sendable {
    private let containerd: ContainerdClient
    private let namespaces: NamespaceResolver
    /// Where the store is when containerd does not say.
    private let fallbackRoot: PathBytes?
    /// Where a blob is kept that came through the API.
    private let scratchDirectory: PathBytes
    private let bridge: BlockingBridge
    private let readsFiles: Bool
    /// Where containerd said that the store is.
    private let knownRoot = Mutex<PathBytes?>(nil)

    init(
        _ containerd: ContainerdClient, namespaces: NamespaceResolver, fallbackRoot: PathBytes?,
        scratchDirectory: PathBytes, bridge: BlockingBridge, readsFiles: Bool = true
    ) {
        self.containerd = containerd
        self.namespaces = namespaces
        self.fallbackRoot = fallbackRoot
        self.scratchDirectory = scratchDirectory
        self.bridge = bridge
        self.readsFiles = readsFiles
    }

    /// Opens the blob. Throws `notFound` where no namespace has it, `unavailable` where it is no file and containerd does not
    /// answer.
    func open(_ digest: Digest, hint: NamespaceHint) async throws -> OpenBlob {
        guard readsFiles else { return try await fetch(digest, hint) }
        let known = knownRoot.withLock { $0 }
        if let known, let blob = try await openFile(digest, below: known) { return blob }
        // Not known, or containerd has moved, or there is no such blob.
        let told = try? await askForRoot()
        if let told, told != known, let blob = try await openFile(digest, below: told) { return blob }
        if told == nil, let fallbackRoot, let blob = try await openFile(digest, below: fallbackRoot) { return blob }
        return try await fetch(digest, hint)
    }

    private func openFile(_ digest: Digest, below root: PathBytes) async throws -> OpenBlob? {
        let path = root.appending("blobs/sha256").appending(digest.hexadecimal)
        // Where nothing is there that could be read, the API decides.
        return try await bridge.run { OpenBlob.file(at: path) }
    }

    /// The directory that containerd names as its content store's, which is remembered.
    private func askForRoot() async throws -> PathBytes? {
        let root = try await containerd.withConnection { connection -> PathBytes? in
            let answer = try await IntrospectionAPI.Client(wrapping: connection).plugins(
                .with { $0.filters = ["id==content"] }, options: ContainerdClient.short)
            let plugin = answer.plugins.first { $0.type == "io.containerd.content.v1" && $0.id == "content" }
            return plugin?.exports["root"].map { PathBytes($0) }
        }
        knownRoot.withLock { $0 = root }
        return root
    }

    /// Copies the blob into a file without a name.
    private func fetch(_ digest: Digest, _ hint: NamespaceHint) async throws -> OpenBlob {
        try await containerd.withConnection { [self] connection in
            let content = ContentAPI.Client(wrapping: connection)
            for namespace in try await namespaces.candidates(hint, connection) {
                let metadata = ContainerdClient.metadata(namespace: namespace)
                do {
                    _ = try await content.info(
                        .with { $0.digest = digest.description }, metadata: metadata, options: ContainerdClient.short)
                } catch let error as RPCError where error.code == .notFound {
                    continue
                }
                return try await download(digest, content, metadata)
            }
            throw RPCError(code: .notFound, message: "content digest \(digest): not found")
        }
    }

    private func download(
        _ digest: Digest, _ content: ContentAPI.Client<ContainerdTransport>, _ metadata: Metadata
    ) async throws -> OpenBlob {
        let (directory, bridge) = (scratchDirectory, bridge)
        let blob = try await bridge.run { try OpenBlob.scratch(in: directory, path: PathBytes("content \(digest)")) }
        try await content.read(
            .with { $0.digest = digest.description }, metadata: metadata, options: ContainerdClient.long
        ) { response in
            for try await message in response.messages {
                let data = message.data
                try await bridge.run { try blob.append(data) }
            }
        }
        try await bridge.run { try blob.rewind() }
        return blob
    }
}
