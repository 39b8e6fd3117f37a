/// Where one of an entry's names lies.
struct TextPlace: BitwiseCopyable {
    enum Source { case header, joined, pax, longName, longLink }

    let source: Source
    let start: Int
    let count: Int

    init(_ source: Source, _ start: Int, _ count: Int) {
        self.source = source
        self.start = start
        self.count = count
    }
}

struct TextPlaces: BitwiseCopyable {
    var name = TextPlace(.header, 0, 0)
    var linkName = TextPlace(.header, 0, 0)
    var userName = TextPlace(.header, 0, 0)
    var groupName = TextPlace(.header, 0, 0)
}

/// The current entry's names, attributes and extents; spans are valid until the next `step`.
extension TarDecoder {
    @_lifetime(borrow self)
    func text(_ place: TextPlace) -> Span<UInt8> {
        let range = place.start..<place.start + place.count
        return switch place.source {
        case .header: block.span.extracting(range)
        case .joined: joinedName.span.extracting(range)
        case .pax: pax.payload.span.extracting(range)
        case .longName: longName.span.extracting(range)
        case .longLink: longLink.span.extracting(range)
        }
    }

    /// The name as the archive has it, not cleaned; empty means the root.
    public var name: RawSpan {
        @_lifetime(borrow self)
        get { RawSpan(_elements: text(texts.name)) }
    }

    /// The target of a symbolic or hard link as the archive has it.
    public var linkName: RawSpan {
        @_lifetime(borrow self)
        get { RawSpan(_elements: text(texts.linkName)) }
    }

    public var userName: RawSpan {
        @_lifetime(borrow self)
        get { RawSpan(_elements: text(texts.userName)) }
    }

    public var groupName: RawSpan {
        @_lifetime(borrow self)
        get { RawSpan(_elements: text(texts.groupName)) }
    }

    public var hasAccessTime: Bool { accessTime != nil }

    /// The change time, when the archive has one.
    public var changeTime: (seconds: Int64, nanoseconds: Int32)? {
        // Only records of the entry that was read last count; the others are forgotten before its header.
        pax.has(.ctime) ? PaxReader.time(pax.value(.ctime)) : header.changeSeconds.map { ($0, 0) }
    }

    /// The mode as the header has it: `fields` has what lists of access rights make of it.
    public var headerMode: UInt32 { header.fields.mode }

    /// Data extents of a sparse entry; none are empty, and they are sorted and apart.
    public var sparseExtentCount: Int { isSparse ? sparse.count : 0 }

    /// The place in the file of the extent's data, in bytes. `index` is below `sparseExtentCount`.
    public func sparseExtent(_ index: Int) -> (offset: Int64, length: Int64) {
        let extent = sparse.extents[index]
        return (extent.offset, extent.length)
    }

    /// Extended attributes of the entry, sorted by name: those of `SCHILY.xattr.` records, and those of
    /// `LIBARCHIVE.xattr.` and `SCHILY.acl.` records that have no such twin (R10).
    public var extendedAttributeCount: Int { pax.attributes.count }

    /// The attribute's whole name, such as `user.x`. `index` is below `extendedAttributeCount`.
    @_lifetime(borrow self)
    public func extendedAttributeName(_ index: Int) -> RawSpan { RawSpan(_elements: pax.attributes.name(index)) }

    @_lifetime(borrow self)
    public func extendedAttributeValue(_ index: Int) -> RawSpan { RawSpan(_elements: pax.attributes.value(index)) }

    /// Whether the attribute stands in the archive as it is, in a `SCHILY.xattr.` record.
    public func isPlainAttribute(_ index: Int) -> Bool { pax.attributes.rank(index) == 1 }

    /// The text of a `SCHILY.acl.access` record, empty when there is none (R10).
    public var accessControlText: RawSpan {
        @_lifetime(borrow self)
        get { RawSpan(_elements: pax.value(.accessAcl)) }
    }

    /// The text of a `SCHILY.acl.default` record, empty when there is none (R10).
    public var defaultAccessControlText: RawSpan {
        @_lifetime(borrow self)
        get { RawSpan(_elements: pax.value(.defaultAcl)) }
    }

    /// Whether an access control text was left out of the attributes: it is malformed, or names users without a number.
    public var hasUnusableAccessControl: Bool { pax.hasUnusableAccessControl }
}
