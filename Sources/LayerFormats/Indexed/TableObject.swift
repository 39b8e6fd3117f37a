import LayerCompression
import LayerModel
import PlainJSON

/// One object of a table of contents: an entry, or a piece of the entry before it.
struct TableObject {
    var isChunk = false
    var entry = IndexTable.Entry()
    var name: Range<Int> { entry.name }
    var offset: UInt64?
    var innerOffset: Int64?
    var chunkSize: Int64?
    var chunkOffset: Int64?
    var chunkDigest: Digest?
    var isZeros = false
    /// It says something that only files with contents say.
    var hasContentsField: Bool {
        offset != nil || innerOffset != nil || chunkSize != nil || chunkOffset != nil || chunkDigest != nil || isZeros
            || entry.endOffset != nil
    }

    private static let known: [String] = [
        "type", "name", "linkname", "mode", "size", "uid", "gid", "username", "groupname", "modtime", "accesstime",
        "changetime", "devmajor", "devminor", "xattrs", "digest", "offset", "endoffset", "chunksize", "chunkoffset",
        "chunkdigest", "chunktype", "inneroffset",
    ]

    /// Whether a name that is not known differs from a known one in case only: other readers would take it for that one.
    static func resembles(_ name: borrowing JSONText, _ known: [String]) -> Bool {
        let lower = name.copied().map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        return known.contains { $0.utf8.elementsEqual(lower) }
    }

    /// Reads the object; its texts go to the table.
    init(_ reader: inout JSONReader, _ table: inout IndexTable) throws(JSONError) {
        var hasType = false
        try reader.beginObject()
        while try reader.nextMember() {
            if reader.isMember("type") {
                hasType = true
                try readType(&reader)
            } else if try !readText(&reader, &table), try !readNumber(&reader), try !readContents(&reader, table.format)
            {
                guard !Self.resembles(reader.memberName, Self.known) else { throw reader.error(.unexpectedByte) }
                try reader.skip()
            }
        }
        guard hasType, !name.isEmpty else { throw reader.error(.endOfText) }
    }

    private mutating func readType(_ reader: inout JSONReader) throws(JSONError) {
        let text = try reader.string().string
        if text == "chunk" {
            isChunk = true
        } else if let kind = IndexTable.Kind(rawValue: text) {
            entry.kind = kind
        } else {
            throw reader.error(.wanted(.string))
        }
    }

    private mutating func readText(_ reader: inout JSONReader, _ table: inout IndexTable) throws(JSONError) -> Bool {
        if reader.isMember("name") {
            entry.name = try Self.keep(reader.string(), &table)
        } else if reader.isMember("linkName") {
            entry.linkName = try Self.keep(reader.string(), &table)
        } else if reader.isMember("modtime") {
            entry.modified = try Self.time(&reader)
        } else if reader.isMember("accesstime") {
            entry.accessed = try Self.time(&reader)
        } else if reader.isMember("changetime") {
            entry.changed = try Self.time(&reader)
        } else if reader.isMember("xattrs") {
            try readAttributes(&reader, &table)
        } else if reader.isMember("userName") || reader.isMember("groupName") {
            _ = try reader.string()
        } else {
            return false
        }
        return true
    }

    private mutating func readNumber(_ reader: inout JSONReader) throws(JSONError) -> Bool {
        if reader.isMember("mode") {
            guard let mode = UInt32(exactly: try Self.number(&reader)) else { throw reader.error(.outOfRange) }
            entry.mode = mode
        } else if reader.isMember("size") {
            entry.size = try Self.number(&reader)
        } else if reader.isMember("uid") {
            entry.uid = try Self.number(&reader)
        } else if reader.isMember("gid") {
            entry.gid = try Self.number(&reader)
        } else if reader.isMember("devMajor") {
            entry.deviceMajor = try Self.number(&reader)
        } else if reader.isMember("devMinor") {
            entry.deviceMinor = try Self.number(&reader)
        } else {
            return false
        }
        return true
    }

    private mutating func readContents(
        _ reader: inout JSONReader, _ format: IndexedFormat
    ) throws(JSONError) -> Bool {
        if reader.isMember("digest") {
            entry.digest = try Self.digest(&reader)
        } else if reader.isMember("offset") {
            offset = UInt64(try Self.number(&reader))
        } else if reader.isMember("endOffset") {
            entry.endOffset = UInt64(try Self.number(&reader))
        } else if reader.isMember("innerOffset"), format == .estargz {
            innerOffset = try Self.number(&reader)
        } else if reader.isMember("chunkSize") {
            chunkSize = try Self.number(&reader)
        } else if reader.isMember("chunkOffset") {
            chunkOffset = try Self.number(&reader)
        } else if reader.isMember("chunkDigest") {
            chunkDigest = try Self.digest(&reader)
        } else if reader.isMember("chunkType") {
            let text = try reader.string()
            isZeros = text.equals("zeros")
            guard isZeros || text.equals("") else { throw reader.error(.wanted(.string)) }
        } else {
            return false
        }
        return true
    }

    private mutating func readAttributes(
        _ reader: inout JSONReader, _ table: inout IndexTable
    ) throws(JSONError) {
        let start = table.attributes.count
        try reader.beginObject()
        while try reader.nextMember() {
            let name = Self.keep(reader.memberName, &table)
            let valueStart = table.texts.count
            let text = try reader.string()
            guard !text.hasEscapes, Base64.decode(text.raw, into: &table.texts) else {
                throw reader.error(.wanted(.string))
            }
            table.attributes.append(IndexTable.Attribute(name: name, value: valueStart..<table.texts.count))
        }
        entry.attributes = start..<table.attributes.count
    }

    private static func keep(_ text: borrowing JSONText, _ table: inout IndexTable) -> Range<Int> {
        let start = table.texts.count
        text.append(to: &table.texts)
        return start..<table.texts.count
    }

    /// A number that is never below zero.
    private static func number(_ reader: inout JSONReader) throws(JSONError) -> Int64 {
        let value = try reader.int64()
        guard value >= 0 else { throw reader.error(.outOfRange) }
        return value
    }

    private static func digest(_ reader: inout JSONReader) throws(JSONError) -> Digest? {
        let text = try reader.string()
        if text.raw.byteCount == 0 { return nil }
        guard let digest = Digest(parsing: text.string) else { throw reader.error(.wanted(.string)) }
        return digest
    }

    private static func time(_ reader: inout JSONReader) throws(JSONError) -> IndexTable.Time {
        let text = try reader.string().copied()
        guard let time = IndexTime.parse(text.rawBytes) else { throw reader.error(.wanted(.string)) }
        // What early writers put for no time at all.
        if time.seconds == IndexTime.range.lowerBound { return IndexTable.Time(seconds: 0, nanoseconds: 0) }
        return IndexTable.Time(seconds: time.seconds, nanoseconds: time.nanoseconds)
    }
}
