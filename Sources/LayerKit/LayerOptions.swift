import LayerCompression
import LayerEngine
public import LayerModel
import LayerPipeline
import LinuxIO

/// How a layer is written.
public struct LayerWriteOptions: Sendable {
    /// How the bytes of a layer are compressed on their way out.
    public struct Compression: Sendable, Equatable {
        let format: LayerFormat
        let level: Int?

        /// The tar as it is.
        public static let none = Compression(format: .none, level: nil)
        /// gzip, on all cores. The bytes depend on the level alone; nil is the fastest that pays.
        public static func gzip(level: Int? = nil) -> Compression { Compression(format: .gzip, level: level) }
        /// zstd, on all cores; nil is level 3.
        public static func zstd(level: Int? = nil) -> Compression { Compression(format: .zstd, level: level) }
    }

    /// How the bytes are compressed on their way out.
    public var compression = Compression.none
    /// Whose bytes the tar equals: ldiff's own, Docker's, containerd's.
    public var profile = LayerProfile.full
    /// Compute the DiffID and the digest of what is written. Hashing takes longer than the rest: off where nobody asks.
    public var digests = true
    /// Ids of files as a container sees them are in the layer. A store has maps of its own, and these are not used there.
    public var uidMap = IDMap.identity
    /// The same for groups.
    public var gidMap = IDMap.identity
    /// Leave out, and count, what may not be read, instead of failing.
    public var skipsUnreadable = false
    /// Which paths the layer holds; nil for all.
    public var filter: LayerFilter?
    /// Latest time of an entry, in seconds since 1970 (SOURCE_DATE_EPOCH), for the profile `containerd`.
    public var sourceDateEpoch: Int64?
    /// Where the layer's tar-split metadata goes, from which `LayerTree.assembleLayer` rebuilds the tar; a file or descriptor.
    public var tarSplit: LayerOutput?
    /// With how many threads and by which calls; how far it is; how to stop it.
    public var control: LayerControl

    /// The tar as it is, with digests.
    public init(control: LayerControl = LayerControl()) { self.control = control }

    var export: LayerExportOptions {
        var export = LayerExportOptions()
        export.compression = compression.format
        export.level = compression.level
        export.digests = digests
        export.compressionWorkers = control.workers
        export.diff.profile = profile
        export.diff.uidMap = uidMap
        export.diff.gidMap = gidMap
        export.diff.skipUnreadable = skipsUnreadable
        export.diff.sourceDateEpoch = sourceDateEpoch
        return export
    }
}

/// How a layer is applied.
public struct LayerApplyOptions: Sendable {
    /// The digest that the bytes must have as they are read.
    public var expectedDigest: Digest?
    /// The digest that the uncompressed tar must have.
    public var expectedDiffID: Digest?
    /// Compute both digests even where none is expected.
    public var digests = false
    /// Ids of the layer become ids of the host. A store has maps of its own, and these are not used there.
    public var uidMap = IDMap.identity
    /// The same for groups.
    public var gidMap = IDMap.identity
    /// Attributes and owners that cannot be set are warnings only, as for a user who is not root.
    public var bestEffort = false
    /// Which entries of the layer are applied; nil for all. Digests are those of the whole layer all the same; with `tarSplit`
    /// it is an error.
    public var filter: LayerFilter?
    /// The most bytes that all files together may have, holes included; nil for no limit.
    public var maxBytes: UInt64?
    /// Wait until all of it is on the disk. A store has a setting of its own.
    public var syncs = false
    /// Where the layer's tar-split metadata goes; a file or descriptor.
    public var tarSplit: LayerOutput?
    /// With how many threads and by which calls; how far it is; how to stop it.
    public var control: LayerControl

    /// Everything the layer says, or an error.
    public init(control: LayerControl = LayerControl()) { self.control = control }

    /// With the counters of a job that begins.
    func begin() -> LayerImportOptions {
        var options = LayerImportOptions()
        options.apply.uidMap = uidMap
        options.apply.gidMap = gidMap
        options.apply.bestEffort = bestEffort
        options.apply.filter = filter
        options.apply.maxBytes = maxBytes
        options.apply.sync = syncs ? .syncfs : .none
        options.apply.workers = control.workers
        options.apply.io = control.io
        options.digests = digests
        options.expectedDigest = expectedDigest
        options.expectedDiffID = expectedDiffID
        options.interruption = control.interruption
        options.progress = control.beginReading()
        return options
    }
}

/// How changes are listed, or a size told.
public struct LayerLookOptions: Sendable {
    /// Whose rules say what has changed.
    public var profile = LayerProfile.full
    /// Which paths are looked at; nil for all.
    public var filter: LayerFilter?
    /// Leave out, and count, what may not be read, instead of failing.
    public var skipsUnreadable = false
    /// With how many threads and by which calls; how far it is; how to stop it.
    public var control: LayerControl

    /// By ldiff's own rules.
    public init(control: LayerControl = LayerControl()) { self.control = control }
}
