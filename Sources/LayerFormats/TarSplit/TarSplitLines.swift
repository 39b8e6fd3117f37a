import LayerModel
import TarCodec

/// Writes the JSON lines of tar-split, byte for byte as Go's encoder does (layer-archive T3 to T5).
struct TarSplitLines<Base: ByteSink & ~Copyable>: ~Copyable {
    var base: Base
    /// Objects written, which is the position of the next.
    private(set) var position = 0
    private var line: [UInt8]
    private var count = 0

    init(_ base: consuming Base) {
        self.base = base
        line = [UInt8](repeating: 0, count: 4096)
    }

    /// The decoder's entry as a file object without contents.
    mutating func writeEmptyFile(_ entry: borrowing TarDecoder) throws(LayerError) {
        beginFile(entry.name)
        put("\"payload\":null")
        try endLine()
    }

    /// The decoder's entry as a file object with contents of that checksum.
    mutating func writeFile(_ entry: borrowing TarDecoder, checksum: UInt64) throws(LayerError) {
        beginFile(entry.name)
        put("\"size\":")
        putNumber(entry.storedByteCount)
        put(",\"payload\":\"")
        var bytes: [UInt8] = []
        bytes.reserveCapacity(8)
        for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: checksum >> shift)) }
        putBase64(bytes.rawBytes)
        put("\"")
        try endLine()
    }

    /// A segment object.
    mutating func writeSegment(_ bytes: RawSpan) throws(LayerError) {
        reserve(bytes.byteCount / 3 * 4 + 128)
        put("{\"type\":2,\"payload\":\"")
        putBase64(bytes)
        put("\"")
        try endLine()
    }

    private mutating func beginFile(_ name: RawSpan) {
        reserve(name.byteCount * 6 + 256)
        put("{\"type\":1,")
        guard name.byteCount > 0 else { return }
        if isPlain(name) {
            put("\"name\":\"")
            put(name)
        } else if let text = String(validating: name.copied(), as: UTF8.self) {
            put("\"name\":\"")
            putEscaped(text)
        } else {
            put("\"name_raw\":\"")
            putBase64(name)
        }
        put("\",")
    }

    private mutating func endLine() throws(LayerError) {
        put(",\"position\":")
        putNumber(Int64(position))
        put("}\n")
        position += 1
        let text = line
        try base.write(text.rawBytes.extracting(0..<count))
        count = 0
    }

    /// Makes room for `more` bytes, and for the end of the line.
    private mutating func reserve(_ more: Int) {
        let needed = count + more + 64
        if line.count < needed { line += [UInt8](repeating: 0, count: needed - line.count) }
    }

    /// Whether the name is ASCII that JSON takes as it is.
    private func isPlain(_ name: RawSpan) -> Bool {
        for index in 0..<name.byteCount where !Self.isPlain(name[index]) { return false }
        return true
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"): false
        default: byte >= 0x20 && byte < 0x80
        }
    }

    /// What Go escapes: quotes, control characters, HTML's characters, and the line ends of JavaScript.
    private mutating func putEscaped(_ text: String) {
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": put("\\\"")
            case "\\": put("\\\\")
            case "\n": put("\\n")
            case "\r": put("\\r")
            case "\t": put("\\t")
            case "<", ">", "&", "\u{0}"..."\u{1f}", "\u{2028}", "\u{2029}": putHexadecimal(scalar.value)
            default: for byte in String(scalar).utf8 { put(byte) }
            }
        }
    }

    private mutating func putHexadecimal(_ value: UInt32) {
        put("\\u")
        for shift: UInt32 in [12, 8, 4, 0] {
            let digit = UInt8(truncatingIfNeeded: value >> shift & 15)
            put(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    private mutating func put(_ byte: UInt8) {
        line[count] = byte
        count += 1
    }

    private mutating func put(_ text: StaticString) {
        for index in 0..<text.utf8CodeUnitCount { put(asciiByte(text, index)) }
    }

    private mutating func put(_ bytes: RawSpan) {
        let start = count
        count += bytes.byteCount
        var target = line.mutableSpan
        for index in 0..<bytes.byteCount { target[start + index] = bytes[index] }
    }

    private mutating func putNumber(_ value: Int64) {
        var divisor: Int64 = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            put(UInt8(ascii: "0") + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }

    private mutating func putBase64(_ bytes: RawSpan) {
        let start = count
        count = start + Base64.encode(bytes, into: &line, at: start)
    }
}
