import LayerCompression
public import LayerModel
public import LinuxIO
import Synchronization
import TarCodec

/// What a check of an index against the whole layer found right.
public struct IndexCheckReport: Sendable {
    public var entries = 0
    public var pieces = 0
    public var frames = 0
    /// Bytes of the tar.
    public var bytes: UInt64 = 0
    /// Digest of the tar.
    public var diffID: Digest?
    /// Whether a tar-split was there, and says what the tar says.
    public var hasTarSplit = false
}

extension LayerIndex {
    /// Compares the index with every byte of the layer: each entry with its header, each piece with the frame at its place,
    /// each digest with the contents, the tar-split with the tar.
    ///
    /// `progress` counts bytes of the file. Throws `corruptLayer` or `digestMismatch` with the name of what differs first, and what is wrong with the layer itself.
    public func check(
        _ file: borrowing OwnedDescriptor, cancel: CancelFlag? = nil, progress: Progress? = nil
    ) throws(LayerError) -> IndexCheckReport {
        var check = IndexCheck(self)
        let size = UInt64(max(try Self.metadata(file).size, 0))
        // What comes behind the data is skipped by whoever reads the layer as a whole, but for an embedded table.
        let end = tarSplit == nil ? size : dataEnd
        var stream = try FrameStream(location.format.plain, range: 0..<end)
        progress?.totalBytes.store(end, ordering: .relaxed)
        let slab = Slab(capacity: 1 << 20)
        check.begin(frame: stream.position)
        while true {
            try cancel?.check("check the index")
            slab.end = 0
            let step = try stream.next(slab, from: file)
            try check.take(slab.bytes)
            progress?.bytes.store(stream.position, ordering: .relaxed)
            progress?.entries.store(UInt64(check.report.entries), ordering: .relaxed)
            if step == .end { break }
            if step == .frameEnd { try check.end(frame: stream.position) }
        }
        try check.finish()
        if let tarSplit { try check.compare(tarSplit, in: file) }
        return check.report
    }
}

/// A walk through a layer beside its table.
private struct IndexCheck: ~Copyable {
    private let index: LayerIndex
    private var table: IndexTable { index.table }
    private(set) var report = IndexCheckReport()
    private var decoder = TarDecoder()
    private var hash = DigestSink(NullSink())
    /// Places where the open frame begins: several where empty ones came before it.
    private var frameStarts: [UInt64] = []
    /// Bytes of the tar before the open frame.
    private var frameOffset: UInt64 = 0
    private var entry = 0
    private var piece = 0
    private var left: Int64 = 0
    private var pieceLeft: Int64 = 0
    private var pieceState = DigestState()
    private var fileState = DigestState()
    private var checksum = PayloadChecksum()
    /// Checksums of files with contents, in order.
    private var checksums: [UInt64] = []
    private var awaitsFrameEnd = false
    private var isAtEnd = false
    /// Digest of all bytes that are no contents.
    private var rest = DigestState()

    init(_ index: LayerIndex) { self.index = index }

    mutating func begin(frame position: UInt64) { frameStarts = [position] }

    mutating func end(frame position: UInt64) throws(LayerError) {
        report.frames += 1
        awaitsFrameEnd = false
        if hash.byteCount > frameOffset { frameStarts.removeAll() }
        frameOffset = hash.byteCount
        frameStarts.append(position)
    }

    mutating func take(_ bytes: RawSpan) throws(LayerError) {
        var at = 0
        while at < bytes.byteCount {
            if awaitsFrameEnd { throw mismatch("its frame goes on behind it") }
            let window = bytes.extracting(at..<bytes.byteCount)
            let count: Int
            if left > 0 { count = try takeContents(window) } else { count = try takeHeaders(window) }
            at += count
        }
    }

    private mutating func takeHeaders(_ window: RawSpan) throws(LayerError) -> Int {
        if isAtEnd {
            try passRest(window)
            return window.byteCount
        }
        let consumed: Int
        let step: TarDecoder.Step
        do throws(TarError) {
            (consumed, step) = try decoder.step(window)
        } catch {
            throw LayerError(
                .invalidArchive, "check the index", path: nil,
                cause: .archive(offset: error.offset, reason: error.reason.description))
        }
        try passRest(window.extracting(0..<consumed))
        if step == .end { isAtEnd = true }
        if step == .entry { try beginEntry() }
        return consumed
    }

    private mutating func passRest(_ bytes: RawSpan) throws(LayerError) {
        try hash.write(bytes)
        rest.update(bytes)
    }

    private mutating func beginEntry() throws(LayerError) {
        // The table does not say anything of itself.
        if index.location.format == .estargz, LayerModel.bytes(decoder.name, equal: EstargzName.table) {
            left = 0
            return
        }
        guard entry < table.entries.count else {
            throw LayerError(
                .corruptLayer, "check the index", path: PathBytes(decoder.name.copied()),
                cause: .reason("the table does not have it"))
        }
        report.entries += 1
        if let difference = IndexComparison.difference(table, entry, decoder) { throw mismatch(difference) }
        left = decoder.storedByteCount
        piece = table.entries[entry].pieces.lowerBound
        pieceLeft = 0
        fileState = DigestState()
        checksum = PayloadChecksum()
        if left == 0 { entry += 1 }
    }

    private mutating func takeContents(_ window: RawSpan) throws(LayerError) -> Int {
        if pieceLeft == 0 { try beginPiece() }
        let count = Int(min(pieceLeft, Int64(window.byteCount)))
        let bytes = window.extracting(0..<count)
        try hash.write(bytes)
        decoder.advance(count)
        pieceState.update(bytes)
        fileState.update(bytes)
        checksum.update(bytes)
        left -= Int64(count)
        pieceLeft -= Int64(count)
        if pieceLeft == 0 { try endPiece() }
        return count
    }

    private mutating func beginPiece() throws(LayerError) {
        guard piece < table.entries[entry].pieces.upperBound else {
            throw mismatch("it has fewer pieces than contents")
        }
        let place = table.pieces[piece]
        guard frameStarts.contains(place.offset) else {
            throw mismatch("no frame begins where a piece of it is said to lie")
        }
        guard hash.byteCount - frameOffset == UInt64(place.innerOffset) else {
            throw mismatch("a piece of it lies elsewhere in its frame")
        }
        pieceLeft = place.byteCount
        pieceState = DigestState()
    }

    private mutating func endPiece() throws(LayerError) {
        report.pieces += 1
        if let digest = table.pieces[piece].digest, pieceState.finalize() != digest {
            throw mismatch("a piece of it has another digest", .digestMismatch)
        }
        piece += 1
        awaitsFrameEnd = index.location.format == .zstdChunked
        guard left == 0 else { return }
        guard piece == table.entries[entry].pieces.upperBound else {
            throw mismatch("it has more pieces than contents")
        }
        if let digest = table.entries[entry].digest, fileState.finalize() != digest {
            throw mismatch("it has another digest", .digestMismatch)
        }
        checksums.append(checksum.value)
        entry += 1
    }

    mutating func finish() throws(LayerError) {
        do throws(TarError) {
            try decoder.endOfInput()
        } catch {
            throw LayerError(
                .invalidArchive, "check the index", path: nil,
                cause: .archive(offset: error.offset, reason: error.reason.description))
        }
        guard entry == table.entries.count else { throw mismatch("the layer does not have it") }
        try hash.finish()
        report.bytes = hash.byteCount
        report.diffID = hash.digest
    }

    /// Compares the tar-split: the same entries, the same bytes between contents, the same checksums.
    mutating func compare(_ place: IndexPlace, in file: borrowing OwnedDescriptor) throws(LayerError) {
        var digest = DigestState()
        var at = place.offset
        while at < place.offset + place.byteCount {
            let piece = try LayerIndex.bytes(file, at: at, min(place.offset + place.byteCount, at + 1 << 20))
            guard !piece.isEmpty else { throw LayerError.truncated("the tar-split") }
            digest.update(piece.rawBytes)
            at += UInt64(piece.count)
        }
        if let expected = table.tarSplitDigest, digest.finalize() != expected {
            throw LayerError(
                .digestMismatch, "check the index",
                cause: .reason("the tar-split has the digest \(digest.finalize()), not \(expected)"))
        }
        var comparison = TarSplitComparison(table, checksums)
        var stream = try FrameStream(.zstd, range: place.offset..<place.offset + place.byteCount)
        let slab = Slab(capacity: 256 << 10)
        while true {
            slab.end = 0
            let step = try stream.next(slab, from: file)
            try comparison.append(slab.bytes)
            guard comparison.byteCount <= place.uncompressedByteCount else {
                throw LayerError(
                    .corruptLayer, "check the index", cause: .reason("the tar-split is longer than announced"))
            }
            if step == .end { break }
        }
        try comparison.finish(rest.finalize())
        report.hasTarSplit = true
    }

    private func mismatch(_ reason: String, _ code: LayerError.Code = .corruptLayer) -> LayerError {
        let name = entry < table.entries.count ? PathBytes(table.name(table.entries[entry]).copied()) : nil
        return LayerError(code, "check the index", path: name, cause: .reason(reason))
    }
}
