import LayerEngine
import LayerFormats
public import LayerModel
import LayerPipeline
public import SystemPackage

/// A layer that lies elsewhere, of which any part can be read: behind an HTTP server, in a cache.
///
/// For HTTP, ``HTTPRangeAnswer`` takes the server's answer apart.
public protocol LayerRangeSource: Sendable {
    /// Bytes of the whole layer, compressed as it is.
    var byteCount: UInt64 { get }

    /// Reads `ranges`, at most 1,024 that are sorted and do not touch, and calls `body` with their bytes and where those lie in
    /// the layer: in any order, in pieces of any size, all of them before it returns.
    ///
    /// Called by one thread at a time. What it throws ends the job and is its error, in the words of `LayerError` if it is none.
    func read(_ ranges: [Range<UInt64>], _ body: (_ offset: UInt64, _ bytes: RawSpan) throws -> Void) throws
}

/// A layer that can be read in parts (zstd:chunked), with what is here of it already.
public struct LayerParts: Sendable {
    let ranges: any LayerRangeSource
    let annotations: [IndexAnnotation]

    /// Directories whose files are used where the layer has the same.
    public var reuse: [FilePath] = []
    /// A directory for parts that were fetched, in a file without a name.
    public var scratch = FilePath("/var/tmp")

    /// The layer that `ranges` reads, with the annotations of its descriptor: those of the image's manifest, on whose digest
    /// they hang.
    public init(_ ranges: any LayerRangeSource, annotations: [String: String]) {
        self.ranges = ranges
        self.annotations = annotations.map { IndexAnnotation($0.key, $0.value) }
    }
}

extension LayerTree {
    /// Applies a layer of which only those parts are read that are not here yet.
    ///
    /// The tar that is put together must have `options.expectedDiffID`, without which this throws `invalidArgument`: it is
    /// hashed while it is unpacked. What was reused and is not what it was costs a second attempt, without reuse. A layer
    /// without an index that could be proved is read as a whole; so is one whose digest is expected.
    @discardableResult
    public func apply(_ parts: LayerParts, options: LayerApplyOptions = LayerApplyOptions())
        throws(LayerError) -> LayerApplyReport
    {
        var settings = options.begin()
        settings.apply.dialect = dialect
        if dialect.name != .tree { settings.apply.lowers = lowers.map { PathBytes($0) } }
        var partial = PartialImportOptions(parts.annotations)
        partial.reuse = parts.reuse.map { PathBytes($0) }
        let (report, _) = try PartialImport.run(
            RangeAdapter(base: parts.ranges), scratch: PathBytes(parts.scratch), partial: partial, options: settings
        ) { (input, settings) throws(LayerError) in
            try LayerImport.apply(
                input, to: PathBytes(directory), tarSplit: try metadataFile(options.tarSplit), options: settings)
        }
        return LayerApplyReport(
            report.layer, report.stream, contentBytes: report.layer.size, isNew: report.createdRoot)
    }
}

/// A caller's source as the pipeline sees it.
private struct RangeAdapter: LayerRanges {
    let base: any LayerRangeSource

    var byteCount: UInt64 { base.byteCount }

    func read(
        _ ranges: [Range<UInt64>], _ body: (UInt64, RawSpan) throws(LayerError) -> Void
    ) throws(LayerError) {
        do {
            try base.read(ranges) { (offset, bytes) in try body(offset, bytes) }
        } catch {
            throw LayerError(foreign: error, "fetch parts of the layer")
        }
    }
}

/// The body of an HTTP server's answer to a request for ranges, taken apart as it comes (RFC 9110, section 14).
///
/// Servers may answer with the parts in any order, with several joined to one, with a single part, or with everything (200).
public struct HTTPRangeAnswer: Sendable {
    private var answer: RangeAnswer

    /// Looks at the head of the answer to a request for `ranges`. Throws `io` for a status that brings no bytes: 416, 404.
    public init(status: Int, contentType: String?, contentRange: String?, ranges: [Range<UInt64>])
        throws(LayerError)
    {
        answer = try RangeAnswer(status: status, contentType: contentType, contentRange: contentRange, wanted: ranges)
    }

    /// Takes the next bytes of the body; `body` gets what was asked for of them, with where it lies in the layer.
    public mutating func take(_ bytes: RawSpan, _ body: (_ offset: UInt64, _ bytes: RawSpan) throws -> Void) throws {
        try answer.take(bytes) { (offset, bytes) throws(LayerError) in
            do { try body(offset, bytes) } catch { throw LayerError(foreign: error, "fetch parts of the layer") }
        }
    }

    /// Says that the body is at its end. Throws `io` where not all that was asked for has come.
    public mutating func finish() throws(LayerError) { try answer.finish() }
}
