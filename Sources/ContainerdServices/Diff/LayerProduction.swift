import LayerCompression
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
        switch try DiffPlan(left: left, right: right) {
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
        var options = LayerExportOptions()
        options.compression = format
        options.indexed = indexed.map { IndexedLayerOptions($0) }
        options.digests = true
        options.diff.profile = .containerd
        options.diff.sourceDateEpoch = sourceDateEpoch
        return try LayerExport.write(layerOf: source, into: PieceSink(queue), options: options)
    }
}
