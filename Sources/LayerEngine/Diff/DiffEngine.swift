public import LayerModel
import LinuxIO

/// Layers out: the archive of a difference, its list of changes, its size.
public enum DiffEngine {
    /// Writes the layer that turns the lower trees into the upper one, an uncompressed tar stream, into `sink`.
    ///
    /// The bytes depend on the trees and the options only, never on the number of workers or on timing. `sink` is
    /// not finished; that is its owner's part. After an error the sink holds an incomplete layer.
    public static func write<Sink: ByteSink & ~Copyable>(
        _ source: SourceOptions, options: DiffOptions, into sink: inout Sink
    ) throws(LayerError) -> DiffReport {
        var rules = ProfileRules(options)
        if source.lowers.isEmpty { rules.opaqueNeedsLower = false }
        if let contents = source.contents { rules.equality.contents = contents }
        let walk = try WalkPlan(
            purpose: purpose(source, options.profile), source: source, equality: rules.equality,
            skipUnreadable: options.skipUnreadable, failsOnVanished: options.vanished == .fail,
            opaqueNeedsLower: rules.opaqueNeedsLower,
            reservedNames: options.reservedNames == .fail ? .refused : rules.keepsReservedNames ? .kept : .leftOut)
        let job = try ExportJob(walk: walk, rules: rules, options: options)
        var writer = LayerWriter<Sink>(job, cancel: source.cancel, progress: source.progress)
        let root = try options.isExact && !options.leavesOutRoot ? RootEntry.blocks(of: source, rules, options) : []
        if !root.isEmpty { try sink.write(root.rawBytes) }
        let tally = try writer.run(workers: source.workers, into: &sink)
        let walked = tally.walk
        var report = DiffReport()
        report.entries = tally.entries
        report.newestTime = tally.newestTime == .min ? nil : tally.newestTime
        report.bytes = writer.bytes + UInt64(root.count)
        report.size = job.contentBytes
        report.skippedSockets = job.skippedSockets
        report.reservedNames = walked.reservedNames
        report.skippedUnreadable = walked.skippedUnreadable + tally.skippedUnreadable
        report.skippedVanished = tally.skippedVanished
        report.warnings = walked.warnings + tally.warnings
        report.leftOutAttributes = tally.leftOutAttributes
        report.unwritableAttributes = tally.unwritableAttributes
        report.indexedFiles = walked.indexed.count
        if let warning = walked.indexed.warning { report.warnings.append(warning) }
        report.sawRedirect = walked.sawRedirect || tally.sawRedirect
        report.io = walked.io
        report.io.add(tally.io)
        return report
    }

    /// What the walk of an export is for: the upper directory as it is, or a comparison.
    private static func purpose(_ source: SourceOptions, _ profile: LayerProfile) -> WalkPurpose {
        if source.base != nil { return .difference }
        if source.lowers.isEmpty { return .export }
        // containerd and BuildKit export what a comparison finds; Docker's family takes the upper directory itself.
        return source.dialect.name == .tree || profile == .containerd ? .difference : .export
    }

    /// Lists what changed, sorted by the bytes of whole paths; `body` gets the kind and the path with its leading
    /// slash, valid during the call.
    ///
    /// With `contentCheck`, contents decide where times are coarse; the source's `contents`, if given, says it more
    /// exactly. Without either, metadata decide alone, as in Docker.
    public static func changes(
        _ source: SourceOptions, profile: LayerProfile = .full, contentCheck: Bool = false,
        skipUnreadable: Bool = false, _ body: (ChangeKind, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) -> ChangesReport {
        var equality = ProfileRules(profile).equality
        equality.contents = source.contents ?? (contentCheck ? .coarseTimes : .never)
        equality.keepsUnmodifiedLinks = false
        let walk = try WalkPlan(
            purpose: .changes, source: source, equality: equality, skipUnreadable: skipUnreadable)
        let walked = try TreeWalk.run(walk, workers: source.workers)
        var report = ChangesReport()
        report.io = walked.io
        report.warnings = walked.warnings
        report.indexedFiles = walked.indexed.count
        if let warning = walked.indexed.warning { report.warnings.append(warning) }
        report.skippedUnreadable = walked.skippedUnreadable
        report.reservedNames = walked.reservedNames
        report.sawRedirect = walked.sawRedirect
        try list(walk.store, &report, body)
        return report
    }

    private static func list(
        _ store: TreeStore, _ report: inout ChangesReport, _ body: (ChangeKind, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) {
        var entries = OrderedEntries(store, order: .wholePath)
        var path: [UInt8] = [UInt8(ascii: "/")]
        var prefixLength = 1
        var current: UInt32 = 0
        let names = store.names
        while let (index, directory) = entries.next() {
            let entry = store.entries[Int(index)]
            var kind = entry.change
            if entry.kind == .directory, entry.directory != noIndex {
                if kind == .unmodified, store.directories[Int(entry.directory)].flags.contains(.changed) {
                    kind = .modified
                }
                if kind != .unmodified { entries.descend(index) }
            }
            if directory != current {
                path.removeLast(path.count - 1)
                store.appendPath(of: directory, to: &path)
                prefixLength = path.count
                current = directory
            }
            path.removeLast(path.count - prefixLength)
            SegmentEncoder.appendName(names[entry.name], to: &path)
            switch kind {
            case .added: report.added += 1
            case .modified: report.modified += 1
            case .deleted: report.deleted += 1
            case .unmodified: continue
            }
            try body(kind, path.rawBytes)
        }
    }

    /// Adds up the size of the difference.
    ///
    /// Of an upper directory, or of a tree without a lower one, everything counts, as in Docker's overlay2; of two
    /// trees, what was added or modified, which `profile` decides.
    public static func size(_ source: SourceOptions, profile: LayerProfile = .full, skipUnreadable: Bool = false)
        throws(LayerError) -> SizeReport
    {
        let comparesTrees = source.base != nil || source.dialect.name == .tree && !source.lowers.isEmpty
        var source = source
        if !comparesTrees { source.lowers = [] }
        var equality = ProfileRules(profile).equality
        equality.keepsUnmodifiedLinks = false
        if let contents = source.contents { equality.contents = contents }
        let walk = try WalkPlan(
            purpose: comparesTrees ? .difference : .size, source: source, equality: equality,
            skipUnreadable: skipUnreadable)
        var walked = try TreeWalk.run(walk, workers: source.workers)
        if comparesTrees { addChanges(walk.store, &walked.sums) }
        walked.sums.countLinked()
        var report = SizeReport()
        report.bytes = walked.sums.apparent
        report.apparent = walked.sums.apparent
        report.allocated = walked.sums.allocated
        report.headerSum = walked.sums.headerSum
        report.entries = walked.sums.entries
        report.inodes = walked.sums.inodes
        report.skippedUnreadable = walked.skippedUnreadable
        report.warnings = walked.warnings
        report.io = walked.io
        return report
    }

    private static func addChanges(_ store: TreeStore, _ sums: inout SizeSums) {
        for index in 0..<store.directories.count {
            let record = store.directories[index]
            for entry in Int(record.first)..<Int(record.first) + Int(record.count) {
                let entry = store.entries[entry]
                if entry.change == .added || entry.change == .modified { sums.add(entry.metadata) }
            }
        }
    }
}

extension EntryRecord {
    /// What the record keeps of the inode. Allocated blocks are not kept.
    var metadata: EntryMetadata {
        var metadata = EntryMetadata()
        metadata.inode = inode
        metadata.device = device
        metadata.size = size
        metadata.blocks = (UInt64(max(size, 0)) + 511) / 512
        metadata.mode = mode
        metadata.linkCount = linkCount
        return metadata
    }
}
