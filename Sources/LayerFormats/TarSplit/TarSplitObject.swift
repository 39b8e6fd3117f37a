import LayerModel

/// One object of tar-split metadata, its fields in any order (layer-archive T3).
struct TarSplitObject {
    enum Kind: Equatable { case file, segment }

    private(set) var kind: Kind?
    private(set) var name: [UInt8] = []
    private(set) var size: Int64 = 0
    private(set) var payload: [UInt8] = []

    /// Reads the object that a line of JSON says; false if it says none.
    ///
    /// Fields that are not known are passed over, as Go does.
    mutating func read(_ line: RawSpan) -> Bool {
        kind = nil
        name.removeAll(keepingCapacity: true)
        size = 0
        payload.removeAll(keepingCapacity: true)
        var scanner = JSONScanner(line)
        guard scanner.take(UInt8(ascii: "{")) else { return false }
        if !scanner.take(UInt8(ascii: "}")) {
            repeat {
                guard let key = scanner.string(), scanner.take(UInt8(ascii: ":")), readField(key, &scanner)
                else { return false }
            } while scanner.take(UInt8(ascii: ","))
            guard scanner.take(UInt8(ascii: "}")) else { return false }
        }
        return scanner.isAtEnd && kind != nil && size >= 0
    }

    private mutating func readField(_ key: [UInt8], _ scanner: inout JSONScanner) -> Bool {
        switch String(decoding: key, as: UTF8.self) {
        case "type":
            guard let number = scanner.number() else { return false }
            kind = number == 1 ? .file : number == 2 ? .segment : nil
            return kind != nil
        case "size":
            guard let number = scanner.number() else { return false }
            size = number
            return true
        case "position": return scanner.number() != nil
        case "name":
            guard let text = scanner.string() else { return scanner.takeNull() }
            if name.isEmpty { name = text }
            return true
        case "name_raw":
            guard let text = scanner.string() else { return scanner.takeNull() }
            if !text.isEmpty { name.removeAll(keepingCapacity: true) }
            return Base64.decode(text.rawBytes, into: &name)
        case "payload":
            guard let text = scanner.plainString() else { return scanner.takeNull() }
            payload.removeAll(keepingCapacity: true)
            return Base64.decode(text, into: &payload)
        default: return scanner.skipValue()
        }
    }
}

/// Reads the flat JSON objects of tar-split.
struct JSONScanner: ~Escapable {
    private let text: RawSpan
    private var at = 0

    @_lifetime(copy text)
    init(_ text: RawSpan) { self.text = text }

    var isAtEnd: Bool {
        mutating get {
            skipBlanks()
            return at == text.byteCount
        }
    }

    /// Passes over `byte`, and blanks in front of it; false if it is not there.
    mutating func take(_ byte: UInt8) -> Bool {
        skipBlanks()
        guard at < text.byteCount, text[at] == byte else { return false }
        at += 1
        return true
    }

    mutating func takeNull() -> Bool { take(word: "null") }

    /// A whole number.
    mutating func number() -> Int64? {
        skipBlanks()
        let isNegative = take(UInt8(ascii: "-"))
        var value: Int64 = 0
        var digits = 0
        while at < text.byteCount, (0x30...0x39).contains(text[at]) {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, isTooMuch) = product.addingReportingOverflow(Int64(text[at] - 0x30))
            if overflow || isTooMuch { return nil }
            value = sum
            digits += 1
            at += 1
        }
        return digits == 0 ? nil : isNegative ? -value : value
    }

    /// A string without escapes, in place.
    @_lifetime(copy self)
    mutating func plainString() -> RawSpan? {
        guard take(UInt8(ascii: "\"")) else { return nil }
        let start = at
        while at < text.byteCount {
            let byte = text[at]
            at += 1
            if byte == UInt8(ascii: "\"") { return text.extracting(start..<at - 1) }
            // Base 64 needs no escapes, though a slash may have one: no encoder of tar-split does that.
            if byte == UInt8(ascii: "\\") { return nil }
        }
        return nil
    }

    /// A string as UTF-8. An escaped half of a surrogate pair reads U+FFFD, as Go does.
    mutating func string() -> [UInt8]? {
        guard take(UInt8(ascii: "\"")) else { return nil }
        var result: [UInt8] = []
        while at < text.byteCount {
            let byte = text[at]
            at += 1
            switch byte {
            case UInt8(ascii: "\""): return result
            case UInt8(ascii: "\\"):
                guard let scalar = escape() else { return nil }
                result.append(contentsOf: String(scalar).utf8)
            case 0..<0x20: return nil
            default: result.append(byte)
            }
        }
        return nil
    }

    /// What follows a backslash.
    private mutating func escape() -> Unicode.Scalar? {
        guard at < text.byteCount else { return nil }
        let letter = text[at]
        at += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(letter)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return unicodeEscape()
        default: return nil
        }
    }

    private mutating func unicodeEscape() -> Unicode.Scalar? {
        guard let first = hexadecimal() else { return nil }
        guard (0xd800..<0xdc00).contains(first) else { return Unicode.Scalar(first) ?? "\u{fffd}" }
        let start = at
        if at + 1 < text.byteCount, text[at] == UInt8(ascii: "\\"), text[at + 1] == UInt8(ascii: "u") {
            at += 2
            if let second = hexadecimal(), (0xdc00..<0xe000).contains(second) {
                return Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
            }
        }
        at = start
        return "\u{fffd}"
    }

    private mutating func hexadecimal() -> UInt32? {
        guard at + 4 <= text.byteCount else { return nil }
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(text[at])).hexDigitValue, text[at] < 0x80 else { return nil }
            value = value << 4 | UInt32(digit)
            at += 1
        }
        return value
    }

    /// Passes over any value, objects and arrays nested in it too.
    mutating func skipValue() -> Bool {
        var depth = 0
        repeat {
            skipBlanks()
            guard at < text.byteCount else { return false }
            switch text[at] {
            case UInt8(ascii: "\""):
                guard string() != nil else { return false }
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                at += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                guard depth > 0 else { return false }
                depth -= 1
                at += 1
            case UInt8(ascii: ","), UInt8(ascii: ":"):
                guard depth > 0 else { return false }
                at += 1
            default:
                let start = at
                while at < text.byteCount, Self.isWord(text[at]) { at += 1 }
                if at == start { return false }
            }
        } while depth > 0
        return true
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."): true
        default: false
        }
    }

    private mutating func take(word: StaticString) -> Bool {
        skipBlanks()
        guard bytes(text.extracting(at..<text.byteCount), startWith: word) else { return false }
        at += word.utf8CodeUnitCount
        return true
    }

    private mutating func skipBlanks() {
        while at < text.byteCount, text[at] == 0x20 || (0x09...0x0d).contains(text[at]) { at += 1 }
    }
}
