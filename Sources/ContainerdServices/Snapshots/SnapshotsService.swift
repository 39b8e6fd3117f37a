import ContainerdAPI
import DaemonSupport
import GRPCCore
import LayerModel
import Logging
import SwiftProtobuf

/// `containerd.services.snapshots.v1.Snapshots`: messages to operations and back.
struct SnapshotsService: Containerd_Services_Snapshots_V1_Snapshots.SimpleServiceProtocol {
    let snapshotters: SnapshotterSet
    let metrics: CallMetrics
    let logger: Logger

    /// Infos in one message of List; containerd's own number.
    private static let block = 100

    private func call<Answer>(_ name: String, _ body: () async throws -> Answer) async throws -> Answer {
        try await metrics.measure("snapshots." + name) {
            do {
                return try await answering(name, body)
            } catch let error as RPCError {
                let level: Logger.Level =
                    [.internalError, .dataLoss, .resourceExhausted].contains(error.code) ? .error : .debug
                logger.log(level: level, "\(name): \(error.message)")
                throw error
            }
        }
    }

    func prepare(
        request: Containerd_Services_Snapshots_V1_PrepareSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_PrepareSnapshotResponse {
        try await call("Prepare") {
            let snapshotter = try await snapshotters.snapshotter(named: request.snapshotter)
            let mounts = try await snapshotter.create(
                .active, key: request.key, parent: request.parent, labels: request.labels)
            return .with { $0.mounts = mounts.map(Containerd_Types_Mount.init) }
        }
    }

    func view(
        request: Containerd_Services_Snapshots_V1_ViewSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_ViewSnapshotResponse {
        try await call("View") {
            let snapshotter = try await snapshotters.snapshotter(named: request.snapshotter)
            let mounts = try await snapshotter.create(
                .view, key: request.key, parent: request.parent, labels: request.labels)
            return .with { $0.mounts = mounts.map(Containerd_Types_Mount.init) }
        }
    }

    func mounts(
        request: Containerd_Services_Snapshots_V1_MountsRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_MountsResponse {
        try await call("Mounts") {
            let mounts = try await snapshotters.snapshotter(named: request.snapshotter).mounts(key: request.key)
            return .with { $0.mounts = mounts.map(Containerd_Types_Mount.init) }
        }
    }

    func commit(
        request: Containerd_Services_Snapshots_V1_CommitSnapshotRequest, context: ServerContext
    ) async throws -> SwiftProtobuf.Google_Protobuf_Empty {
        try await call("Commit") {
            let snapshotter = try await snapshotters.snapshotter(named: request.snapshotter)
            try await snapshotter.commit(
                name: request.name, key: request.key, parent: request.parent, labels: request.labels, context)
            return SwiftProtobuf.Google_Protobuf_Empty()
        }
    }

    func remove(
        request: Containerd_Services_Snapshots_V1_RemoveSnapshotRequest, context: ServerContext
    ) async throws -> SwiftProtobuf.Google_Protobuf_Empty {
        try await call("Remove") {
            try await snapshotters.snapshotter(named: request.snapshotter).remove(key: request.key)
            return SwiftProtobuf.Google_Protobuf_Empty()
        }
    }

    func stat(
        request: Containerd_Services_Snapshots_V1_StatSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_StatSnapshotResponse {
        try await call("Stat") {
            let info = try await snapshotters.snapshotter(named: request.snapshotter).stat(key: request.key)
            return .with { $0.info = Containerd_Services_Snapshots_V1_Info(info) }
        }
    }

    func update(
        request: Containerd_Services_Snapshots_V1_UpdateSnapshotRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_UpdateSnapshotResponse {
        try await call("Update") {
            let snapshotter = try await snapshotters.snapshotter(named: request.snapshotter)
            let info = try await snapshotter.update(
                name: request.info.name, labels: request.info.labels, paths: request.updateMask.paths)
            return .with { $0.info = Containerd_Services_Snapshots_V1_Info(info) }
        }
    }

    func list(
        request: Containerd_Services_Snapshots_V1_ListSnapshotsRequest,
        response: RPCWriter<Containerd_Services_Snapshots_V1_ListSnapshotsResponse>, context: ServerContext
    ) async throws {
        try await call("List") {
            let filter = try SnapshotFilter(request.filters)
            let infos = try await snapshotters.snapshotter(named: request.snapshotter).list(filter, context)
            for start in stride(from: 0, to: infos.count, by: Self.block) {
                if context.cancellation.isCancelled { throw CancellationError() }
                let block = infos[start..<min(start + Self.block, infos.count)]
                let message = Containerd_Services_Snapshots_V1_ListSnapshotsResponse.with {
                    $0.info = block.map(Containerd_Services_Snapshots_V1_Info.init)
                }
                // It fails only where nobody is there any more to be told.
                do { try await response.write(message) } catch { throw CancellationError() }
            }
        }
    }

    func usage(
        request: Containerd_Services_Snapshots_V1_UsageRequest, context: ServerContext
    ) async throws -> Containerd_Services_Snapshots_V1_UsageResponse {
        try await call("Usage") {
            let snapshotter = try await snapshotters.snapshotter(named: request.snapshotter)
            let usage = try await snapshotter.usage(key: request.key, context)
            return .with {
                $0.size = usage.size
                $0.inodes = usage.inodes
            }
        }
    }

    func cleanup(
        request: Containerd_Services_Snapshots_V1_CleanupRequest, context: ServerContext
    ) async throws -> SwiftProtobuf.Google_Protobuf_Empty {
        try await call("Cleanup") {
            try await snapshotters.snapshotter(named: request.snapshotter).cleanUp()
            return SwiftProtobuf.Google_Protobuf_Empty()
        }
    }
}

extension Containerd_Types_Mount {
    init(_ mount: MountSpec) {
        self.init()
        type = mount.type
        source = mount.source
        target = mount.target
        options = mount.options
    }
}

extension Containerd_Services_Snapshots_V1_Info {
    init(_ info: SnapshotInfo) {
        self.init()
        name = info.record.name
        parent = info.parent
        kind =
            switch info.record.kind {
            case .view: .view
            case .active: .active
            case .committed: .committed
            }
        createdAt = SwiftProtobuf.Google_Protobuf_Timestamp(nanoseconds: info.record.created)
        updatedAt = SwiftProtobuf.Google_Protobuf_Timestamp(nanoseconds: info.record.updated)
        labels = info.labels
    }
}

extension SwiftProtobuf.Google_Protobuf_Timestamp {
    /// A time given in nanoseconds since 1970, which is not before it.
    init(nanoseconds: Int64) {
        self.init(seconds: nanoseconds / 1_000_000_000, nanos: Int32(nanoseconds % 1_000_000_000))
    }
}
