import ContainerdAPI
import DaemonSupport
import GRPCCore
import LayerCompression
import LayerFormats
import LayerModel
import LayerPipeline
import LinuxIO
import Logging

/// How the differ works.
package struct DifferOptions: Sendable {
    /// containerd's socket.
    package var containerdAddress: String
    /// The namespace for requests that name none and whose mounts are not ours; nil: containerd is asked who has them.
    package var defaultNamespace: String?
    /// containerd's content store, for when containerd does not say where it is.
    package var contentRoot: PathBytes?
    /// An existing directory of ours. Mounts are made in it, in a mount namespace of their own; and blobs are kept in it,
    /// without names, that cannot be read as files.
    package var workDirectory: PathBytes
    /// Whether blobs are read as files where they are some, which is faster than asking containerd for them.
    package var readsFiles = true
    /// Threads that one job walks, reads or writes with; nil means one a core.
    package var workers: Int?
    /// Jobs at the same time; nil means two a core.
    package var jobs: Int?
    /// How long a lease of our own keeps a blob from being collected once it is written: its client is about to write down
    /// that it wants it, which takes milliseconds.
    package var leaseLife: Duration = .seconds(120)

    package init(containerdAddress: String, workDirectory: PathBytes) {
        self.containerdAddress = containerdAddress
        self.workDirectory = workDirectory
        contentRoot = PathBytes("/var/lib/containerd/io.containerd.content.v1.content")
    }

    /// Makes the work directory where there is none.
    package func makeWorkDirectory() throws(LayerError) {
        do throws(LayerError) {
            try MountPoint.make(workDirectory)
        } catch  where error.code == .alreadyExists {}
    }
}

/// containerd's Diff service: unpacks layers into snapshots and writes what changed in them.
package struct DiffService: Containerd_Services_Diff_V1_Diff.ServiceProtocol {
    private let options: DifferOptions
    private let snapshots: (any SnapshotLookup)?
    private let logger: Logger
    private let metrics: CallMetrics
    private let bridge: BlockingBridge
    private let containerd: ContainerdClient
    private let namespaces: NamespaceResolver
    private let blobs: BlobSource
    private let leases: LeaseKeeper
    private let semaphore: AsyncSemaphore

    /// `snapshots` recognises mounts of the snapshotter in this process; nil where there is none.
    package init(
        options: DifferOptions, snapshots: (any SnapshotLookup)?, bridge: BlockingBridge, metrics: CallMetrics,
        logger: Logger
    ) {
        self.options = options
        self.snapshots = snapshots
        self.bridge = bridge
        self.metrics = metrics
        self.logger = logger
        containerd = ContainerdClient(address: options.containerdAddress)
        namespaces = NamespaceResolver(configured: options.defaultNamespace)
        blobs = BlobSource(
            containerd, namespaces: namespaces, fallbackRoot: options.contentRoot,
            scratchDirectory: options.workDirectory, bridge: bridge, readsFiles: options.readsFiles)
        leases = LeaseKeeper(containerd, life: options.leaseLife)
        semaphore = AsyncSemaphore(limit: options.jobs ?? WorkerPool.availableCores * 2)
    }

    package func apply(
        request: ServerRequest<Containerd_Services_Diff_V1_ApplyRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Diff_V1_ApplyResponse> {
        let wanted = request.message.diff
        let operation = "failed to apply layer \(wanted.digest)"
        let mounts = request.message.mounts.map(MountSpec.init)
        guard let reading = LayerMediaType.reading(wanted.mediaType) else {
            throw DiffErrors.notOurs(operation, "media type \"\(wanted.mediaType)\"")
        }
        guard SpecMount.canMount(mounts) else {
            throw DiffErrors.notOurs(operation, "mounts of the type \"\(mounts.map(\.type).joined(separator: ", "))\"")
        }
        guard let digest = Digest(parsing: wanted.digest) else {
            // Another algorithm is fine for others.
            throw wanted.digest.hasPrefix("sha256:") || !wanted.digest.contains(":")
                ? DiffErrors.invalid(operation, "that is no digest")
                : DiffErrors.notOurs(operation, "this kind of digest")
        }
        let hint = hint(request.metadata, mounts)
        let syncs = request.message.syncFs
        let layer = try await job("Apply", operation, context) { [self] in
            let blob = try await blobs.open(digest, hint: hint)
            let unpacking = LayerUnpacking(
                blob: blob, digest: digest, reading: reading, mounts: mounts, snapshots: snapshots,
                mountDirectory: options.workDirectory, workers: options.workers, syncs: syncs)
            return try await bridge.runLong { flag in try unpacking.run(cancel: flag) }
        }
        metrics.received(Int(clamping: layer.byteCount))
        for warning in layer.report.warnings { logger.warning("layer \(digest): \(warning)") }
        return ServerResponse(
            message: .with {
                $0.applied = .with {
                    $0.mediaType = LayerMediaType.plainTar
                    $0.digest = layer.diffID.description
                    $0.size = Int64(clamping: layer.byteCount)
                }
            })
    }

    package func diff(
        request: ServerRequest<Containerd_Services_Diff_V1_DiffRequest>, context: ServerContext
    ) async throws -> ServerResponse<Containerd_Services_Diff_V1_DiffResponse> {
        let message = request.message
        let operation = "failed to create diff"
        let (left, right) = (message.left.map(MountSpec.init), message.right.map(MountSpec.init))
        guard let target = LayerMediaType.writing(message.mediaType) else {
            throw DiffErrors.notOurs(operation, "media type \"\(message.mediaType)\"")
        }
        guard SpecMount.canMount(left + right) else {
            throw DiffErrors.notOurs(operation, "mounts of these types")
        }
        let hint = hint(request.metadata, right)
        let reference = message.ref.isEmpty ? "ldiff-diff-\(UniqueName.next())" : message.ref
        let epoch = message.hasSourceDateEpoch ? message.sourceDateEpoch.seconds : nil
        let production = LayerProduction(
            left: left, right: right, snapshots: snapshots, format: target.format,
            indexed: LayerMediaType.indexed(message.labels, target.format), sourceDateEpoch: epoch,
            mountDirectory: options.workDirectory, workers: options.workers)
        let (layer, written) = try await job("Diff", operation, context) { [self] in
            try await produce(production, hint, reference, lease: request.lease, labels: message.labels)
        }
        metrics.sent(Int(clamping: layer.outputBytes))
        if let obstacle = layer.index?.obstacle {
            logger.warning("diff \(written.digest): it has no index: \(obstacle)")
        }
        for warning in layer.layer.warnings { logger.warning("diff \(written.digest): \(warning)") }
        return ServerResponse(
            message: .with {
                $0.diff = .with {
                    $0.mediaType = target.mediaType
                    $0.digest = written.digest
                    $0.size = written.byteCount
                    $0.annotations = layer.annotations
                }
            })
    }

    /// Produces a layer on a thread while it is sent.
    private func produce(
        _ production: LayerProduction, _ hint: NamespaceHint, _ reference: String, lease: String?,
        labels: [String: String]
    ) async throws -> (LayerExportReport, BlobWriter.Written) {
        let queue = PieceQueue()
        return try await containerd.withConnection { [self] connection in
            let namespace = try await namespaces.namespace(hint, showing: production.right, connection)
            let producing = Task {
                defer { queue.end() }
                return try await bridge.runLong { flag in try production.run(into: queue, cancel: flag) }
            }
            do {
                // A lease is one of the namespace that was named with it.
                let writer = BlobWriter(
                    connection: connection, namespace: namespace, reference: reference,
                    givenLease: hint.header == namespace ? lease : nil, keeper: leases)
                let written = try await writer.write(queue) {
                    let layer = try await producing.value
                    var labels = labels
                    guard let digest = layer.outputDigest, let diffID = layer.diffID else {
                        preconditionFailure("digests were asked for")
                    }
                    // Who pushes the blob finds them there, too.
                    labels.merge(layer.annotations) { _, ours in ours }
                    if production.format != .none { labels[BlobWriter.uncompressedLabel] = diffID.description }
                    return BlobWriter.Ending(
                        digest: digest.description, byteCount: Int64(clamping: layer.outputBytes), labels: labels)
                }
                return (try await producing.value, written)
            } catch {
                producing.cancel()
                queue.abandon()
                // What went wrong with the trees says more than what became of the stream.
                if case .failure(let cause as LayerError) = await producing.result, cause.code != .cancelled {
                    throw cause
                }
                throw error
            }
        }
    }

    private func hint(_ metadata: Metadata, _ mounts: [MountSpec]) -> NamespaceHint {
        NamespaceHint(
            header: metadata[stringValues: "containerd-namespace"].first { _ in true },
            snapshot: snapshots?.snapshot(for: mounts)?.namespace)
    }

    /// Runs one job when there is room for it, and cancels it when the client gives up.
    private func job<Result: Sendable>(
        _ call: String, _ operation: String, _ context: ServerContext,
        _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        try await metrics.measure("diff." + call) {
            // gRPC tells of a client's giving up beside the task, so the job gets one that can be cancelled.
            let task = Task { [semaphore] in try await semaphore.run(body) }
            do {
                return try await withRPCCancellationHandler {
                    try await withTaskCancellationHandler {
                        try await task.value
                    } onCancel: {
                        task.cancel()
                    }
                } onCancelRPC: {
                    task.cancel()
                }
            } catch {
                let status = DiffErrors.status(
                    context.cancellation.isCancelled ? CancellationError() : error, operation)
                logger.log(level: status.code == .cancelled ? .debug : .error, "\(status.message)")
                throw status
            }
        }
    }
}

extension LayerExportReport {
    /// What its descriptor is to say of its index.
    fileprivate var annotations: [String: String] {
        Dictionary((index?.annotations ?? []).map { ($0.key, $0.value) }) { one, _ in one }
    }
}

extension ServerRequest {
    /// The lease that holds what the call makes, if its sender has one.
    fileprivate var lease: String? { metadata[stringValues: "containerd-lease"].first { !$0.isEmpty } }
}
