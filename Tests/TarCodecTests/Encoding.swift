import TarCodec

/// 2023-11-14, the time of every entry that does not name another.
let fixedTime: Int64 = 1_700_000_000

/// One entry to encode, everything but its name at rest.
struct Source {
    var fields = TarFields()
    var name: [UInt8]
    var link: [UInt8] = []
    var user: [UInt8] = []
    var group: [UInt8] = []
    var attributes: [(name: String, value: [UInt8])] = []
    var format = TarWriteFormat.pax
    var body: [UInt8] = []

    init(_ name: String, type: UInt8 = TarType.regular, mode: UInt32 = 0o644, mtime: Int64 = fixedTime) {
        self.init(bytes: Array(name.utf8), type: type, mode: mode, mtime: mtime)
    }

    init(bytes: [UInt8], type: UInt8 = TarType.regular, mode: UInt32 = 0o644, mtime: Int64 = fixedTime) {
        name = bytes
        fields.type = type
        fields.mode = mode
        fields.mtimeSeconds = mtime
    }

    /// The same entry with changes.
    func with(_ change: (inout Source) -> Void) -> Source {
        var copy = self
        change(&copy)
        return copy
    }
}

func encode(_ source: Source) throws(TarError) -> [UInt8] {
    var encoder = TarEncoder()
    return try encode(source, with: &encoder)
}

func encode(_ source: Source, with encoder: inout TarEncoder) throws(TarError) -> [UInt8] {
    for attribute in source.attributes {
        let name = Array(attribute.name.utf8)
        encoder.addExtendedAttribute(
            name: RawSpan(_elements: name.span), value: RawSpan(_elements: attribute.value.span))
    }
    try encoder.encode(
        source.fields, name: RawSpan(_elements: source.name.span), linkName: RawSpan(_elements: source.link.span),
        userName: RawSpan(_elements: source.user.span), groupName: RawSpan(_elements: source.group.span),
        format: source.format)
    return bytes(encoder.blocks)
}

/// A whole archive: headers, bodies with their padding, and the end.
func archive(_ sources: [Source]) throws(TarError) -> [UInt8] {
    var encoder = TarEncoder()
    var stream: [UInt8] = []
    for source in sources {
        stream += try encode(source, with: &encoder)
        stream += padded(source.body)
    }
    return stream + [UInt8](repeating: 0, count: TarEncoder.trailerByteCount)
}

func bytes(_ span: RawSpan) -> [UInt8] {
    let octets = Span<UInt8>(_bytes: span)
    var copy: [UInt8] = []
    copy.reserveCapacity(octets.count)
    for index in octets.indices { copy.append(octets[index]) }
    return copy
}

/// The bytes and zeros up to the next block boundary.
func padded(_ bytes: [UInt8]) -> [UInt8] {
    bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
}

/// A text field of a block, up to its first NUL.
func text(_ block: ArraySlice<UInt8>, _ start: Int, _ count: Int) -> String {
    let field = block.dropFirst(start).prefix(count)
    return String(decoding: field.prefix { $0 != 0 }, as: UTF8.self)
}
