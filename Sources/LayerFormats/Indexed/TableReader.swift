import LayerCompression
import LayerModel
import PlainJSON

/// Reads a table of contents as it comes, entry by entry, into an `IndexTable`; the text is never in memory as a whole.
struct TableReader {
    private(set) var table: IndexTable
    private let limits: IndexLimits
    /// The text without the objects of `entries`, each of which leaves a zero: what is read at the end.
    private var frame: [UInt8] = []
    /// The object that is being collected.
    private var object: [UInt8] = []
    private var depth = 0
    private var isInString = false
    private var isEscaped = false
    /// Within the array `entries`.
    private var isInEntries = false
    private var objectCount = 0
    private var rules = TableRules()
    private static let longestObject = 4 << 20
    private static let longestFrame = 64 << 20

    init(_ format: IndexedFormat, limits: IndexLimits) {
        table = IndexTable(format)
        self.limits = limits
    }

    /// Takes the next bytes of the text.
    mutating func append(_ text: RawSpan) throws(LayerError) {
        for index in 0..<text.byteCount { try append(text[index]) }
    }

    private mutating func append(_ byte: UInt8) throws(LayerError) {
        let isCollecting = isInEntries && depth >= 3
        if isInString {
            if isEscaped {
                isEscaped = false
            } else if byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: "\"") {
                isInString = false
            }
        } else {
            switch byte {
            case UInt8(ascii: "\""): isInString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                if depth == 1, byte == UInt8(ascii: "["), namesEntries { isInEntries = true }
                depth += 1
                guard depth <= 8 else { throw Self.malformed("nested too deeply") }
                if isInEntries, depth == 3, byte == UInt8(ascii: "{") {
                    object.removeAll(keepingCapacity: true)
                    object.append(byte)
                    return
                }
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                guard depth > 0 else { throw Self.malformed("a bracket too many") }
                depth -= 1
                if isInEntries, depth == 2, byte == UInt8(ascii: "}") {
                    object.append(byte)
                    try takeObject()
                    frame.append(UInt8(ascii: "0"))
                    return
                }
                if isInEntries, depth == 1 { isInEntries = false }
            default: break
            }
        }
        if isCollecting {
            object.append(byte)
            if object.count > Self.longestObject { throw Self.exceeded("an entry is too long") }
        } else {
            frame.append(byte)
            if frame.count > Self.longestFrame { throw Self.exceeded("there is too much beside the entries") }
        }
    }

    /// Whether the text so far ends with the name of the array of entries and a colon.
    private var namesEntries: Bool {
        var end = frame.count
        func skipBlanks() { while end > 0, [0x20, 0x0a, 0x0d, 0x09].contains(frame[end - 1]) { end -= 1 } }
        skipBlanks()
        guard end > 0, frame[end - 1] == UInt8(ascii: ":") else { return false }
        end -= 1
        skipBlanks()
        return frame[..<end].reversed().starts(with: #""entries""#.utf8.reversed())
    }

    private mutating func takeObject() throws(LayerError) {
        objectCount += 1
        let found: TableObject
        do throws(JSONError) {
            let text = object
            var reader = JSONReader(text.rawBytes, limits: JSONLimits(depth: 6, refusesRepeatedNames: true))
            found = try TableObject(&reader, &table)
            try reader.end()
        } catch {
            throw Self.malformed("entry \(objectCount): \(error)")
        }
        if let problem = rules.add(found, to: &table) { throw Self.malformed(problem, found, table) }
        guard table.entries.count <= limits.entries else { throw Self.exceeded("it has too many entries") }
    }

    /// Says that the text is complete.
    mutating func finish(tableOffset: UInt64) throws(LayerError) -> IndexTable {
        do throws(JSONError) {
            let text = frame
            var reader = JSONReader(text.rawBytes, limits: JSONLimits(depth: 8, refusesRepeatedNames: true))
            try readFrame(&reader)
            try reader.end()
        } catch {
            throw Self.malformed("\(error)")
        }
        if let problem = rules.finish(&table, tableOffset: tableOffset, limits) { throw problem }
        return table
    }

    private mutating func readFrame(_ reader: inout JSONReader) throws(JSONError) {
        var (hasVersion, hasEntries) = (false, false)
        try reader.beginObject()
        while try reader.nextMember() {
            if reader.isMember("version") {
                guard try reader.int64() == 1 else { throw reader.error(.outOfRange) }
                hasVersion = true
            } else if reader.isMember("entries") {
                var count = 0
                try reader.beginArray()
                while try reader.nextElement() {
                    guard try reader.int64() == 0 else { throw reader.error(.wanted(.object)) }
                    count += 1
                }
                guard count == objectCount else { throw reader.error(.wanted(.object)) }
                hasEntries = true
            } else if reader.isMember("tarSplitDigest"), table.format == .zstdChunked {
                guard let digest = Digest(parsing: try reader.string().string) else {
                    throw reader.error(.wanted(.string))
                }
                table.tarSplitDigest = digest
            } else {
                guard !TableObject.resembles(reader.memberName, ["version", "entries", "tarsplitdigest"]) else {
                    throw reader.error(.unexpectedByte)
                }
                try reader.skip()
            }
        }
        guard hasVersion, hasEntries else { throw reader.error(.endOfText) }
    }

    static func malformed(_ reason: String) -> LayerError {
        LayerError(.corruptLayer, "read the table of contents", cause: .reason(reason))
    }

    private static func malformed(_ problem: TableProblem, _ object: TableObject, _ table: IndexTable) -> LayerError {
        LayerError(
            problem.code, "read the table of contents", path: PathBytes(table.text(object.name).copied()),
            cause: .reason(problem.reason))
    }

    static func exceeded(_ reason: String) -> LayerError {
        LayerError(.limitExceeded, "read the table of contents", cause: .reason(reason))
    }
}

/// Bounds that a reader keeps.
public struct IndexLimits: Sendable {
    /// Entries of a table.
    public var entries = 4_000_000
    /// Bytes of the compressed table, and of the tar-split.
    public var compressedBytes: UInt64 = 150 << 20
    /// Bytes of the table's text.
    public var tableBytes: UInt64 = 512 << 20
    /// Bytes of all contents.
    public var contents: Int64 = 1 << 50
    /// Bytes that one byte of the layer may become, but for runs of zeros.
    public var ratio: Int64 = 20_000

    public init() {}
}
