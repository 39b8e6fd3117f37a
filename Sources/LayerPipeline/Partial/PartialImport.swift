import LayerCompression
import LayerEngine
package import LayerFormats
package import LayerModel
import LinuxIO
import Synchronization

/// Parts of a layer that lies elsewhere: behind an HTTP server, for instance.
package protocol LayerRanges: Sendable {
    /// Bytes of the layer.
    var byteCount: UInt64 { get }

    /// Reads these ranges, which are sorted and apart, and calls `body` with their bytes and where they lie, in any order and
    /// any pieces. All of them must have come when it returns.
    func read(
        _ ranges: [Range<UInt64>], _ body: (UInt64, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError)
}

/// What a partial apply is told beside what every apply is told.
package struct PartialImportOptions: Sendable {
    /// What proves the layer.
    package enum Proof: String, Sendable, CaseIterable {
        /// The DiffID of the tar that is put together.
        case diffid
        /// The digest of the table of contents alone.
        case index
    }

    /// The annotations of the layer's descriptor.
    package var annotations: [IndexAnnotation]
    /// Directories whose files may be used.
    package var reuse: [PathBytes] = []
    /// Where digests of those files are kept.
    package var index: ContentsIndex?
    package var proof = Proof.diffid

    package init(_ annotations: [IndexAnnotation]) { self.annotations = annotations }
}

/// What a partial apply did beside what every apply does.
package struct PartialImportReport: Sendable {
    package var counts = PartialCounts()
    /// Places that did not hold what they promised; where there were any, nothing was reused in the end.
    package var reuseRejected = 0
    /// Why the layer was read as a whole; nil if it was not.
    package var whole: WholeLayerReason?
}

/// Unpacks a layer of which only parts are read: what is here already is taken from here.
package enum PartialImport {
    /// Calls `apply` with the input that the layer is read from; again, with another, if what was reused was not what it
    /// promised.
    ///
    /// `ranges` is where the layer lies; its parts go into a file without a name, in `scratch`.
    package static func run<Result>(
        _ ranges: any LayerRanges, scratch: PathBytes, partial: PartialImportOptions, options: LayerImportOptions,
        _ apply: (LayerInput, LayerImportOptions) throws(LayerError) -> Result
    ) throws(LayerError) -> (Result, PartialImportReport) {
        let spool = try FetchedRanges(ranges, scratch)
        var whole: WholeLayerReason?
        switch try PartialLayer.prospect(partial.annotations, size: ranges.byteCount) {
        case .failure(let reason): whole = reason
        case .success(let places):
            try spool.fetch([
                places.table.offset..<places.table.offset + places.table.byteCount,
                places.tarSplit.offset..<places.tarSplit.offset + places.tarSplit.byteCount,
            ])
        }
        if options.expectedDigest != nil { whole = WholeLayerReason.expectsDigest }
        guard whole == nil else {
            try spool.fetch([0..<ranges.byteCount])
            return try run(whole: whole, spool.file, spool.input, options, apply)
        }
        return try run(spool.file, spool.input, partial, options, spool, called: PathBytes("the layer's source"), apply)
    }

    /// The same for a layer in a file.
    package static func run<Result>(
        _ layer: PathBytes, partial: PartialImportOptions, options: LayerImportOptions,
        _ apply: (LayerInput, LayerImportOptions) throws(LayerError) -> Result
    ) throws(LayerError) -> (Result, PartialImportReport) {
        let file = SharedDescriptor(
            try attempt("open", layer) { () throws(SystemCallError) in try layer.open(.readOnly) })
        let result: (Result, PartialImportReport)
        do throws(LayerError) {
            if options.expectedDigest != nil {
                result = try run(whole: .expectsDigest, file, .file(layer), options, apply)
            } else {
                result = try run(file, .file(layer), partial, options, nil, called: layer, apply)
            }
        } catch {
            var named = error
            if named.path == nil, error.code != .cancelled { named.path = layer }
            throw named
        }
        return result
    }

    private static func run<Result>(
        _ file: SharedDescriptor, _ input: LayerInput, _ partial: PartialImportOptions, _ options: LayerImportOptions,
        _ spool: FetchedRanges?, called path: PathBytes,
        _ apply: (LayerInput, LayerImportOptions) throws(LayerError) -> Result
    ) throws(LayerError) -> (Result, PartialImportReport) {
        let cancel = options.interruption.flag
        let layer: PartialLayer
        switch try PartialLayer.read(file, annotations: partial.annotations, cancel: cancel) {
        case .failure(let reason):
            try spool?.fetch([0..<(spool?.byteCount ?? 0)])
            return try run(whole: reason, file, input, options, apply)
        case .success(let found): layer = found
        }
        guard options.expectedDiffID != nil || partial.proof == .index else {
            throw LayerError(
                .invalidArgument, "apply in parts", cause: .reason("nothing says what the layer's tar must be"),
                hint: "give its DiffID with --expect-diff-id, or trust the table of contents with --verify index")
        }
        var reuse: ReuseDirectories?
        if !partial.reuse.isEmpty {
            reuse = try ReuseDirectories(
                for: layer, in: partial.reuse, index: partial.index, workers: options.apply.workers, cancel: cancel)
            try partial.index?.save()
        }
        var told = options
        told.format = LayerFormat.none
        options.progress.inputTotal.store(layer.byteCount, ordering: .relaxed)
        var report = PartialImportReport()
        var attempts: [ReuseDirectories?] = [reuse]
        if reuse != nil { attempts.append(nil) }
        for (number, contents) in attempts.enumerated() {
            let source = try PartialSource(
                layer, called: path, reuse: contents, workers: WorkerPool(count: options.apply.workers).count,
                cancel: cancel,
                fetch: spool?.fetching)
            do throws(LayerError) {
                let result = try apply(.foreign(source), told)
                report.counts = source.counts
                report.reuseRejected = reuse?.rejected ?? 0
                if number > 0, report.reuseRejected == 0 { report.reuseRejected = 1 }
                return (result, report)
            } catch {
                // Where nothing was reused nothing can be blamed on it.
                guard number + 1 < attempts.count, error.code == .digestMismatch, source.counts.reusedBytes > 0 else {
                    throw error
                }
            }
        }
        preconditionFailure("the last attempt throws")
    }

    private static func run<Result>(
        whole: WholeLayerReason?, _ file: SharedDescriptor, _ input: LayerInput, _ options: LayerImportOptions,
        _ apply: (LayerInput, LayerImportOptions) throws(LayerError) -> Result
    ) throws(LayerError) -> (Result, PartialImportReport) {
        let result = try apply(input, options)
        var report = PartialImportReport()
        report.whole = whole
        report.counts.fetchedBytes = UInt64(
            max(0, (try? file.descriptor.metadata().size) ?? 0))
        return (result, report)
    }
}

/// Parts of a layer that were fetched, in a file without a name, each where it lies in the layer.
private final class FetchedRanges: Sendable {
    let file: SharedDescriptor
    let byteCount: UInt64
    /// All of it, once it was fetched.
    var input: LayerInput { .descriptor(file.descriptor.number) }
    private let ranges: any LayerRanges
    private let scratch: PathBytes

    var fetching: @Sendable ([Range<UInt64>]) throws(LayerError) -> Void {
        { (ranges) throws(LayerError) in try self.fetch(ranges) }
    }

    /// So many ranges in one request, and so many bytes between two that are fetched along.
    private static let mostRanges = 1024
    private static let gap: UInt64 = 1024

    init(_ ranges: any LayerRanges, _ scratch: PathBytes) throws(LayerError) {
        self.ranges = ranges
        self.scratch = scratch
        byteCount = ranges.byteCount
        let size = Int64(clamping: byteCount)
        let file = try attempt("make a scratch file in", scratch) { () throws(SystemCallError) in
            let file = try scratch.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.unnamed, .readWrite], mode: 0o600)
            }
            try file.truncate(to: size)
            return file
        }
        self.file = SharedDescriptor(file)
    }

    func fetch(_ wanted: [Range<UInt64>]) throws(LayerError) {
        var left = RangePlan.merged(wanted, gap: Self.gap)[...]
        while !left.isEmpty {
            let now = Array(left.prefix(Self.mostRanges))
            left = left.dropFirst(Self.mostRanges)
            var coverage = RangeCoverage(now)
            try ranges.read(now) { (offset, bytes) throws(LayerError) in
                coverage.add(offset..<offset + UInt64(bytes.byteCount))
                try attempt("write a scratch file in", scratch) { () throws(SystemCallError) in
                    try file.descriptor.writeAll(bytes, at: Int64(clamping: offset))
                }
            }
            guard coverage.isComplete else {
                throw LayerError(.io, "fetch parts of the layer", cause: .reason("not all that was asked for came"))
            }
        }
    }
}

extension WholeLayerReason {
    /// What a digest is of.
    fileprivate static let expectsDigest = WholeLayerReason(
        "the digest of all its bytes is to be checked, so they are all read")
}
