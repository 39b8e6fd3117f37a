import FuzzSupport
import LayerModel

@testable import LayerFormats

/// A table of contents that is taken keeps its rules, however its text came; and footers and places never lead out of the layer.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTable(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: data, count: count))
    checkFooter(bytes)
    for format in IndexedFormat.allCases {
        let whole = table(bytes, format, piece: max(bytes.count, 1))
        let pieces = table(bytes, format, piece: 7)
        switch (whole, pieces) {
        case (nil, nil): continue
        case (let whole?, let pieces?):
            require(whole.entries.count == pieces.entries.count, "a table is the same however it comes")
            checkRules(whole)
        default: fatalError("rule broken: a table is taken or not, however it comes")
        }
    }
    return 0
}

private func table(_ bytes: [UInt8], _ format: IndexedFormat, piece: Int) -> IndexTable? {
    var reader = TableReader(format, limits: IndexLimits())
    do throws(LayerError) {
        var at = 0
        while at < bytes.count {
            let end = min(at + piece, bytes.count)
            try reader.append(bytes.rawBytes.extracting(at..<end))
            at = end
        }
        return try reader.finish(tableOffset: 1 << 40)
    } catch {
        return nil
    }
}

private func checkRules(_ table: IndexTable) {
    var last: UInt64 = 0
    for entry in table.entries {
        let name = table.name(entry).copied()
        require(!name.isEmpty && !name.contains(0) && String(validating: name, as: UTF8.self) != nil, "names are names")
        require(!name.split(separator: UInt8(ascii: "/")).contains { $0.elementsEqual("..".utf8) }, "names stay inside")
        require(entry.size >= 0 && entry.uid >= 0, "numbers are not below zero")
        guard !entry.pieces.isEmpty else { continue }
        var covered: Int64 = 0
        for piece in table.pieces[entry.pieces] {
            require(piece.fileOffset == covered && piece.byteCount > 0, "pieces follow each other")
            require(
                piece.offset > 0 && piece.offset >= last && piece.offset < 1 << 40, "pieces lie in order, in the layer")
            covered += piece.byteCount
            last = piece.offset
        }
        require(covered == entry.size && entry.digest != nil, "pieces are the whole file")
    }
}

private func checkFooter(_ bytes: [UInt8]) {
    let size = UInt64(bytes.count) + 1000
    guard let location = IndexLocation(tail: bytes.rawBytes, size: size) else { return }
    switch location {
    case .zstd(let table, let split):
        require(table.end(within: size) != nil && split.end(within: size) != nil, "places lie in the layer")
    case .oldZstd(let table): require(table.end(within: size) != nil, "places lie in the layer")
    case .gzip(let offset), .oldGzip(let offset): require(offset > 0 && offset < size, "places lie in the layer")
    case .external: break
    }
}
