import LayerModel
import LayerRules
import TarCodec

/// Attributes of one entry that are taken over, in the order of their names.
struct AttributeSet {
    private(set) var bytes: [UInt8] = []
    private(set) var entries: [AttributeEntry] = []

    var isEmpty: Bool { entries.isEmpty }
    var byteCount: Int { bytes.count }

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        entries.removeAll(keepingCapacity: true)
    }

    /// Takes those of the entry that may be kept; the others cause a warning.
    mutating func take(_ entry: borrowing TarDecoder, _ rules: EntryAttributeRules, _ report: inout PackReport)
        throws(LayerError)
    {
        removeAll()
        for number in 0..<entry.extendedAttributeCount {
            let name = entry.extendedAttributeName(number)
            switch rules.verdict(name) {
            case .ignore: continue
            case .refuse:
                report.warn(
                    "\(PathBytes(entry.name.copied())): the attribute \(PathBytes(name.copied())) was left out")
                continue
            case .set: break
            }
            guard let (index, prefix) = AttributeNames.index(name) else {
                report.warn(
                    "\(PathBytes(entry.name.copied())): the attribute \(PathBytes(name.copied())) was left out: "
                        + "an index has no place for its kind")
                continue
            }
            insert(index, name.extracting(prefix..<name.byteCount), entry.extendedAttributeValue(number))
        }
    }

    /// Adds an attribute, in place of one of the same name.
    mutating func insert(_ index: UInt8, _ name: RawSpan, _ value: RawSpan) {
        let entry = AttributeEntry(
            index: index, name: bytes.count, nameCount: name.byteCount, value: bytes.count + name.byteCount,
            valueCount: value.byteCount)
        for at in 0..<name.byteCount { bytes.append(name[at]) }
        for at in 0..<value.byteCount { bytes.append(value[at]) }
        var place = entries.count
        while place > 0 {
            let order = order(entries[place - 1], index, name)
            if order == 0 {
                entries[place - 1] = entry
                return
            }
            if order < 0 { break }
            place -= 1
        }
        entries.insert(entry, at: place)
    }

    /// Whether there is an attribute of that name.
    func has(_ index: UInt8, _ name: RawSpan) -> Bool { entries.contains { order($0, index, name) == 0 } }

    private func order(_ entry: AttributeEntry, _ index: UInt8, _ name: RawSpan) -> Int {
        let rank = AttributeNames.rank(entry.index) - AttributeNames.rank(index)
        return rank != 0 ? rank : bytesCompare(self.name(entry), name)
    }

    @_lifetime(borrow self)
    func name(_ entry: AttributeEntry) -> RawSpan {
        bytes.rawBytes.extracting(entry.name..<entry.name + entry.nameCount)
    }

    @_lifetime(borrow self)
    func value(_ entry: AttributeEntry) -> RawSpan {
        bytes.rawBytes.extracting(entry.value..<entry.value + entry.valueCount)
    }

    /// The name as setxattr(2) takes it; for messages.
    func text(_ entry: AttributeEntry) -> PathBytes {
        PathBytes(Array((AttributeNames.prefix(entry.index)?.description ?? "").utf8) + name(entry).copied())
    }
}
