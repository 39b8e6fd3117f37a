import LayerCompression
public import LayerModel

/// Where a layer's index lies, as its last bytes or the annotations of its descriptor say.
public enum IndexLocation: Sendable, Equatable {
    /// zstd:chunked: table of contents and tar-split.
    case zstd(table: IndexPlace, tarSplit: IndexPlace)
    /// The first generation of zstd:chunked, and what stargz's own tools write with zstd: no tar-split.
    case oldZstd(table: IndexPlace)
    /// eStargz: where the member of the table begins.
    case gzip(tableOffset: UInt64)
    /// The same by the oldest writers.
    case oldGzip(tableOffset: UInt64)
    /// eStargz whose table lies elsewhere.
    case external

    /// The format, as far as readers of the day know it.
    public var format: IndexedFormat {
        switch self {
        case .zstd, .oldZstd: .zstdChunked
        case .gzip, .oldGzip, .external: .estargz
        }
    }

    /// What it is, for people.
    public var name: String {
        switch self {
        case .zstd: "zstd:chunked"
        case .oldZstd: "zstd:chunked of the first generation"
        case .gzip: "eStargz"
        case .oldGzip: "stargz"
        case .external: "eStargz with an external table"
        }
    }

    /// Looks at the last bytes of a layer of `size` bytes, of which `tail` are the last; nil where no index shows.
    public init?(tail: RawSpan, size: UInt64) {
        guard let found = Self.zstd(tail) ?? Self.gzip(tail), found.isInside(size) else { return nil }
        self = found
    }

    /// The most bytes that `init(tail:size:)` looks at.
    public static let tailByteCount = 72

    private static func zstd(_ tail: RawSpan) -> IndexLocation? {
        func place(_ words: RawSpan, _ index: Int) -> IndexPlace {
            IndexPlace(
                offset: word(words, index), byteCount: word(words, index + 1),
                uncompressedByteCount: word(words, index + 2))
        }
        if let words = frame(tail, IndexFooter.zstdByteCount, IndexFooter.zstdMagic), word(words, 3) == 1 {
            return .zstd(table: place(words, 0), tarSplit: place(words, 4))
        }
        if let words = frame(tail, IndexFooter.oldZstdByteCount, IndexFooter.oldZstdMagic), word(words, 3) == 1 {
            return .oldZstd(table: place(words, 0))
        }
        return nil
    }

    /// The contents of a skippable frame of so many bytes in all that ends the tail, with that magic in its last eight bytes.
    @_lifetime(copy tail)
    private static func frame(_ tail: RawSpan, _ byteCount: Int, _ magic: [UInt8]) -> RawSpan? {
        guard tail.byteCount >= byteCount else { return nil }
        let frame = tail.extracting(tail.byteCount - byteCount..<tail.byteCount)
        let header = IndexFooter.skippable(byteCount - 8)
        guard bytesEqual(frame.extracting(0..<8), header.rawBytes),
            bytesEqual(frame.extracting(byteCount - 8..<byteCount), magic.rawBytes)
        else { return nil }
        return frame.extracting(8..<byteCount)
    }

    private static func word(_ words: RawSpan, _ index: Int) -> UInt64 {
        var value: UInt64 = 0
        for byte in (0..<8).reversed() { value = value << 8 | UInt64(words[index * 8 + byte]) }
        return value
    }

    private static func gzip(_ tail: RawSpan) -> IndexLocation? {
        if ends(tail, with: IndexFooter.external) { return .external }
        if let offset = offset(tail, IndexFooter.estargzByteCount, 16), ends(tail, with: IndexFooter.estargz(offset)) {
            return .gzip(tableOffset: offset)
        }
        if let offset = offset(tail, IndexFooter.oldStargzByteCount, 12), isOldStargz(tail) {
            return .oldGzip(tableOffset: offset)
        }
        return nil
    }

    /// The sixteen hexadecimal digits, in lower case, at that place of a footer.
    private static func offset(_ tail: RawSpan, _ byteCount: Int, _ start: Int) -> UInt64? {
        guard tail.byteCount >= byteCount else { return nil }
        let footer = tail.extracting(tail.byteCount - byteCount..<tail.byteCount)
        guard bytes(footer.extracting(start + 16..<byteCount), startWith: "STARGZ") else { return nil }
        var value: UInt64 = 0
        for index in start..<start + 16 {
            switch footer[index] {
            case 0x30...0x39: value = value << 4 | UInt64(footer[index] - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(footer[index] - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }

    private static func isOldStargz(_ tail: RawSpan) -> Bool {
        let footer = tail.extracting(tail.byteCount - IndexFooter.oldStargzByteCount..<tail.byteCount)
        let start: [UInt8] = [0x1f, 0x8b, 0x08, 0x04]
        return bytesEqual(footer.extracting(0..<4), start.rawBytes) && footer[10] == 22 && footer[11] == 0
    }

    private static func ends(_ tail: RawSpan, with footer: [UInt8]) -> Bool {
        tail.byteCount >= footer.count
            && bytesEqual(tail.extracting(tail.byteCount - footer.count..<tail.byteCount), footer.rawBytes)
    }

    /// Whether all that is named lies in the layer, in order.
    private func isInside(_ size: UInt64) -> Bool {
        switch self {
        case .zstd(let table, let tarSplit):
            table.end(within: size) != nil && tarSplit.end(within: size) != nil && !table.overlaps(tarSplit)
        case .oldZstd(let table): table.end(within: size) != nil
        case .gzip(let offset): offset > 0 && offset < size - UInt64(IndexFooter.estargzByteCount)
        case .oldGzip(let offset): offset > 0 && offset < size - UInt64(IndexFooter.oldStargzByteCount)
        case .external: true
        }
    }
}

extension IndexPlace {
    /// Where it ends, if that is inside of a layer of so many bytes.
    func end(within size: UInt64) -> UInt64? {
        let (end, isOver) = offset.addingReportingOverflow(byteCount)
        return !isOver && offset > 0 && byteCount > 0 && end <= size ? end : nil
    }

    /// Whether two places inside of a layer share bytes.
    func overlaps(_ other: IndexPlace) -> Bool {
        offset < other.offset + other.byteCount && other.offset < offset + byteCount
    }

    /// Reads `OFFSET:LENGTH:UNCOMPRESSED`, and for a table `:1` behind it: digits only, none in front that says nothing.
    static func parse(_ text: String, isTable: Bool) -> IndexPlace? {
        let parts = text.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count == (isTable ? 4 : 3) else { return nil }
        var words: [UInt64] = []
        for part in parts {
            guard !part.isEmpty, part.allSatisfy({ (0x30...0x39).contains($0) }),
                part.count == 1 || part.first != UInt8(ascii: "0"), let word = UInt64(Substring(part)),
                word <= Int64.max
            else { return nil }
            words.append(word)
        }
        guard !isTable || words[3] == 1 else { return nil }
        return IndexPlace(offset: words[0], byteCount: words[1], uncompressedByteCount: words[2])
    }
}

/// What the annotations of a layer's descriptor say of its index: the only part of it that hangs on the image's digest.
public enum IndexAnnotations: Sendable, Equatable {
    /// None that count.
    case none
    /// zstd:chunked.
    case zstd(tableDigest: Digest, table: IndexPlace, tarSplit: IndexPlace)
    /// eStargz: the digest of the table's text.
    case gzip(tableDigest: Digest)

    /// Reads them. Throws `corruptLayer` where they say nothing sensible, or belong to both formats.
    public init(_ annotations: [IndexAnnotation], layerSize: UInt64) throws(LayerError) {
        func value(_ key: String) -> String? { annotations.first { $0.key == key }?.value }
        let zstd = value(IndexAnnotation.manifestChecksum)
        let gzip = value(IndexAnnotation.tableDigest)
        if zstd != nil, gzip != nil { throw Self.error("the layer has annotations of two formats") }
        if let gzip {
            guard let digest = Digest(parsing: gzip) else { throw Self.error("the table's digest is none") }
            self = .gzip(tableDigest: digest)
            return
        }
        guard let zstd else {
            self = .none
            return
        }
        guard let digest = Digest(parsing: zstd) else { throw Self.error("the table's digest is none") }
        guard let table = value(IndexAnnotation.manifestPosition).flatMap({ IndexPlace.parse($0, isTable: true) }),
            let tarSplit = value(IndexAnnotation.tarSplitPosition).flatMap({ IndexPlace.parse($0, isTable: false) }),
            table.end(within: layerSize) != nil, tarSplit.end(within: layerSize) != nil, !table.overlaps(tarSplit)
        else { throw Self.error("the places of table and tar-split are none of this layer") }
        self = .zstd(tableDigest: digest, table: table, tarSplit: tarSplit)
    }

    private static func error(_ reason: String) -> LayerError {
        LayerError(.corruptLayer, "read the annotations", cause: .reason(reason))
    }
}
