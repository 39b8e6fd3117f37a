import LayerModel
import PlainJSON
import TarCodec

/// Writes the JSON lines of tar-split, byte for byte as Go's encoder does (T3 to T5).
struct TarSplitLines<Base: ByteSink & ~Copyable>: ~Copyable {
    var base: Base
    /// Objects written, which is the position of the next.
    private(set) var position = 0
    /// Bytes written.
    private(set) var byteCount: UInt64 = 0
    private var json = JSONWriter(.go)

    init(_ base: consuming Base) { self.base = base }

    /// The decoder's entry as a file object without contents.
    mutating func writeEmptyFile(_ entry: borrowing TarDecoder) throws(LayerError) {
        beginFile(entry.name)
        json.name("payload")
        json.null()
        try endLine()
    }

    /// The decoder's entry as a file object with contents of that checksum.
    mutating func writeFile(_ entry: borrowing TarDecoder, checksum: UInt64) throws(LayerError) {
        beginFile(entry.name)
        json.name("size")
        json.number(entry.storedByteCount)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(8)
        for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: checksum >> shift)) }
        json.name("payload")
        json.base64(bytes.rawBytes)
        try endLine()
    }

    /// A segment object.
    mutating func writeSegment(_ bytes: RawSpan) throws(LayerError) {
        json.beginObject()
        json.name("type")
        json.number(Int64(2))
        json.name("payload")
        json.base64(bytes)
        try endLine()
    }

    private mutating func beginFile(_ name: RawSpan) {
        json.beginObject()
        json.name("type")
        json.number(Int64(1))
        guard name.byteCount > 0 else { return }
        if isUTF8(name) {
            json.name("name")
            json.string(name)
        } else {
            json.name("name_raw")
            json.base64(name)
        }
    }

    private mutating func endLine() throws(LayerError) {
        json.name("position")
        json.number(Int64(position))
        json.endObject()
        json.endLine()
        position += 1
        byteCount += UInt64(json.bytes.count)
        let text = json.takeBytes()
        try base.write(text.rawBytes)
        json.giveBack(text)
    }
}
