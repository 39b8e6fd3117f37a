import LayerModel
import LayerRules
import TarCodec

/// Attributes: which of an entry's an inode gets.
///
/// What setxattr(2) would refuse is refused here, as unfit: unpacking then says what the kernel says.
extension PackJob {
    /// Makes the attributes of a new inode, or, with `instead`, of a directory that has had others: those of the entry, and
    /// what it had that no layer carries.
    mutating func readAttributes(
        of entry: borrowing TarDecoder, _ kind: EntryKind, instead old: UInt32 = 0
    ) throws(LayerError) -> UInt32 {
        guard entry.extendedAttributeCount > 0 || old != 0 else { return 0 }
        try set.take(entry, rules, &report)
        return try merge(kind, with: old, dropsPortable: true)
    }

    /// Adds the attributes in `set` to others.
    mutating func addAttributes(_ kind: EntryKind, to old: UInt32) throws(LayerError) -> UInt32 {
        try merge(kind, with: old, dropsPortable: false)
    }

    private mutating func merge(_ kind: EntryKind, with old: UInt32, dropsPortable: Bool) throws(LayerError) -> UInt32 {
        var result = AttributeSet()
        if old != 0 {
            let place = tree.attributes[old]
            let known = tree.arena.span(place.place, Int(place.count))
            var position = 0
            while position < known.byteCount, let entry = AttributeEntry.next(known, &position) {
                let name = known.extracting(entry.name..<entry.name + entry.nameCount)
                if set.has(entry.index, name) { continue }
                if dropsPortable, isPortable(entry.index, name) { continue }
                result.insert(entry.index, name, known.extracting(entry.value..<entry.value + entry.valueCount))
            }
        }
        for entry in set.entries { try add(entry, kind, to: &result) }
        return try keep(result)
    }

    /// Whether an attribute goes where an entry for its directory does not have it.
    private func isPortable(_ index: UInt8, _ name: RawSpan) -> Bool {
        guard let prefix = AttributeNames.prefix(index) else { return false }
        return rules.isPortable((Array(prefix.description.utf8) + name.copied()).rawBytes)
    }

    private mutating func add(_ entry: AttributeEntry, _ kind: EntryKind, to result: inout AttributeSet)
        throws(LayerError)
    {
        let set = set
        let name = set.name(entry)
        let value = set.value(entry)
        switch entry.index {
        case AttributeNames.accessList, AttributeNames.defaultList:
            let isDefault = entry.index == AttributeNames.defaultList
            // Links have no lists, and only directories hand one down.
            guard kind != .symbolicLink else { return report.leftOut(set.text(entry), entryOffset, "links have none") }
            if isDefault, kind != .directory { throw unfit("only directories have default access lists") }
            switch AccessListValue(value, isDefault: isDefault) {
            case .invalid: throw unfit("the kernel does not take an access list of it")
            case .none: return
            case .list(let list): return result.insert(entry.index, name, list.rawBytes)
            }
        case AttributeNames.user:
            guard kind == .regular || kind == .directory else {
                return report.leftOut(set.text(entry), entryOffset, "only files and directories have user attributes")
            }
        case AttributeNames.security:
            if bytes(name, equal: "capability"), !Self.isCapability(value) {
                throw unfit("the kernel does not take a capability of it")
            }
        default: break
        }
        if name.byteCount == 0 { throw unfit("the kernel does not take the name of an attribute of it") }
        if value.byteCount > ErofsFormat.longestValue {
            let reason = "its value has \(value.byteCount) bytes, and an index has room for \(ErofsFormat.longestValue)"
            guard options.bestEffort else { throw unfit("the attribute \(set.text(entry)): " + reason) }
            return report.leftOut(set.text(entry), entryOffset, reason)
        }
        result.insert(entry.index, name, value)
    }

    /// Whether the kernel takes a value as a file's capabilities: version 2, or version 3 with the root that they hold for.
    private static func isCapability(_ value: RawSpan) -> Bool {
        guard value.byteCount == 20 || value.byteCount == 24 else { return false }
        return value[3] == (value.byteCount == 20 ? 2 : 3) && value[1] == 0 && value[2] == 0 && value[0] <= 1
    }

    /// Stores attributes in the image's form; returns their index.
    private mutating func keep(_ set: AttributeSet) throws(LayerError) -> UInt32 {
        guard !set.isEmpty else { return 0 }
        guard let bytes = set.encoded() else { throw unfit("its attributes need more room than an index has") }
        do throws(PackFull) { return try tree.keepAttributes(bytes) } catch {
            throw unfit("it has more names than an index can hold")
        }
    }
}

extension PackReport {
    fileprivate mutating func leftOut(_ attribute: PathBytes, _ offset: UInt64, _ reason: String) {
        warn("entry at byte \(offset): the attribute \(attribute) was left out: \(reason)")
    }
}

extension AttributeSet {
    /// The attributes as they lie in an image; nil where they need more room than there is.
    func encoded() -> [UInt8]? {
        var image = ImageBytes()
        for entry in entries {
            image.put(UInt8(entry.nameCount))
            image.put(entry.index)
            image.put(UInt16(entry.valueCount))
            image.append(name(entry))
            image.append(value(entry))
            image.zeros(image.count.rounded(to: 4) - image.count)
        }
        let longest = ErofsFormat.longestAttributes - ErofsFormat.attributeHeaderSize
        return image.count <= longest ? image.bytes : nil
    }
}

extension PackTree {
    /// Stores attributes in the image's form; those made just before are not stored again.
    mutating func keepAttributes(_ bytes: [UInt8]) throws(PackFull) -> UInt32 {
        let last = attributes[UInt32(attributes.count - 1)]
        if Int(last.count) == bytes.count, bytesEqual(arena.span(last.place, bytes.count), bytes.rawBytes) {
            return UInt32(attributes.count - 1)
        }
        guard let place = arena.append(bytes.rawBytes) else { throw PackFull() }
        return attributes.append(AttributePlace(place: place, count: UInt32(bytes.count)))
    }

    /// The attributes of an index, as they lie in an image.
    @_lifetime(borrow self)
    func attributeBytes(_ index: UInt32) -> RawSpan {
        guard index != 0 else { return RawSpan() }
        let place = attributes[index]
        return arena.span(place.place, Int(place.count))
    }
}
