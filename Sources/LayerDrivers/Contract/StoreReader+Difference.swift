public import LayerEngine
public import LayerModel
public import LinuxIO

/// How one of the four difference operations runs.
public struct DifferenceOptions: Sendable {
    public var diff: DiffOptions
    /// Which paths count; nil for all.
    public var filter: LayerFilter?
    public var cancel: CancelFlag
    public var progress: Progress?

    public init() {
        diff = DiffOptions()
        filter = nil
        cancel = CancelFlag()
        progress = nil
    }
}

extension StoreReader {
    /// Writes the layer that turns `parent` (any ancestor; nil: nothing) into `id`, an uncompressed tar, into `sink`.
    ///
    /// Nothing is written before both layers are known to exist. `sink` is not finished. After an error, which is never
    /// swallowed (K3), the sink holds an incomplete layer.
    public func diff<Sink: ByteSink & ~Copyable>(
        _ id: LayerID, since parent: LayerID?, options: DifferenceOptions = DifferenceOptions(), into sink: inout Sink
    ) throws(LayerError) -> DiffReport {
        if options.mayBeStored, let stored = try storedStream(of: id, since: parent), !stored.isMadeHere {
            return try stored.write(into: &sink, cancel: options.cancel, progress: options.progress)
        }
        var source = try changeSource(of: id, since: parent)
        source.take(options)
        var diff = options.diff
        diff.uidMap = configuration.uidMap
        diff.gidMap = configuration.gidMap
        source.compareContents()
        let read = try ReadDirectories("write the layer", source.trees)
        let report = try DiffEngine.write(source.trees, options: diff, into: &sink)
        try read.check(source)
        _ = consume source
        return report
    }

    /// Calls `body` with each change between `parent` and `id`, sorted by path bytes; a path begins with a slash and is
    /// valid during the call. The root itself is never listed.
    @discardableResult
    public func changes(
        _ id: LayerID, since parent: LayerID?, options: DifferenceOptions = DifferenceOptions(),
        _ body: (ChangeKind, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) -> ChangesReport {
        var source = try changeSource(of: id, since: parent)
        source.take(options)
        source.compareContents()
        let read = try ReadDirectories("list the changes", source.trees)
        let report = try DiffEngine.changes(
            source.trees, profile: options.diff.profile, skipUnreadable: options.diff.skipUnreadable, body)
        try read.check(source)
        _ = consume source
        return report
    }

    /// The bytes of the difference between `parent` and `id`: what lies in the layer's own directory where that tells
    /// it, else the files that were added or modified.
    ///
    /// A layer that ldiff applied and nobody has written to since is answered from its record.
    public func diffSize(
        _ id: LayerID, since parent: LayerID?, options: DifferenceOptions = DifferenceOptions()
    ) throws(LayerError) -> UInt64 {
        if options.countsAll, let recorded = recordedSize(of: id, since: parent) { return recorded.byteCount }
        return try sizeSource(of: id, since: parent).count(options).bytes
    }
}

extension DifferenceOptions {
    /// Whether the layer's own tar is as good as one that is made: nothing is left out, no time is changed, and nothing is asked
    /// for that only this program puts into a layer.
    fileprivate var mayBeStored: Bool {
        (filter?.isEmpty ?? true) && !diff.isExact && !diff.namesOnce && !diff.clampsTimes
            && diff.sourceDateEpoch == nil
    }

    /// Whether what is counted is what the layer counts as: nothing is left out, and nobody else's rules are asked for.
    var countsAll: Bool { (filter?.isEmpty ?? true) && diff.profile == .full }
}

extension ChangeSource {
    /// Takes what the options say of the walk.
    mutating func take(_ options: DifferenceOptions) {
        trees.cancel = options.cancel
        trees.progress = options.progress
        trees.filter = options.filter
    }

    /// Adds up the difference, and lets go of what was mounted for it.
    consuming func count(_ options: DifferenceOptions) throws(LayerError) -> SizeReport {
        take(options)
        let read = try ReadDirectories("measure the layer", trees)
        let report = try DiffEngine.size(
            trees, profile: options.diff.profile, skipUnreadable: options.diff.skipUnreadable)
        try read.check(self)
        _ = consume self
        return report
    }
}
