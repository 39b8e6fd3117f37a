import LayerModel

/// JSON that is written byte by byte, since names and paths need not be UTF-8: what is not reads U+FFFD, as Go's decoder
/// would make of it.
package struct JSONBytes {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// Text that is JSON already.
    package mutating func raw(_ text: StaticString) {
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    package mutating func number(_ value: some BinaryInteger) { bytes.append(contentsOf: value.description.utf8) }

    package mutating func string(_ text: String) { string(Array(text.utf8).rawBytes) }

    package mutating func string(_ text: RawSpan) {
        bytes.append(UInt8(ascii: "\""))
        if Self.isPlain(text) {
            text.withUnsafeBytes { bytes.append(contentsOf: $0) }
        } else {
            let repaired = text.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            for scalar in repaired.unicodeScalars { append(scalar) }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func isPlain(_ text: RawSpan) -> Bool {
        for index in 0..<text.byteCount {
            let byte = text[index]
            if byte < 0x20 || byte >= 0x7f || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return false }
        }
        return true
    }

    private mutating func append(_ scalar: Unicode.Scalar) {
        switch scalar {
        case "\"": raw("\\\"")
        case "\\": raw("\\\\")
        case _ where scalar.value < 0x20 || scalar.value == 0x7f:
            let digits = String(scalar.value, radix: 16)
            bytes.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).utf8)
        default: bytes.append(contentsOf: String(scalar).utf8)
        }
    }
}
