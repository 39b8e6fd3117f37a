import LayerCompression
import LayerDrivers
import LayerEngine
import LayerModel
import LayerMounts
import LayerPipeline
import LinuxIO

/// What was unpacked.
struct UnpackedLayer: Sendable {
    /// Of the whole uncompressed stream, with whatever followed the archive's end.
    var diffID: Digest
    var byteCount: UInt64
    var report: ApplyReport
    /// Allocated bytes and inodes of the directory, for a snapshot of ours.
    var usage: SnapshotUsage?
}

/// Unpacks one blob. Blocks: it runs on a thread of its own.
struct LayerUnpacking: Sendable {
    var blob: OpenBlob
    /// The digest that the blob must have.
    var digest: Digest
    var reading: LayerMediaType.Reading
    var mounts: [MountSpec]
    var snapshots: (any SnapshotLookup)?
    /// Where mounts are made when there is no other way.
    var mountDirectory: PathBytes
    var workers: Int?
    var syncs: Bool

    /// Unpacks all of it. The digests are known to be right when this returns; after an error the target is as far as the
    /// stream had come, and the client throws it away.
    func run(cancel: CancelFlag) throws(LayerError) -> UnpackedLayer {
        let plan = try ApplyPlan(mounts, snapshots: snapshots)
        var options = ApplyOptions()
        options.uidMap = plan.uidMap
        options.gidMap = plan.gidMap
        // containerd holds names that climb at the root instead of refusing the layer.
        options.lenientNames = true
        options.workers = workers
        options.sync = syncs ? .syncfs : .none
        options.cancel = cancel
        let target: PathBytes
        switch plan.place {
        case .upper(let path, let dialect, let lowers):
            options.dialect = dialect
            options.lowers = lowers
            target = path
        case .tree(let path):
            target = path
        case .mounted(let mounts):
            options.ownsMounts = true
            return try unpackMounted(mounts, options)
        }
        if let snapshot = plan.snapshot, let packed = snapshots?.packing(of: snapshot) {
            return try pack(snapshot, packed, into: target, plan, options)
        }
        var layer = try unpack(into: target, options)
        if let snapshot = plan.snapshot {
            let usage = try Self.usage(of: target, options)
            snapshots?.recordUsage(of: snapshot, size: usage.size, inodes: usage.inodes)
            layer.usage = usage
        }
        return layer
    }

    /// Packs the layer as a snapshot's contents, if nobody can have mounted those and an index can hold it; else unpacks it.
    private func pack(
        _ snapshot: OwnSnapshot, _ packed: PackedContents, into target: PathBytes, _ plan: ApplyPlan,
        _ options: ApplyOptions
    ) throws(LayerError) -> UnpackedLayer {
        // One more layer goes upon what the first one made.
        try packed.unpack(snapshot.id, lowers: snapshot.lowers, dialect: snapshot.dialect, cancel: options.cancel)
        var layer: UnpackedLayer
        let settings = settings(options)
        let isNobodyElses = SnapshotRules.isUnpacked(intoKey: snapshot.key)
        if isNobodyElses, let source = settings.source,
            let reused = try packed.reuse(snapshot.id, source, hasParent: plan.isUpper, options: options)
        {
            layer = UnpackedLayer(diffID: reused.diffID, byteCount: reused.tarBytes, report: reused.report)
        } else if isNobodyElses {
            let done = try LayerImport.apply(
                .descriptor(blob.descriptor.number), called: blob.path, as: snapshot.id, of: packed,
                hasParent: plan.isUpper, options: settings)
            layer = try unpacked(done)
        } else {
            layer = try unpack(into: target, options)
        }
        let usage: SnapshotUsage
        if try packed.view.isPacked(snapshot.id) {
            let (bytes, inodes) = try packed.view.usage(snapshot.id)
            usage = SnapshotUsage(size: bytes, inodes: inodes)
        } else {
            usage = try Self.usage(of: target, options)
        }
        snapshots?.recordUsage(of: snapshot, size: usage.size, inodes: usage.inodes)
        layer.usage = usage
        return layer
    }

    private func unpackMounted(_ mounts: [MountSpec], _ options: ApplyOptions) throws(LayerError) -> UnpackedLayer {
        try PrivateMounts.run(in: mountDirectory) { () throws(LayerError) in
            let target = mountDirectory.appending("target")
            try MountPoint.make(target)
            try SpecMount.mount(mounts, at: target, forReading: false)
            return try unpack(into: target, options)
        }
    }

    private func unpack(into target: PathBytes, _ options: ApplyOptions) throws(LayerError) -> UnpackedLayer {
        let root = try attempt("open the directory to unpack into", target) { () throws(SystemCallError) in
            try target.open([.readOnly, .directory])
        }
        return try unpacked(
            LayerImport.apply(
                .descriptor(blob.descriptor.number), called: blob.path, into: root, options: settings(options)))
    }

    private func settings(_ options: ApplyOptions) -> LayerImportOptions {
        var settings = LayerImportOptions()
        settings.apply = options
        settings.digests = true
        settings.expectedDigest = digest
        settings.format = reading == .plain ? LayerFormat.none : nil
        settings.interruption = Interruption(options.cancel)
        return settings
    }

    private func unpacked(_ done: LayerImportReport) throws(LayerError) -> UnpackedLayer {
        guard let diffID = done.stream.diffID else { preconditionFailure("digests were asked for") }
        return UnpackedLayer(diffID: diffID, byteCount: done.stream.uncompressedBytes, report: done.layer)
    }

    /// What containerd's `du` would say. Counted now, since containerd waits with a lock of its own during Commit.
    private static func usage(of directory: PathBytes, _ options: ApplyOptions) throws(LayerError) -> SnapshotUsage {
        var source = SourceOptions(upper: directory)
        source.dialect = options.dialect
        source.workers = options.workers
        source.cancel = options.cancel
        let size = try LayerDifference.size(source)
        return SnapshotUsage(size: Int64(clamping: size.allocated), inodes: Int64(clamping: size.inodes))
    }
}

/// Directories in the private file system to mount at.
enum MountPoint {
    static func make(_ path: PathBytes) throws(LayerError) {
        try attempt("make a mount point at", path) { () throws(SystemCallError) in
            try path.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(NamePointer("/"), [.pathOnly, .directory]).makeDirectory(name, mode: 0o700)
            }
        }
    }
}
