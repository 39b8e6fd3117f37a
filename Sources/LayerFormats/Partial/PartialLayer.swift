import LayerCompression
public import LayerModel
public import LinuxIO
import PlainJSON
import TarCodec

/// Why a layer is read as a whole though it has an index.
public struct WholeLayerReason: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
    package init(_ description: String) { self.description = description }
}

/// A layer that is read in parts: its index was compared with itself, nothing of its data was looked at.
///
/// The table of contents hangs on the digest in the annotations, the tar-split on the table. Whether both say the truth shows
/// only when the tar is put together: it must have the DiffID that is expected.
public struct PartialLayer: Sendable {
    let file: SharedDescriptor
    let index: LayerIndex
    let tarSplit: IndexPlace
    /// Numbers of the entries with contents, in the order of the tar.
    let files: [UInt32]
    /// Bytes of the tar.
    public let byteCount: UInt64
    /// Entries of the tar.
    public var entries: Int { index.table.entries.count }
    /// Bytes of the compressed indexes.
    public let indexByteCount: UInt64

    /// Whether the annotations are of a layer that can be read in parts and proved, before anything is read.
    public static func prospect(
        _ annotations: [IndexAnnotation], size: UInt64, limits: IndexLimits = IndexLimits()
    ) throws(LayerError) -> Result<(table: IndexPlace, tarSplit: IndexPlace), WholeLayerReason> {
        if let long = try tooLong(annotations, limits) { return .failure(long) }
        switch try IndexAnnotations(annotations, layerSize: size) {
        case .none:
            let isOld = annotations.contains { $0.key.hasPrefix(IndexAnnotation.oldZstdPrefix) }
            return .failure(
                WholeLayerReason(
                    isOld ? "its annotations are of the first generation" : "no annotation says where an index lies"))
        case .gzip: return .failure(WholeLayerReason("eStargz has no tar-split, by which it could be proved"))
        case .zstd(_, let table, let tarSplit): return .success((table, tarSplit))
        }
    }

    /// What is too long to be looked at says nothing of the layer.
    private static func tooLong(
        _ annotations: [IndexAnnotation], _ limits: IndexLimits
    ) throws(LayerError) -> WholeLayerReason? {
        func place(_ key: String, _ isTable: Bool) -> IndexPlace? {
            annotations.first { $0.key == key }.flatMap { IndexPlace.parse($0.value, isTable: isTable) }
        }
        guard let table = place(IndexAnnotation.manifestPosition, true),
            let tarSplit = place(IndexAnnotation.tarSplitPosition, false)
        else { return nil }
        guard max(table.byteCount, tarSplit.byteCount) <= limits.compressedBytes,
            table.uncompressedByteCount <= limits.tableBytes, tarSplit.uncompressedByteCount <= limits.tableBytes * 4
        else { return WholeLayerReason("its index is too long") }
        return nil
    }

    /// Reads the index and compares its two halves.
    ///
    /// Throws `corruptLayer`, `digestMismatch`, `unsafePath` and `limitExceeded` for an index that cannot be right.
    public static func read(
        _ file: SharedDescriptor, annotations: [IndexAnnotation], limits: IndexLimits = IndexLimits(),
        cancel: CancelFlag? = nil
    ) throws(LayerError) -> Result<PartialLayer, WholeLayerReason> {
        let size = UInt64(max(try LayerIndex.metadata(file.descriptor).size, 0))
        if case .failure(let reason) = try prospect(annotations, size: size, limits: limits) { return .failure(reason) }
        let index = try LayerIndex.read(file.descriptor, annotations: annotations, limits: limits)
        guard let place = index.tarSplit else { return .failure(WholeLayerReason("it has no tar-split")) }
        guard let digest = index.table.tarSplitDigest else {
            return .failure(WholeLayerReason("its table does not vouch for the tar-split"))
        }
        try LayerIndex.check(digest, of: file.descriptor, place, "the tar-split")
        var comparison = HalvesComparison(index.table, limits)
        var stream = try TarSplitStream(file, place)
        while try stream.next() {
            try cancel?.check("read the index")
            if let reason = try comparison.take(stream.object) { return .failure(reason) }
        }
        try comparison.finish()
        let tableBytes: UInt64 = if case .zstd(let table, _) = index.location { table.byteCount } else { 0 }
        return .success(
            PartialLayer(
                file: file, index: index, tarSplit: place, files: comparison.files, byteCount: comparison.byteCount,
                indexByteCount: tableBytes + place.byteCount))
    }
}

/// The tar-split's headers beside the table of contents: exactly the same entries, each with the same metadata.
private struct HalvesComparison: ~Copyable {
    private let table: IndexTable
    private let limits: IndexLimits
    private(set) var files: [UInt32] = []
    private(set) var byteCount: UInt64 = 0
    private var decoder = TarDecoder()
    private var isAtEnd = false
    /// The entry that a file object must follow for.
    private var waiting: Int?
    private var next = 0
    private var count = 0
    private var isUsed: [Bool] = []
    /// Entries by name, once the two orders differ.
    private var places: [[UInt8]: UInt32] = [:]

    init(_ table: IndexTable, _ limits: IndexLimits) {
        self.table = table
        self.limits = limits
    }

    mutating func take(_ object: TarSplitObject) throws(LayerError) -> WholeLayerReason? {
        guard object.kind == .segment else {
            try takeFile(object)
            return nil
        }
        byteCount += UInt64(object.payload.count)
        let payload = object.payload
        let bytes = payload.rawBytes
        var at = 0
        while at < bytes.byteCount, !isAtEnd {
            guard waiting == nil || decoder.storedByteCount == 0 else {
                throw TarSplitStream.error("it has bytes where the contents of a file belong")
            }
            let found: (consumed: Int, step: TarDecoder.Step)
            do throws(TarError) {
                found = try decoder.step(bytes.extracting(at..<bytes.byteCount))
            } catch {
                throw TarSplitStream.error("its headers: \(error.reason.description)")
            }
            at += found.consumed
            if found.step == .end { isAtEnd = true }
            guard found.step == .entry else { continue }
            guard waiting == nil else { throw TarSplitStream.error("it has a header without its file") }
            if let reason = try compare() { return reason }
        }
        return nil
    }

    /// Compares the header that was read with its entry.
    private mutating func compare() throws(LayerError) -> WholeLayerReason? {
        let name = PathBytes(decoder.name.copied())
        guard let number = find(name.bytes) else {
            // What is not UTF-8 stands as U+FFFD in tables of others.
            if !isUTF8(name.bytes.rawBytes) { return WholeLayerReason("the name \(name) is not UTF-8") }
            throw mismatch(name, "the table does not have it")
        }
        if let difference = IndexComparison.difference(table, number, decoder) {
            if !isUTF8(decoder.linkName) { return WholeLayerReason("the target of \(name) is not UTF-8") }
            throw mismatch(name, "table and tar-split differ: \(difference)")
        }
        waiting = number
        return nil
    }

    private mutating func find(_ name: [UInt8]) -> Int? {
        count += 1
        if isUsed.isEmpty {
            if next < table.entries.count, bytesEqual(table.name(table.entries[next]), name.rawBytes) {
                next += 1
                return next - 1
            }
            isUsed = [Bool](repeating: false, count: table.entries.count)
            for index in 0..<next { isUsed[index] = true }
            for index in next..<max(table.entries.count, next) {
                places[table.name(table.entries[index]).copied()] = UInt32(index)
            }
        }
        guard let place = places[name], !isUsed[Int(place)] else { return nil }
        isUsed[Int(place)] = true
        return Int(place)
    }

    private mutating func takeFile(_ object: TarSplitObject) throws(LayerError) {
        guard let number = waiting else { throw TarSplitStream.error("it has a file without a header") }
        waiting = nil
        let entry = table.entries[number]
        let size = entry.pieces.isEmpty ? 0 : entry.size
        let name = PathBytes(object.name)
        guard bytesEqual(table.name(entry), object.name.rawBytes) else { throw mismatch(name, "it stands elsewhere") }
        guard object.size == size, decoder.storedByteCount == size else { throw mismatch(name, "its size differs") }
        guard size > 0 else { return }
        guard object.payload.count == 8 else { throw mismatch(name, "it has no checksum") }
        decoder.advance(Int(size))
        byteCount += UInt64(size)
        files.append(UInt32(number))
    }

    func finish() throws(LayerError) {
        guard waiting == nil else { throw TarSplitStream.error("it is cut short") }
        guard count == table.entries.count else { throw TarSplitStream.error("it has fewer entries than the table") }
        guard byteCount <= UInt64(limits.contents) else { throw TableReader.exceeded("the layer is too large") }
    }

    private func mismatch(_ name: PathBytes, _ reason: String) -> LayerError {
        LayerError(.corruptLayer, "read the index", path: name, cause: .reason(reason))
    }
}
