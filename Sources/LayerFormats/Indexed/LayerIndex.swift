import LayerCompression
public import LayerModel
public import LinuxIO
import PlainJSON
import TarCodec

/// The index of a layer in a file: where it lies, and what its table of contents says.
public struct LayerIndex: Sendable {
    public let location: IndexLocation
    public let table: IndexTable
    /// Bytes of the layer before whatever is no tar.
    public let dataEnd: UInt64
    /// The compressed tar-split, where there is one.
    let tarSplit: IndexPlace?

    /// Reads the index of the layer in `file`.
    ///
    /// With annotations these say where it lies, and the table must have the digest that they say; without, the layer's last
    /// bytes. Throws `notFound` for a layer without index, `corruptLayer` for one whose index breaks a rule, `digestMismatch`,
    /// and `limitExceeded`.
    public static func read(
        _ file: borrowing OwnedDescriptor, annotations: [IndexAnnotation] = [], limits: IndexLimits = IndexLimits()
    ) throws(LayerError) -> LayerIndex {
        let size = UInt64(max(try metadata(file).size, 0))
        let tail = try bytes(file, at: size - min(size, UInt64(IndexLocation.tailByteCount)), size)
        let found = IndexLocation(tail: tail.rawBytes, size: size)
        switch try IndexAnnotations(annotations, layerSize: size) {
        case .none:
            guard let found else {
                throw LayerError(
                    .notFound, "read the index", cause: .reason("the layer has none"),
                    hint: "ldiff diff --compress zstd:chunked or estargz writes one")
            }
            return try read(file, found, digest: nil, size, limits)
        case .zstd(let digest, let table, let tarSplit):
            return try read(file, .zstd(table: table, tarSplit: tarSplit), digest: digest, size, limits)
        case .gzip(let digest):
            guard let found, found.format == .estargz else {
                throw TableReader.malformed("the layer does not end as its annotations say")
            }
            return try read(file, found, digest: digest, size, limits)
        }
    }

    private static func read(
        _ file: borrowing OwnedDescriptor, _ location: IndexLocation, digest: Digest?, _ size: UInt64,
        _ limits: IndexLimits
    ) throws(LayerError) -> LayerIndex {
        switch location {
        case .zstd(let table, _), .oldZstd(let table):
            var tarSplit: IndexPlace?
            if case .zstd(_, let place) = location { tarSplit = place }
            guard max(table.byteCount, tarSplit?.byteCount ?? 0) <= limits.compressedBytes,
                table.uncompressedByteCount <= limits.tableBytes
            else { throw TableReader.exceeded("it is too long") }
            // The table hangs on its digest: before that is looked at nothing is unpacked.
            if let digest { try check(digest, of: file, table) }
            let dataEnd = table.offset - min(table.offset, 8)
            let text = ZstdTable(place: table, limits: limits)
            return LayerIndex(
                location: location, table: try text.read(file, dataEnd: dataEnd), dataEnd: dataEnd, tarSplit: tarSplit)
        case .gzip(let offset), .oldGzip(let offset):
            let table = try GzipTable.read(file, offset..<size, digest: digest, limits)
            return LayerIndex(location: location, table: table, dataEnd: offset, tarSplit: nil)
        case .external:
            throw LayerError(
                .unsupported, "read the index", cause: .reason("its table of contents lies in another image"))
        }
    }

    /// Compares the digest of compressed bytes, before any of them is inflated.
    static func check(
        _ digest: Digest, of file: borrowing OwnedDescriptor, _ place: IndexPlace,
        _ what: String = "the table of contents"
    ) throws(LayerError) {
        var state = DigestState()
        var at = place.offset
        while at < place.offset + place.byteCount {
            let piece = try bytes(file, at: at, min(place.offset + place.byteCount, at + 1 << 20))
            guard !piece.isEmpty else { throw LayerError.truncated("the layer") }
            state.update(piece.rawBytes)
            at += UInt64(piece.count)
        }
        let found = state.finalize()
        guard found == digest else {
            throw LayerError(
                .digestMismatch, "read \(what)",
                cause: .reason("it has the digest \(found), not \(digest)"))
        }
    }

    /// Where members of gzip begin, if the table of the layer says so; none for other layers, and where it cannot be read.
    public static func memberStarts(_ file: borrowing OwnedDescriptor) -> [UInt64] {
        guard let found = try? metadata(file), found.kind == .regular, found.size > 0 else { return [] }
        let size = UInt64(found.size)
        guard let tail = try? bytes(file, at: size - min(size, UInt64(IndexLocation.tailByteCount)), size) else {
            return []
        }
        var limits = IndexLimits()
        limits.tableBytes = 64 << 20
        switch IndexLocation(tail: tail.rawBytes, size: size) {
        case .gzip(let offset), .oldGzip(let offset):
            guard let index = try? read(file, limits: limits) else { return [] }
            var starts = index.table.pieces.map(\.offset)
            starts.append(offset)
            return starts
        default: return []
        }
    }

    /// All bytes of a file that has at most so many.
    public static func wholeFile(_ file: borrowing OwnedDescriptor, limit: Int) throws(LayerError) -> [UInt8] {
        let size = try metadata(file).size
        guard size <= limit else {
            throw LayerError(.limitExceeded, "read", cause: .reason("the file has more than \(limit) bytes"))
        }
        return try bytes(file, at: 0, UInt64(max(size, 0)))
    }

    static func metadata(_ file: borrowing OwnedDescriptor) throws(LayerError) -> EntryMetadata {
        do throws(SystemCallError) {
            return try file.metadata()
        } catch {
            throw LayerError(error, "read the layer", path: nil)
        }
    }

    /// The file's bytes from `offset` to `end`, or to its own end.
    static func bytes(_ file: borrowing OwnedDescriptor, at offset: UInt64, _ end: UInt64) throws(LayerError) -> [UInt8]
    {
        let slab = Slab(capacity: Int(end - offset))
        do throws(SystemCallError) {
            while slab.end < slab.capacity {
                let count = try file.read(into: slab, slab.end..<slab.capacity, at: Int64(offset) + Int64(slab.end))
                if count == 0 { break }
                slab.end += count
            }
        } catch {
            throw LayerError(error, "read the layer", path: nil)
        }
        return slab.bytes.copied()
    }
}

extension LayerError {
    static func truncated(_ what: String) -> LayerError {
        LayerError(.corruptLayer, "read the index", cause: .reason("\(what) is cut short"))
    }
}

/// A table of contents in a frame of zstd.
private struct ZstdTable {
    let place: IndexPlace
    let limits: IndexLimits

    func read(_ file: borrowing OwnedDescriptor, dataEnd: UInt64) throws(LayerError) -> IndexTable {
        var reader = TableReader(.zstdChunked, limits: limits)
        var byteCount: UInt64 = 0
        var stream = try FrameStream(.zstd, range: place.offset..<place.offset + place.byteCount)
        let slab = Slab(capacity: 256 << 10)
        while true {
            slab.end = 0
            let step = try stream.next(slab, from: file)
            byteCount += UInt64(slab.count)
            guard byteCount <= place.uncompressedByteCount else {
                throw TableReader.malformed("its text is longer than announced")
            }
            try reader.append(slab.bytes)
            if step == .end { break }
        }
        guard byteCount == place.uncompressedByteCount else {
            throw TableReader.malformed("its text is shorter than announced")
        }
        return try reader.finish(tableOffset: dataEnd)
    }
}

/// A table of contents as the one file of an archive, in a gzip member.
private enum GzipTable {
    static func read(
        _ file: borrowing OwnedDescriptor, _ range: Range<UInt64>, digest: Digest?, _ limits: IndexLimits
    ) throws(LayerError) -> IndexTable {
        var reader = TableReader(.estargz, limits: limits)
        var stream = try FrameStream(.gzip, range: range)
        var decoder = TarDecoder()
        var state = DigestState()
        var (left, hasEntry) = (Int64(0), false)
        let slab = Slab(capacity: 256 << 10)
        while true {
            slab.end = 0
            let frame = try stream.next(slab, from: file)
            var at = 0
            let bytes = slab.bytes
            while at < bytes.byteCount {
                if left > 0 {
                    let part = bytes.extracting(at..<at + Int(min(left, Int64(bytes.byteCount - at))))
                    state.update(part)
                    try reader.append(part)
                    decoder.advance(part.byteCount)
                    left -= Int64(part.byteCount)
                    at += part.byteCount
                    continue
                }
                let (consumed, step) = try next(&decoder, bytes.extracting(at..<bytes.byteCount))
                at += consumed
                if step == .end { break }
                guard step == .entry else { continue }
                guard !hasEntry, LayerModel.bytes(decoder.name, equal: EstargzName.table) else {
                    throw TableReader.malformed("the archive at its place holds something else")
                }
                guard decoder.storedByteCount <= Int64(limits.tableBytes) else {
                    throw TableReader.exceeded("it is too long")
                }
                hasEntry = true
                left = decoder.storedByteCount
            }
            if frame != .more { break }
        }
        guard hasEntry, left == 0 else { throw LayerError.truncated("the table of contents") }
        if let digest, state.finalize() != digest {
            throw LayerError(
                .digestMismatch, "read the table of contents",
                cause: .reason("it has the digest \(state.finalize()), not \(digest)"))
        }
        return try reader.finish(tableOffset: range.lowerBound)
    }

    private static func next(
        _ decoder: inout TarDecoder, _ bytes: RawSpan
    ) throws(LayerError) -> (consumed: Int, step: TarDecoder.Step) {
        do throws(TarError) {
            return try decoder.step(bytes)
        } catch {
            throw TableReader.malformed("the archive at its place: \(error.reason.description)")
        }
    }
}
