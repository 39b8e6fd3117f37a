import LayerModel

/// Which characters of a string are escaped, and how, beyond what RFC 8259 asks for.
public struct JSONStyle: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// A line feed is `\n`, not `\u000a`.
    public static let newlines = JSONStyle(rawValue: 1)
    /// Carriage returns and tabs are `\r` and `\t`.
    public static let tabs = JSONStyle(rawValue: 2)
    /// `<` is escaped, so that the text can stand inside a script element.
    public static let openingBrackets = JSONStyle(rawValue: 4)
    /// `<`, `>`, `&` and the line ends of JavaScript are escaped.
    public static let markup = JSONStyle(rawValue: 8)
    /// The control character U+007F is escaped like the others.
    public static let deletes = JSONStyle(rawValue: 16)

    /// As Go's encoder does: equal contents have equal bytes, and so equal digests.
    public static let go: JSONStyle = [.newlines, .tabs, .markup]
}

/// Writes JSON (RFC 8259) into memory, a piece at a time; commas come by themselves.
///
/// Whoever writes much takes `bytes` and calls `removeAll` now and then. Nothing is allocated but for the buffer's growth.
public struct JSONWriter: Sendable {
    /// What was written.
    public private(set) var bytes: [UInt8] = []
    private let style: JSONStyle
    private var needsComma = false

    public init(_ style: JSONStyle = []) { self.style = style }

    /// Forgets what was written, but not whether a comma comes next.
    public mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    /// Takes what was written out; the memory may be given back.
    public mutating func takeBytes() -> [UInt8] {
        var taken: [UInt8] = []
        swap(&taken, &bytes)
        return taken
    }

    /// Gives memory back that `takeBytes` took out, for reuse.
    public mutating func giveBack(_ memory: consuming [UInt8]) {
        guard bytes.isEmpty else { return }
        bytes = memory
        bytes.removeAll(keepingCapacity: true)
    }

    public mutating func beginObject() { begin(UInt8(ascii: "{")) }
    public mutating func endObject() { end(UInt8(ascii: "}")) }
    public mutating func beginArray() { begin(UInt8(ascii: "[")) }
    public mutating func endArray() { end(UInt8(ascii: "]")) }

    /// The name of the member whose value comes next: ASCII that needs no escapes.
    public mutating func name(_ name: StaticString) {
        beginValue()
        bytes.append(UInt8(ascii: "\""))
        put(name)
        bytes.append(UInt8(ascii: "\""))
        endName()
    }

    /// The name of the member whose value comes next.
    public mutating func name(_ name: RawSpan) {
        string(name)
        endName()
    }

    @_disfavoredOverload
    public mutating func name(_ name: String) {
        string(name)
        endName()
    }

    public mutating func null() { word("null") }
    public mutating func bool(_ value: Bool) { word(value ? "true" : "false") }

    public mutating func number(_ value: some BinaryInteger) {
        if let small = Int64(exactly: value) { number(small) } else { number(UInt64(value)) }
    }

    public mutating func number(_ value: Int64) {
        beginValue()
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        putDigits(value.magnitude)
    }

    public mutating func number(_ value: UInt64) {
        beginValue()
        putDigits(value)
    }

    /// Seconds to the microsecond; what is below zero is zero.
    public mutating func seconds(_ value: Double) {
        beginValue()
        let micros = UInt64((max(0, value) * 1_000_000).rounded())
        putDigits(micros / 1_000_000)
        bytes.append(UInt8(ascii: "."))
        var divisor: UInt64 = 100_000
        while divisor > 0 {
            bytes.append(UInt8(ascii: "0") + UInt8(micros / divisor % 10))
            divisor /= 10
        }
    }

    public mutating func string(_ text: String) {
        // Reason: bytes have no padding and no alignment.
        string(unsafe text.utf8.span.bytes)
    }

    /// Text; of bytes that are not UTF-8 each longest beginning of a character reads U+FFFD.
    public mutating func string(_ text: RawSpan) {
        beginValue()
        bytes.append(UInt8(ascii: "\""))
        putEscaped(text)
        bytes.append(UInt8(ascii: "\""))
    }

    /// A member that is a path of any bytes: a string if it is UTF-8, else base 64 in a member whose name ends in `Bytes`.
    public mutating func path(_ name: StaticString, _ path: RawSpan) {
        let isText = isUTF8(path)
        beginValue()
        bytes.append(UInt8(ascii: "\""))
        put(name)
        if !isText { put("Bytes") }
        bytes.append(UInt8(ascii: "\""))
        endName()
        if isText { string(path) } else { base64(path) }
    }

    /// A string of characters that need no escapes: a digest, base 64.
    public mutating func plainString(_ text: RawSpan) {
        beginValue()
        bytes.append(UInt8(ascii: "\""))
        appendBytes(text, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    /// Bytes as base 64.
    public mutating func base64(_ value: RawSpan) {
        beginValue()
        bytes.append(UInt8(ascii: "\""))
        Base64.append(value, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    /// A value that is JSON already.
    public mutating func value(_ json: RawSpan) {
        beginValue()
        appendBytes(json, to: &bytes)
    }

    /// Begins a line, if a value stands before: the next one then comes first in it.
    public mutating func beginLine() {
        guard needsComma else { return }
        put(",\n")
        needsComma = false
    }

    /// Ends a document of which more follow, a line each.
    public mutating func endLine() {
        put("\n")
        needsComma = false
    }

    private mutating func begin(_ byte: UInt8) {
        beginValue()
        bytes.append(byte)
        needsComma = false
    }

    private mutating func end(_ byte: UInt8) {
        bytes.append(byte)
        needsComma = true
    }

    private mutating func beginValue() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    private mutating func endName() {
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    private mutating func word(_ text: StaticString) {
        beginValue()
        put(text)
    }

    private mutating func put(_ text: StaticString) {
        for index in 0..<text.utf8CodeUnitCount { bytes.append(asciiByte(text, index)) }
    }

    private mutating func putDigits(_ value: UInt64) {
        var divisor: UInt64 = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            bytes.append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }

    private mutating func putEscaped(_ text: RawSpan) {
        var index = 0
        while index < text.byteCount {
            // Where nothing but the rule's own characters is escaped, most texts pass in words.
            if !style.contains(.markup), !style.contains(.openingBrackets) {
                let end = PlainWord.end(text, from: index)
                if end > index { appendBytes(text.extracting(index..<end), to: &bytes) }
                index = end
                guard index < text.byteCount else { return }
            }
            let byte = text[index]
            if byte < 0x80 {
                putASCII(byte)
                index += 1
                continue
            }
            let (length, isWhole) = UTF8Scan.subpart(text, index)
            if !isWhole {
                put("\u{fffd}")
            } else if style.contains(.markup), isLineEnd(text, index, length) {
                putHexadecimal(UInt16(text[index + 2] & 1) | 0x2028)
            } else {
                appendBytes(text.extracting(index..<index + length), to: &bytes)
            }
            index += length
        }
    }

    /// U+2028 and U+2029, which end lines in JavaScript.
    private func isLineEnd(_ text: RawSpan, _ index: Int, _ length: Int) -> Bool {
        length == 3 && text[index] == 0xe2 && text[index + 1] == 0x80 && text[index + 2] & 0xfe == 0xa8
    }

    private mutating func putASCII(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            bytes.append(UInt8(ascii: "\\"))
            bytes.append(byte)
        case 0x0a where style.contains(.newlines): put("\\n")
        case 0x0d where style.contains(.tabs): put("\\r")
        case 0x09 where style.contains(.tabs): put("\\t")
        case 0..<0x20: putHexadecimal(UInt16(byte))
        case 0x7f where style.contains(.deletes): putHexadecimal(0x7f)
        case UInt8(ascii: "<") where !style.isDisjoint(with: [.markup, .openingBrackets]): putHexadecimal(UInt16(byte))
        case UInt8(ascii: ">"), UInt8(ascii: "&"):
            if style.contains(.markup) { putHexadecimal(UInt16(byte)) } else { bytes.append(byte) }
        default: bytes.append(byte)
        }
    }

    private mutating func putHexadecimal(_ value: UInt16) {
        put("\\u")
        for shift: UInt16 in [12, 8, 4, 0] {
            bytes.append(hexadecimalDigit(UInt8(truncatingIfNeeded: value >> shift & 15)))
        }
    }
}
