import LayerCompression
import LayerDrivers
import LayerEngine
import LayerFormats
import LayerModel
import LayerMounts
import LayerPipeline
import LinuxIO

/// Writes a difference into a queue of pieces. Blocks: it runs on a thread of its own.
struct LayerProduction: Sendable {
    var left: [MountSpec]
    var right: [MountSpec]
    /// Knows of snapshots of ours that have their layer's tar.
    var snapshots: (any SnapshotLookup)?
    /// `none`, `gzip` or `zstd`.
    var format: LayerFormat
    /// A layer of which parts can be read alone, where that was asked for.
    var indexed: IndexedFormat?
    /// Latest time of an entry, in seconds since 1970.
    var sourceDateEpoch: Int64?
    /// Where mounts are made when there is no other way.
    var mountDirectory: PathBytes
    var workers: Int?

    /// Writes all of it into `queue`, which it does not end.
    func run(into queue: PieceQueue, cancel: CancelFlag) throws(LayerError) -> LayerExportReport {
        let plan = try DiffPlan(left: left, right: right)
        if let stored = try stored(plan) { return try write(stored, into: queue, cancel) }
        switch plan {
        case .upper(let upper, let lowers, let dialect, let isServedByFuse):
            // A live mount keeps what was written for a while; the directory that is read here must have it.
            if isServedByFuse { try FuseOverlayServers.flush(upper: upper) }
            var source = source(upper, cancel)
            source.lowers = lowers
            source.dialect = dialect
            // Few files of an upper directory have the metadata of the one below; their contents decide.
            source.contents = .always
            return try write(source, into: queue)
        case .trees(let tree, let below):
            var source = source(tree, cancel)
            source.lowers = below.map { [$0] } ?? []
            return try write(source, into: queue)
        case .mounted(let left, let right):
            return try writeMounted(left, right, into: queue, cancel)
        }
    }

    /// The tar of the layer that the right side has on top, if that is what was asked for: the whole difference to all below it.
    private func stored(_ plan: DiffPlan) throws(LayerError) -> (stream: PackedStream, diffID: Digest)? {
        guard indexed == nil, sourceDateEpoch == nil, let snapshot = snapshots?.snapshot(for: right),
            let packed = snapshots?.packing(of: snapshot)
        else { return nil }
        let stack = (snapshot.upper.map { [$0] } ?? []) + snapshot.lowers
        switch plan {
        case .upper(let top, let below, _, _):
            guard stack == [top] + below else { return nil }
        case .trees(let top, let below):
            guard stack == [top] else { return nil }
            // What a view of nothing shows.
            if let below, try !Self.isEmpty(below) { return nil }
        case .mounted:
            return nil
        }
        return try packed.view.stream(snapshot.id)
    }

    private static func isEmpty(_ directory: PathBytes) throws(LayerError) -> Bool {
        try attempt("open", directory) { () throws(SystemCallError) in
            try TreeRemoval.isEmpty(directory.open([.readOnly, .directory]))
        }
    }

    private func write(
        _ stored: (stream: PackedStream, diffID: Digest), into queue: PieceQueue, _ cancel: CancelFlag
    ) throws(LayerError) -> LayerExportReport {
        let layer = StoredLayer(stream: stored.stream, workers: workers, cancel: cancel)
        let report = try LayerExport.write(layerOf: layer, into: PieceSink(queue), options: options)
        guard report.diffID == stored.diffID else {
            throw LayerError(
                .corruptLayer, "read the layer's tar", path: right.first.map { PathBytes($0.source) },
                cause: .reason("it has another digest than it had"), hint: "remove the image and pull it again")
        }
        return report
    }

    private func writeMounted(
        _ left: [MountSpec], _ right: [MountSpec], into queue: PieceQueue, _ cancel: CancelFlag
    ) throws(LayerError) -> LayerExportReport {
        try PrivateMounts.run(in: mountDirectory) { () throws(LayerError) in
            let (below, tree) = (mountDirectory.appending("left"), mountDirectory.appending("right"))
            try MountPoint.make(tree)
            try SpecMount.mount(right, at: tree, forReading: true)
            var source = source(tree, cancel)
            // Mounts of the call may have others of it as their targets.
            source.hasNoMounts = false
            if !left.isEmpty {
                try MountPoint.make(below)
                try SpecMount.mount(left, at: below, forReading: true)
                source.lowers = [below]
            }
            if right.last?.type == "zfs" { source.ignoredAtTop = [PathBytes(".zfs")] }
            return try write(source, into: queue)
        }
    }

    private func source(_ tree: PathBytes, _ cancel: CancelFlag) -> SourceOptions {
        var source = SourceOptions(upper: tree)
        source.hasNoMounts = true
        source.workers = workers
        source.cancel = cancel
        return source
    }

    private func write(_ source: SourceOptions, into queue: PieceQueue) throws(LayerError) -> LayerExportReport {
        try LayerExport.write(layerOf: source, into: PieceSink(queue), options: options)
    }

    private var options: LayerExportOptions {
        var options = LayerExportOptions()
        options.compression = format
        options.indexed = indexed.map { IndexedLayerOptions($0) }
        options.digests = true
        options.diff.profile = .containerd
        options.diff.sourceDateEpoch = sourceDateEpoch
        return options
    }
}

/// A layer's own tar.
private struct StoredLayer: LayerProducer {
    var stream: PackedStream
    var workers: Int?
    var cancel: CancelFlag

    func produce<Sink: ByteSink & ~Copyable>(_ options: DiffOptions, into sink: inout Sink) throws(LayerError)
        -> DiffReport
    {
        try stream.write(into: &sink, cancel: cancel)
    }
}
