import ContainerdAPI
import Foundation
import GRPCCore
import Glibc
import LayerModel
import Synchronization

/// Writes one blob into containerd's content store, under the request's lease or one of its own.
///
/// What runs within containerd, as its transfer service, passes its lease on; but containerd does not pass that of a client
/// on, and collects garbage as soon as the client removes the parent's view: without a lease the blob could be gone before
/// the client writes down that it wants it.
struct BlobWriter: Sendable {
    /// What the store made of a blob.
    struct Written: Sendable, Equatable {
        var digest: String
        var byteCount: Int64
    }

    /// What is known once all pieces are there.
    struct Ending: Sendable {
        var digest: String
        var byteCount: Int64
        var labels: [String: String]
    }

    let connection: ContainerdClient.Connection
    let namespace: String
    /// Names the write; whatever an earlier one of this name left is overwritten.
    let reference: String
    /// The request's, which its maker gives back.
    var givenLease: String?
    /// Gives one of our own back.
    let keeper: LeaseKeeper

    /// How long one of our own holds when nobody gives it back: longer than a layer takes to be written.
    static let leaseSeconds = 3600

    /// Sends what comes out of `queue`, then asks `ending` what it was, and commits it.
    ///
    /// Throws what containerd answers, or what `ending` throws; neither a lease nor half a blob stays then.
    func write(_ queue: PieceQueue, ending: @escaping @Sendable () async throws -> Ending) async throws -> Written {
        var lease = givenLease ?? ""
        if givenLease == nil { lease = try await makeLease() }
        do {
            let written = try await write(queue, lease, ending)
            if givenLease == nil { keeper.keep(lease, namespace, of: written.digest) }
            return written
        } catch {
            queue.abandon()
            // On its own, since this task may be cancelled.
            await Task { [self, lease] in await takeBack(lease) }.value
            throw error
        }
    }

    private func write(
        _ queue: PieceQueue, _ lease: String, _ ending: @escaping @Sendable () async throws -> Ending
    ) async throws -> Written {
        let metadata = ContainerdClient.metadata(namespace: namespace, lease: lease)
        let reference = reference
        let last = EndingBox()
        do {
            let answer = try await ContentAPI.Client(wrapping: connection).write(
                metadata: metadata, options: ContainerdClient.long
            ) { writer in
                // Opens and locks; each message is answered once, so nothing has to wait for an answer.
                try await writer.write(
                    .with {
                        $0.action = .stat
                        $0.ref = reference
                    })
                var offset: Int64 = 0
                while let piece = try await queue.next() {
                    let start = offset
                    // At offset 0 it truncates what an earlier write of this name left.
                    try await writer.write(
                        .with {
                            $0.action = .write
                            $0.offset = start
                            $0.data = piece
                        })
                    offset += Int64(piece.count)
                }
                let ending = try await ending()
                last.set(ending)
                let total = offset
                try await writer.write(
                    .with {
                        $0.action = .commit
                        $0.offset = total
                        $0.total = total
                        $0.expected = ending.digest
                        $0.labels = ending.labels
                    })
            } onResponse: { response in
                var final = Containerd_Services_Content_V1_WriteContentResponse()
                for try await message in response.messages { final = message }
                return final
            }
            guard let ending = last.get(), answer.digest == ending.digest else {
                throw RPCError(
                    code: .dataLoss, message: "containerd wrote \(answer.digest) instead of what was sent: data loss")
            }
            return Written(digest: ending.digest, byteCount: ending.byteCount)
        } catch let error as RPCError where error.code == .alreadyExists {
            guard let ending = last.get() else { throw error }
            return try await useExisting(ending, lease, metadata)
        }
    }

    /// The store has these bytes already. What may be missing is that the lease holds them, which containerd sees to for new
    /// ones only, and what they are uncompressed. They are asked for under the lease, so what the answer tells of stays.
    private func useExisting(_ ending: Ending, _ lease: String, _ metadata: Metadata) async throws -> Written {
        _ = try await LeasesAPI.Client(wrapping: connection).addResource(
            .with {
                $0.id = lease
                $0.resource = .with {
                    $0.id = ending.digest
                    $0.type = "content"
                }
            }, metadata: ContainerdClient.metadata(namespace: namespace), options: ContainerdClient.short)
        let content = ContentAPI.Client(wrapping: connection)
        let info = try await content.info(
            .with { $0.digest = ending.digest }, metadata: metadata, options: ContainerdClient.short
        ).info
        let label = Self.uncompressedLabel
        if let value = ending.labels[label], info.labels[label, default: ""].isEmpty {
            _ = try await content.update(
                .with {
                    $0.info = .with {
                        $0.digest = ending.digest
                        $0.labels = [label: value]
                    }
                    $0.updateMask = .with { $0.paths = ["labels." + label] }
                }, metadata: metadata, options: ContainerdClient.short)
        }
        return Written(digest: ending.digest, byteCount: info.size)
    }

    /// Says of a compressed blob what its uncompressed digest is.
    static let uncompressedLabel = "containerd.io/uncompressed"

    private func makeLease() async throws -> String {
        let id = "ldiff-diff-\(UniqueName.next())"
        let expiry = Timestamps.text(secondsSince1970: Int64(time(nil)) + Int64(Self.leaseSeconds))
        _ = try await LeasesAPI.Client(wrapping: connection).create(
            .with {
                $0.id = id
                $0.labels = ["containerd.io/gc.expire": expiry]
            }, metadata: ContainerdClient.metadata(namespace: namespace), options: ContainerdClient.short)
        return id
    }

    /// As far as containerd still answers: a lease expires, and a write that nobody goes on with is collected some day.
    private func takeBack(_ lease: String) async {
        let metadata = ContainerdClient.metadata(namespace: namespace, lease: lease)
        let reference = reference
        var options = ContainerdClient.short
        options.timeout = .seconds(10)
        _ = try? await ContentAPI.Client(wrapping: connection).abort(
            .with { $0.ref = reference }, metadata: metadata, options: options)
        guard givenLease == nil else { return }
        _ = try? await LeasesAPI.Client(wrapping: connection).delete(
            .with { $0.id = lease }, metadata: ContainerdClient.metadata(namespace: namespace), options: options)
    }
}

/// What the sending half of a write tells the other.
private final class EndingBox: Sendable {
    private let ending = Mutex<BlobWriter.Ending?>(nil)

    func set(_ value: BlobWriter.Ending) { ending.withLock { $0 = value } }
    func get() -> BlobWriter.Ending? { ending.withLock { $0 } }
}
