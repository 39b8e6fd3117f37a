import LayerCompression
import LayerModel
import TarCodec

/// An entry of a table beside one of an archive.
enum IndexComparison {
    /// What differs between them, or nil.
    static func difference(_ table: IndexTable, _ number: Int, _ tar: borrowing TarDecoder) -> String? {
        let entry = table.entries[number]
        let fields = tar.fields
        guard bytesEqual(table.name(entry), tar.name) else {
            return "the layer has \(PathBytes(tar.name.copied())) in its place"
        }
        guard kind(fields.type) == entry.kind else { return "the layer has another kind" }
        if entry.kind == .symlink || entry.kind == .hardlink {
            guard bytesEqual(table.linkName(entry), tar.linkName) else { return "the layer has another target" }
        }
        guard entry.mode == tar.headerMode else { return "the layer has another mode" }
        guard entry.uid == fields.uid, entry.gid == fields.gid else { return "the layer has another owner" }
        let size = entry.kind == .reg || table.format == .zstdChunked ? fields.size : 0
        guard entry.size == size else { return "the layer has another size" }
        if entry.kind == .char || entry.kind == .block {
            guard entry.deviceMajor == fields.deviceMajor, entry.deviceMinor == fields.deviceMinor else {
                return "the layer has another device"
            }
        }
        return times(table, entry, tar) ?? attributes(table, entry, tar)
    }

    private static func kind(_ type: UInt8) -> IndexTable.Kind? {
        switch type {
        case TarType.regular: .reg
        case TarType.directory: .dir
        case TarType.symbolicLink: .symlink
        case TarType.hardLink: .hardlink
        case TarType.character: .char
        case TarType.block: .block
        case TarType.fifo: .fifo
        default: nil
        }
    }

    private static func times(
        _ table: IndexTable, _ entry: IndexTable.Entry, _ tar: borrowing TarDecoder
    ) -> String? {
        let fields = tar.fields
        if table.format == .estargz {
            let seconds = fields.mtimeSeconds + (fields.mtimeNanoseconds >= 500_000_000 ? 1 : 0)
            return entry.modified.seconds == seconds ? nil : "the layer has another time"
        }
        let nothing: (seconds: Int64, nanoseconds: Int32) = (0, 0)
        let (accessed, changed) = (tar.accessTime ?? nothing, tar.changeTime ?? nothing)
        let isSame =
            entry.modified == IndexTable.Time(seconds: fields.mtimeSeconds, nanoseconds: fields.mtimeNanoseconds)
            && entry.accessed == IndexTable.Time(seconds: accessed.seconds, nanoseconds: accessed.nanoseconds)
            && entry.changed == IndexTable.Time(seconds: changed.seconds, nanoseconds: changed.nanoseconds)
        return isSame ? nil : "the layer has another time"
    }

    private static func attributes(
        _ table: IndexTable, _ entry: IndexTable.Entry, _ tar: borrowing TarDecoder
    ) -> String? {
        var found = 0
        for index in 0..<tar.extendedAttributeCount where tar.isPlainAttribute(index) {
            found += 1
            let name = tar.extendedAttributeName(index)
            guard let said = table.attributes[entry.attributes].first(where: { bytesEqual(table.text($0.name), name) }),
                bytesEqual(table.text(said.value), tar.extendedAttributeValue(index))
            else { return "the layer has another attribute \(PathBytes(name.copied()))" }
        }
        return found == entry.attributes.count ? nil : "the layer has fewer attributes"
    }
}

/// A tar-split beside a table, and beside what was seen of the tar.
struct TarSplitComparison {
    private let table: IndexTable
    private let checksums: [UInt64]
    private(set) var byteCount: UInt64 = 0
    private var line: [UInt8] = []
    private var object = TarSplitObject()
    private var entry = 0
    private var file = 0
    private var rest = DigestState()

    init(_ table: IndexTable, _ checksums: [UInt64]) {
        self.table = table
        self.checksums = checksums
    }

    mutating func append(_ text: RawSpan) throws(LayerError) {
        byteCount += UInt64(text.byteCount)
        var start = 0
        for index in 0..<text.byteCount where text[index] == UInt8(ascii: "\n") {
            line += text.extracting(start..<index).copied()
            try takeLine()
            start = index + 1
        }
        line += text.extracting(start..<text.byteCount).copied()
        if line.count > 16 << 20 { throw Self.error("a line of the tar-split is too long") }
    }

    private mutating func takeLine() throws(LayerError) {
        defer { line.removeAll(keepingCapacity: true) }
        guard !line.isEmpty else { return }
        let text = line
        guard object.read(text.rawBytes) else { throw Self.error("the tar-split has a line that says nothing") }
        if object.kind == .segment {
            let payload = object.payload
            rest.update(payload.rawBytes)
            return
        }
        guard entry < table.entries.count, bytesEqual(table.name(table.entries[entry]), object.name.rawBytes) else {
            throw Self.error("the tar-split has \(PathBytes(object.name)) where the table has something else")
        }
        let size = table.entries[entry].pieces.isEmpty ? 0 : table.entries[entry].size
        guard object.size == size else {
            throw Self.error("the tar-split has another size of \(PathBytes(object.name))")
        }
        entry += 1
        guard size > 0 else { return }
        var value: UInt64 = 0
        for byte in object.payload { value = value << 8 | UInt64(byte) }
        guard object.payload.count == 8, file < checksums.count, value == checksums[file] else {
            throw Self.error("the tar-split has another checksum of \(PathBytes(object.name))")
        }
        file += 1
    }

    mutating func finish(_ expected: Digest) throws(LayerError) {
        try takeLine()
        guard entry == table.entries.count else { throw Self.error("the tar-split has fewer entries than the table") }
        guard rest.finalize() == expected else {
            throw Self.error("the tar-split has other headers than the layer")
        }
    }

    private static func error(_ reason: String) -> LayerError {
        LayerError(.corruptLayer, "check the index", cause: .reason(reason))
    }
}
