public import LayerCompression
public import LayerModel
public import LinuxIO

/// The tar of a layer that is read in parts, put together from its tar-split, from pieces that workers inflate ahead, and from
/// files that are here already.
///
/// Each piece must have its digest, each file that comes in several pieces its own, too, and each file the checksum of the
/// tar-split. The whole must have the DiffID, which is for the reader of this to see to. One thread at a time reads, and
/// whoever asks for the counts waits until it has ended: that is what `@unchecked Sendable` stands for.
public final class PartialSource: RewindableInput, @unchecked Sendable {
    /// What comes next of the stream.
    private enum Part {
        case bytes([UInt8])
        case slab(Slab)
        case zeros
        case file(SharedDescriptor, offset: Int64)
        case frame
    }

    public let displayPath: PathBytes
    /// What was read until now.
    public private(set) var counts = PartialCounts()
    private let layer: PartialLayer
    private let reuse: (any ReusableContents)?
    private let cancel: CancelFlag?
    private let plan: PartialPlan
    private var stream: TarSplitStream
    private var part = Part.zeros
    /// Bytes of the part that are used up, and that are to come.
    private var position = 0
    private var left: Int64 = 0
    /// The file that is put together: its number among those with contents, and what it must be.
    private var file = -1
    private var fileLeft: Int64 = 0
    private var expected: UInt64 = 0
    private var checksum = PayloadChecksum()
    private var fileState: DigestState?
    private var pieceState: DigestState?
    private var pieceDigest: Digest?
    private var place: ReusedPlace?
    private var large: FrameStream?
    private let buffer = Slab(capacity: 256 << 10)

    /// Begins at the start. `fetch` is told what will be read of the layer's file before it is.
    public init(
        _ layer: PartialLayer, called displayPath: PathBytes, reuse: (any ReusableContents)?, workers: Int,
        cancel: CancelFlag? = nil,
        fetch: (@Sendable ([Range<UInt64>]) throws(LayerError) -> Void)? = nil
    ) throws(LayerError) {
        self.layer = layer
        self.displayPath = displayPath
        self.reuse = reuse
        self.cancel = cancel
        plan = try PartialPlan(layer, reuse, workers: workers, fetch)
        stream = try TarSplitStream(layer.file, layer.tarSplit)
        counts.fetchedBytes = layer.indexByteCount
    }

    public func rewind() throws(LayerError) {
        stream = try TarSplitStream(layer.file, layer.tarSplit)
        try plan.rewind()
        counts = PartialCounts()
        counts.fetchedBytes = layer.indexByteCount
        (part, left, file, fileLeft) = (.zeros, 0, -1, 0)
        (fileState, pieceState, place) = (nil, nil, nil)
        large = nil
    }

    public func read(into output: inout OutputRawSpan) throws(LayerError) {
        while output.freeCapacity > 0 {
            if left == 0 { guard try advance() else { return } }
            try give(&output)
            if left == 0 { try endPart() }
        }
    }

    // MARK: parts

    /// Moves on to the next part; false at the end of the stream.
    private func advance() throws(LayerError) -> Bool {
        try cancel?.check("apply")
        while left == 0 {
            if fileLeft > 0 {
                try beginPiece()
                continue
            }
            guard try stream.next() else { return false }
            if stream.object.kind == .segment {
                part = .bytes(stream.object.payload)
                (position, left) = (0, Int64(stream.object.payload.count))
            } else if stream.object.size > 0 {
                beginFile()
            }
        }
        return true
    }

    private func beginFile() {
        file += 1
        fileLeft = stream.object.size
        expected = stream.object.payload.reduce(0) { $0 << 8 | UInt64($1) }
        checksum = PayloadChecksum()
        fileState = nil
    }

    private func beginPiece() throws(LayerError) {
        position = 0
        (pieceState, pieceDigest, place) = (nil, nil, nil)
        switch try plan.next(file) {
        case .whole(let found):
            guard let opened = reuse?.open(found) else {
                reuse?.reject(found)
                plan.fetchInstead(file: file)
                return
            }
            (part, left, place) = (.file(SharedDescriptor(opened), offset: found.offset), fileLeft, found)
            counts.reusedFiles += 1
            counts.reusedBytes += UInt64(left)
        case .reused(let found, let piece):
            guard let opened = reuse?.open(found) else {
                reuse?.reject(found)
                plan.fetchInstead(piece: piece, of: file)
                return
            }
            (part, left, place) = (
                .file(SharedDescriptor(opened), offset: found.offset), layer.index.table.pieces[piece].byteCount, found
            )
            (pieceState, pieceDigest) = (DigestState(), layer.index.table.pieces[piece].digest)
            counts.reusedBytes += UInt64(left)
        case .zeros(let count):
            (part, left) = (.zeros, count)
            counts.zeroBytes += UInt64(count)
        case .fetched(let job, let index):
            if let failure = job.failure, failure.piece <= index { throw named(failure.error) }
            let before = job.pieces[..<index].reduce(0) { $0 + $1.byteCount }
            part = .slab(job.output)
            (position, left) = (before, Int64(job.pieces[index].byteCount))
            if index == 0 { counts.fetchedBytes += UInt64(job.span.count) }
        case .large(let piece, let frame):
            (buffer.start, buffer.end) = (0, 0)
            large = try FrameStream(layer.index.location.format.plain, range: frame)
            (part, left) = (.frame, layer.index.table.pieces[piece].byteCount)
            (pieceState, pieceDigest) = (DigestState(), layer.index.table.pieces[piece].digest)
            counts.fetchedBytes += UInt64(frame.count)
        }
        if fileState == nil, place == nil || pieceState != nil, entry.pieces.count > 1 { fileState = DigestState() }
    }

    private var entry: IndexTable.Entry { layer.index.table.entries[Int(layer.files[file])] }

    // MARK: bytes

    private func give(_ output: inout OutputRawSpan) throws(LayerError) {
        let count = Int(min(Int64(output.freeCapacity), left))
        switch part {
        case .bytes(let bytes): try give(bytes.rawBytes.extracting(position..<position + count), &output)
        case .slab(let slab): try give(slab.span(position..<position + count), &output)
        case .zeros:
            let zeros = IndexedZeros.slab
            try give(zeros.span(0..<min(count, zeros.count)), &output)
        case .file(let file, let offset):
            let buffer = buffer
            let read: Int
            do throws(SystemCallError) {
                read = try file.descriptor.read(
                    into: buffer, 0..<min(count, buffer.capacity), at: offset + Int64(position))
            } catch {
                throw LayerError(error, "read what is reused", path: nil)
            }
            guard read > 0 else { throw reuseFailed() }
            try give(buffer.span(0..<read), &output)
        case .frame:
            let buffer = buffer
            if buffer.count == 0 { try refillFrame() }
            let now = min(count, buffer.count)
            try give(buffer.span(buffer.start..<buffer.start + now), &output)
            buffer.start += now
        }
    }

    private func refillFrame() throws(LayerError) {
        (buffer.start, buffer.end) = (0, 0)
        let step: FrameStream.Step
        do throws(LayerError) {
            step = try large?.next(buffer, from: layer.file.descriptor) ?? .end
        } catch {
            throw named(error)
        }
        guard step != .end, Int64(buffer.count) <= left else {
            throw named(LayerError(.invalidArchive, "read the layer", cause: .reason("a frame has another size")))
        }
    }

    private func give(_ bytes: RawSpan, _ output: inout OutputRawSpan) throws(LayerError) {
        output.append(copying: bytes)
        position += bytes.byteCount
        left -= Int64(bytes.byteCount)
        guard fileLeft > 0 else { return }
        fileLeft -= Int64(bytes.byteCount)
        checksum.update(bytes)
        fileState?.update(bytes)
        pieceState?.update(bytes)
    }

    private func endPart() throws(LayerError) {
        part = .zeros
        if let state = pieceState, let digest = pieceDigest, state.finalize() != digest {
            throw place == nil ? wrong("a piece of it has another digest") : reuseFailed()
        }
        (pieceState, pieceDigest) = (nil, nil)
        large = nil
        guard file >= 0, fileLeft == 0, stream.object.kind == .file else { return }
        let (state, reused) = (fileState, place)
        (fileState, place) = (nil, nil)
        if checksum.value != expected {
            place = reused
            throw reused == nil ? wrong("it has another checksum") : reuseFailed()
        }
        if let state, let digest = entry.digest, state.finalize() != digest { throw wrong("it has another digest") }
    }

    private func wrong(_ reason: String) -> LayerError {
        LayerError(.digestMismatch, "apply", path: name, cause: .reason(reason))
    }

    private func reuseFailed() -> LayerError {
        if let place { reuse?.reject(place) }
        return wrong("what was to be reused is not what it was")
    }

    private var name: PathBytes? {
        guard file >= 0 else { return nil }
        let table = layer.index.table
        return PathBytes(table.name(entry).copied())
    }

    private func named(_ error: LayerError) -> LayerError {
        var named = error
        named.path = name
        return named
    }
}
