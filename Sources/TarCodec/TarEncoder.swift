/// Turns one entry's metadata into header blocks, byte for byte as Go's archive/tar does.
///
/// The blocks live in a buffer that is reused: nothing is allocated per entry unless PAX records grow it.
public struct TarEncoder: ~Copyable {
    /// Bytes of the end of an archive: two zero blocks (W10).
    public static let trailerByteCount = 1024
    /// Bytes a PAX payload may have (W8).
    static let payloadLimit = 1 << 20

    var storage: [UInt8]
    private var used = 0
    var attributes = AttributeList()
    /// Holds the names of PAX headers while they are cleaned.
    var pathScratch: [UInt8] = []

    public init() {
        storage = [UInt8](repeating: 0, count: 4 * Layout.blockSize)
    }

    /// The zero bytes that follow a body of `size` bytes, 0 ... 511 (W10).
    @inlinable public static func padding(after size: Int64) -> Int { Int(truncatingIfNeeded: -(size & 511) & 511) }

    /// The blocks of the last `encode`, a multiple of 512 bytes; valid until the next one.
    public var blocks: RawSpan {
        @_lifetime(borrow self)
        get { RawSpan(_elements: storage.span.extracting(0..<used)) }
    }

    /// Adds an extended attribute to the next header; of equal names the last one counts.
    ///
    /// `name` is the attribute's whole name, such as `user.x`, without any PAX prefix.
    public mutating func addExtendedAttribute(name: RawSpan, value: RawSpan) {
        attributes.append(name: Span(_bytes: name), value: Span(_bytes: value))
    }

    /// Whether a PAX record can name an attribute: not where the name is empty or has `=` or NUL in it.
    public static func canWriteAttribute(named name: RawSpan) -> Bool {
        let name = Span<UInt8>(_bytes: name)
        return name.count > 0 && Octets.firstIndex(of: UInt8(ascii: "="), in: name, name.indices) == nil
            && !Octets.containsNul(name)
    }

    /// Takes back the largest of the collected attributes until the rest fits into one PAX header, beside `textByteCount`
    /// bytes of the entry's names; returns the names of those taken back.
    public mutating func dropAttributesThatDoNotFit(textByteCount: Int) -> [[UInt8]] {
        // Room for the numbers, and for the keys and lengths of all records that are no attributes.
        let rest = textByteCount + 1024
        var dropped: [[UInt8]] = []
        while attributes.recordByteCount + rest > Self.payloadLimit, let name = attributes.removeLargest() {
            dropped.append(name)
        }
        return dropped
    }

    /// Encodes one header, with PAX or GNU meta entries in front of it when it needs them (W4–W9, W11).
    ///
    /// A directory's `name` ends in a slash. The size is written as given for every type. Collected attributes are
    /// used up, also when this throws; after an error `blocks` is empty.
    public mutating func encode(
        _ fields: TarFields, name: RawSpan, linkName: RawSpan, userName: RawSpan, groupName: RawSpan,
        format: TarWriteFormat
    ) throws(TarError) {
        used = 0
        let texts = HeaderTexts(
            name: Span(_bytes: name), linkName: Span(_bytes: linkName), userName: Span(_bytes: userName),
            groupName: Span(_bytes: groupName))
        var fields = fields
        if let problem = Self.settle(&fields, name: texts.name, format) {
            attributes.removeAll()
            throw TarError(.cannotEncode, problem)
        }
        if attributes.isEmpty && texts.arePlain && HeaderNeeds.allFit(fields) {
            writeUstar(fields, texts, nameStart: 0)
            used = Layout.blockSize
            return
        }
        let problem = encodeLong(fields, texts, format)
        attributes.removeAll()
        if let problem { throw problem }
        used = storage.count
    }

    /// Settles the type and, but for `exact`, the whole seconds, and refuses what no format can say.
    @inline(__always)
    private static func settle(_ fields: inout TarFields, name: Span<UInt8>, _ format: TarWriteFormat) -> TarReason? {
        let isSlashed = name.count > 0 && name[name.count &- 1] == UInt8(ascii: "/")
        switch fields.type {
        case TarType.legacyRegular:
            fields.type = isSlashed ? TarType.directory : TarType.regular
        case TarType.regular, TarType.character, TarType.block, TarType.fifo:
            if isSlashed { return .trailingSlash }
        case TarType.hardLink, TarType.symbolicLink, TarType.directory, TarType.contiguous:
            break
        default:
            return .typeNotWritable
        }
        if fields.size < 0 { return .negativeNumber }
        if format == .exact { return nil }
        if format == .unspecified && fields.mtimeNanoseconds >= 500_000_000 {
            let (seconds, overflow) = fields.mtimeSeconds.addingReportingOverflow(1)
            if overflow { return .numberTooLarge }
            fields.mtimeSeconds = seconds
        }
        fields.mtimeNanoseconds = 0
        return nil
    }

    /// Everything that one plain header cannot say.
    private mutating func encodeLong(
        _ fields: TarFields, _ texts: HeaderTexts, _ format: TarWriteFormat
    ) -> TarError? {
        let needs = HeaderNeeds(fields, texts)
        if needs.hasNul { return TarError(.cannotEncode, .nulInName) }
        if attributes.isEmpty && needs.fitUstar {
            writeUstar(fields, texts, nameStart: needs.splitAt.map { $0 + 1 } ?? 0)
            storage.removeLast(storage.count - Layout.blockSize)
            return nil
        }
        if needs.fitPax { return encodePax(fields, texts, needs) }
        if format == .unspecified && attributes.isEmpty && needs.fitGnu {
            encodeGnu(fields, texts)
            return nil
        }
        return TarError(.cannotEncode, .numberTooLarge)
    }

    /// A single USTAR block; a name split for its prefix starts at `nameStart`, behind the slash (W6).
    @inline(__always)
    private mutating func writeUstar(_ fields: TarFields, _ texts: HeaderTexts, nameStart: Int) {
        var whole = storage.mutableSpan
        var block = whole._mutatingExtracting(0..<Layout.blockSize)
        block.update(repeating: 0)
        HeaderWriter.writeNumbers(fields, .ustar, in: &block)
        HeaderWriter.writeText(texts.name.extracting(nameStart...), Layout.name, in: &block)
        HeaderWriter.writeText(texts.linkName, Layout.linkName, in: &block)
        HeaderWriter.writeText(texts.userName, Layout.userName, in: &block)
        HeaderWriter.writeText(texts.groupName, Layout.groupName, in: &block)
        if nameStart > 0 {
            HeaderWriter.writeText(texts.name.extracting(0..<nameStart - 1), Layout.prefix, in: &block)
        }
        HeaderWriter.writeChecksum(in: &block)
    }
}

/// The names of one entry.
struct HeaderTexts: ~Escapable {
    let name: Span<UInt8>
    let linkName: Span<UInt8>
    let userName: Span<UInt8>
    let groupName: Span<UInt8>

    @_lifetime(copy name, copy linkName, copy userName, copy groupName)
    init(name: Span<UInt8>, linkName: Span<UInt8>, userName: Span<UInt8>, groupName: Span<UInt8>) {
        self.name = name
        self.linkName = linkName
        self.userName = userName
        self.groupName = groupName
    }

    /// Whether all of them go into one header as they are.
    @inline(__always) var arePlain: Bool {
        name.count <= Layout.name.count && linkName.count <= Layout.linkName.count
            && userName.count <= Layout.userName.count && groupName.count <= Layout.groupName.count
            && Octets.isPlain(name) && Octets.isPlain(linkName) && Octets.isPlain(userName)
            && Octets.isPlain(groupName)
    }
}
