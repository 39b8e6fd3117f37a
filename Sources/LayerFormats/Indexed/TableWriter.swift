import LayerCompression
import LayerModel
import PlainJSON
import TarCodec

/// Makes the table of contents of entries and pieces: entries come in the archive's order, pieces are placed later, and each
/// entry is written when all of its pieces are placed.
struct TableWriter: ~Copyable {
    /// An entry that is not written yet.
    private struct Entry {
        /// Its members, but for those that tell of pieces; and in it the name, with its quotes.
        var text: Range<Int>
        var name: Range<Int>
        /// Its pieces, and how many there will be; nil while that is not known.
        var firstPiece: Int
        var pieceCount: Int?
        var digest: Digest?
        var hasContents: Bool
        /// An empty regular file, which some tables give a digest.
        var isEmptyFile: Bool
    }

    private struct Piece {
        var byteCount: Int64
        var isZeros: Bool
        var place: WrittenPiece?
    }

    private let format: IndexedFormat
    private var entries: [Entry] = []
    private var firstEntry = 0
    private var pieces: [Piece] = []
    /// The number of the first of `pieces`.
    private var firstPiece = 0
    private var texts: [UInt8] = []
    private var json: JSONWriter
    private var lastUser: [Int64: [UInt8]] = [:]
    private var lastGroup: [Int64: [UInt8]] = [:]
    /// Objects for entries that were begun.
    private(set) var entryCount = 0

    init(_ format: IndexedFormat) {
        self.format = format
        json = JSONWriter()
        json.beginObject()
        json.name("version")
        json.number(Int64(1))
        json.name("entries")
        json.beginArray()
    }

    // MARK: Entries

    /// Adds the decoder's entry, which the index can carry.
    mutating func begin(_ entry: borrowing TarDecoder) {
        entryCount += 1
        var writer = JSONWriter()
        writer.beginObject()
        writer.name("type")
        writer.string(Self.typeName(entry.fields.type))
        writer.name("name")
        let nameStart = writer.bytes.count
        writer.string(entry.name)
        let nameEnd = writer.bytes.count
        addFields(entry, &writer)
        addTimes(entry, &writer)
        addAttributes(entry, &writer)
        let start = texts.count
        texts.append(contentsOf: writer.bytes.dropFirst())
        let hasContents = entry.storedByteCount > 0
        entries.append(
            Entry(
                text: start..<texts.count, name: start + nameStart - 1..<start + nameEnd - 1,
                firstPiece: firstPiece + pieces.count, pieceCount: hasContents ? nil : 0, digest: nil,
                hasContents: hasContents,
                isEmptyFile: entry.fields.type == TarType.regular && entry.fields.size == 0))
    }

    /// The number of the next piece of the entry begun last.
    mutating func addPiece(_ byteCount: Int64, isZeros: Bool = false) -> Int {
        pieces.append(Piece(byteCount: byteCount, isZeros: isZeros))
        return firstPiece + pieces.count - 1
    }

    /// Notes how long a piece was, which is known at its end.
    mutating func setLength(_ piece: Int, _ byteCount: Int64) { pieces[piece - firstPiece].byteCount = byteCount }

    /// Says that the entry begun last has no more pieces; the digest is that of all its contents, nil where it has one piece.
    mutating func endEntry(_ digest: Digest?) {
        guard let last = entries.indices.last else { return }
        entries[last].pieceCount = firstPiece + pieces.count - entries[last].firstPiece
        entries[last].digest = digest
    }

    /// Takes a place, and writes the entries that are complete then.
    mutating func place(_ piece: WrittenPiece) { pieces[piece.id - firstPiece].place = piece }

    /// Writes what is complete; the text so far is in `text` until it is taken.
    mutating func writeComplete() {
        while firstEntry < entries.count, let count = entries[firstEntry].pieceCount {
            let entry = entries[firstEntry]
            let start = entry.firstPiece - firstPiece
            for index in start..<start + count where pieces[index].place == nil { return }
            write(entry, start..<start + count)
            firstEntry += 1
        }
        // What was written is dropped now and then.
        guard firstEntry > 4096 || firstEntry == entries.count && firstEntry > 0 else { return }
        let textStart = firstEntry < entries.count ? entries[firstEntry].text.lowerBound : texts.count
        let pieceEnd = firstEntry < entries.count ? entries[firstEntry].firstPiece : firstPiece + pieces.count
        pieces.removeFirst(pieceEnd - firstPiece)
        firstPiece = pieceEnd
        texts.removeFirst(textStart)
        entries.removeFirst(firstEntry)
        for index in entries.indices {
            entries[index].text =
                entries[index].text.lowerBound - textStart..<entries[index].text.upperBound - textStart
            entries[index].name =
                entries[index].name.lowerBound - textStart..<entries[index].name.upperBound - textStart
        }
        firstEntry = 0
    }

    /// Ends the text, with the digest of the tar-split where there is one.
    mutating func finish(tarSplit: Digest?) {
        precondition(firstEntry == entries.count, "all pieces are placed at the end")
        json.endArray()
        if let tarSplit {
            json.name("tarSplitDigest")
            json.string(tarSplit.description)
        }
        json.endObject()
    }

    /// The text so far, which is forgotten then if it is long enough or `all` is wanted.
    mutating func takeText(all: Bool = false, _ body: (RawSpan) throws(LayerError) -> Void) throws(LayerError) {
        guard all || json.bytes.count >= 64 << 10 else { return }
        let text = json.takeBytes()
        try body(text.rawBytes)
        json.giveBack(text)
    }

    // MARK: Members

    private static func typeName(_ type: UInt8) -> String {
        switch type {
        case TarType.directory: "dir"
        case TarType.symbolicLink: "symlink"
        case TarType.hardLink: "hardlink"
        case TarType.character: "char"
        case TarType.block: "block"
        case TarType.fifo: "fifo"
        default: "reg"
        }
    }

    private mutating func addFields(_ entry: borrowing TarDecoder, _ writer: inout JSONWriter) {
        let fields = entry.fields
        if fields.type == TarType.symbolicLink || fields.type == TarType.hardLink, entry.linkName.byteCount > 0 {
            writer.name("linkName")
            writer.string(entry.linkName)
        }
        Self.add("mode", Int64(entry.headerMode), &writer)
        let isRegular = fields.type == TarType.regular
        if format == .zstdChunked || isRegular { Self.add("size", fields.size, &writer) }
        Self.add("uid", fields.uid, &writer)
        Self.add("gid", fields.gid, &writer)
        if fields.type == TarType.character || fields.type == TarType.block {
            Self.add("devMajor", fields.deviceMajor, &writer)
            Self.add("devMinor", fields.deviceMinor, &writer)
        }
        guard format == .estargz else { return }
        let (user, group) = (entry.userName.copied(), entry.groupName.copied())
        if lastUser[fields.uid, default: []] != user {
            lastUser[fields.uid] = user
            writer.name("userName")
            writer.string(user.rawBytes)
        }
        if lastGroup[fields.gid, default: []] != group {
            lastGroup[fields.gid] = group
            writer.name("groupName")
            writer.string(group.rawBytes)
        }
    }

    private mutating func addTimes(_ entry: borrowing TarDecoder, _ writer: inout JSONWriter) {
        let fields = entry.fields
        if format == .estargz {
            // Whole seconds, the half rounded up.
            let seconds = fields.mtimeSeconds + (fields.mtimeNanoseconds >= 500_000_000 ? 1 : 0)
            if seconds != 0 { Self.add("modtime", seconds, 0, &writer) }
            return
        }
        Self.add("modtime", fields.mtimeSeconds, fields.mtimeNanoseconds, &writer)
        if let time = entry.accessTime { Self.add("accesstime", time.seconds, time.nanoseconds, &writer) }
        if let time = entry.changeTime { Self.add("changetime", time.seconds, time.nanoseconds, &writer) }
    }

    private mutating func addAttributes(_ entry: borrowing TarDecoder, _ writer: inout JSONWriter) {
        var isOpen = false
        for index in 0..<entry.extendedAttributeCount where entry.isPlainAttribute(index) {
            if !isOpen {
                writer.name("xattrs")
                writer.beginObject()
                isOpen = true
            }
            writer.name(entry.extendedAttributeName(index))
            writer.base64(entry.extendedAttributeValue(index))
        }
        if isOpen { writer.endObject() }
    }

    private static func add(_ name: StaticString, _ value: Int64, _ writer: inout JSONWriter) {
        guard value != 0 else { return }
        writer.name(name)
        writer.number(value)
    }

    private static func add(
        _ name: StaticString, _ seconds: Int64, _ nanoseconds: Int32, _ writer: inout JSONWriter
    ) {
        var text: [UInt8] = []
        IndexTime.append(seconds, nanoseconds, to: &text)
        writer.name(name)
        writer.plainString(text.rawBytes)
    }

    private mutating func write(_ entry: Entry, _ range: Range<Int>) {
        let texts = texts
        json.beginObject()
        json.value(texts.rawBytes.extracting(entry.text))
        if let place = range.first.flatMap({ pieces[$0].place }) {
            json.name("digest")
            json.string((entry.digest ?? place.digest).description)
            addPlace(place)
            if format == .zstdChunked, let last = range.last.flatMap({ pieces[$0].place }) {
                json.name("endOffset")
                json.number(last.end)
            }
            addChunk(range.lowerBound, offset: 0, isOnly: range.count == 1, isLast: range.count == 1)
        } else if entry.isEmptyFile, format == .estargz {
            json.name("digest")
            json.string(Digest.of([UInt8]().rawBytes).description)
        }
        json.endObject()
        guard range.count > 1 else { return }
        var offset = pieces[range.lowerBound].byteCount
        for index in range.dropFirst() {
            guard let place = pieces[index].place else { continue }
            json.beginObject()
            json.name("type")
            json.string("chunk")
            json.name("name")
            json.value(texts.rawBytes.extracting(entry.name))
            addPlace(place)
            addChunk(index, offset: offset, isOnly: false, isLast: index == range.upperBound - 1)
            json.endObject()
            offset += pieces[index].byteCount
        }
    }

    private mutating func addPlace(_ place: WrittenPiece) {
        // An offset of zero cannot be: a header comes first.
        json.name("offset")
        json.number(place.offset)
        if format == .estargz, place.innerOffset > 0 {
            json.name("innerOffset")
            json.number(place.innerOffset)
        }
    }

    private mutating func addChunk(_ index: Int, offset: Int64, isOnly: Bool, isLast: Bool) {
        guard let place = pieces[index].place else { return }
        if format == .zstdChunked ? !isOnly : !isLast {
            json.name("chunkSize")
            json.number(pieces[index].byteCount)
        }
        if offset > 0 {
            json.name("chunkOffset")
            json.number(offset)
        }
        guard format == .estargz || !isOnly else { return }
        json.name("chunkDigest")
        json.string(place.digest.description)
        if pieces[index].isZeros {
            json.name("chunkType")
            json.string("zeros")
        }
    }
}
