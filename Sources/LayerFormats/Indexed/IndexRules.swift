import LayerModel
import PlainJSON
import TarCodec

/// What an index can say of an archive's entries.
struct IndexRules {
    private var seen = NameTable()
    private var name = CleanName()

    /// Why the decoder's entry cannot stand in an index, after all those that came before it; nil if it can.
    mutating func obstacle(_ entry: borrowing TarDecoder, _ format: IndexedFormat) -> IndexObstacle? {
        let fields = entry.fields
        var path: PathBytes { PathBytes(entry.name.copied()) }
        if entry.globalHeaderCount > 0 { return .globalHeader }
        if entry.isSparse { return .sparse(path) }
        let isKnown = fields.type == TarType.regular || TarType.isBodyless(fields.type)
        if !isKnown { return .type(path) }
        if !isUTF8(entry.name) { return .nameNotUTF8(path) }
        if !isUTF8(entry.linkName) { return .linkNotUTF8(path) }
        for index in 0..<entry.extendedAttributeCount where !isUTF8(entry.extendedAttributeName(index)) {
            return .attributeNotUTF8(path)
        }
        if format == .estargz, !isUTF8(entry.userName) || !isUTF8(entry.groupName) { return .ownerNotUTF8(path) }
        if fields.uid < 0 || fields.gid < 0 || fields.deviceMajor < 0 || fields.deviceMinor < 0 || fields.size < 0 {
            return .number(path)
        }
        if !hasTimesInRange(entry) { return .time(path) }
        if fields.type == TarType.hardLink {
            name.set(entry.linkName)
            if !seen.contains(name.hash) { return .missingTarget(path) }
        }
        name.set(entry.name)
        return seen.insert(name.hash, bit: false) == nil ? nil : .repeatedName(path)
    }

    private func hasTimesInRange(_ entry: borrowing TarDecoder) -> Bool {
        // Rounded, the last second would be in the next year.
        IndexTime.range.contains(entry.fields.mtimeSeconds)
            && IndexTime.range.contains(entry.fields.mtimeSeconds &+ 1)
            && IndexTime.range.contains(entry.accessTime?.seconds ?? 0)
            && IndexTime.range.contains(entry.changeTime?.seconds ?? 0)
    }
}
