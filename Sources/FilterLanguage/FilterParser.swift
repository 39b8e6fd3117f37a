/// Where and why a filter cannot be read.
package struct FilterSyntaxError: Error, Equatable {
    /// Bytes in front of it.
    package let position: Int
    package let reason: String
}

/// Reads one filter: selectors with commas between them. White space between tokens does not count.
package struct FilterParser {
    private let text: [UInt8]
    private var position = 0

    package init(_ text: String) { self.text = Array(text.utf8) }

    /// All selectors; none for an empty filter.
    package mutating func selectors() throws(FilterSyntaxError) -> [FilterSelector] {
        guard !text.isEmpty else { return [] }
        var selectors = [try selector()]
        while next != nil {
            guard next == comma else { throw failure("a comma is expected") }
            position += 1
            selectors.append(try selector())
        }
        return selectors
    }

    private mutating func selector() throws(FilterSyntaxError) -> FilterSelector {
        var field = [try fieldName()]
        while next == dot {
            position += 1
            field.append(try fieldName())
        }
        guard let byte = next, Self.operators.contains(byte) else {
            return FilterSelector(field: field, test: .present)
        }
        let start = position
        while position < text.count, Self.operators.contains(text[position]) { position += 1 }
        switch String(decoding: text[start..<position], as: UTF8.self) {
        case "==": return FilterSelector(field: field, test: .equal(try value(isExpression: false)))
        case "!=": return FilterSelector(field: field, test: .different(try value(isExpression: false)))
        case "~=":
            let text = try value(isExpression: true)
            do throws(ExpressionTooLarge) {
                return FilterSelector(field: field, test: .search(try FilterExpression(text)))
            } catch {
                position = start
                throw failure("the expression is too large: \(error.reason)")
            }
        case let found:
            position = start
            throw failure("unsupported operator \"\(found)\"; there are ==, != and ~=")
        }
    }

    private mutating func fieldName() throws(FilterSyntaxError) -> String {
        guard let byte = next else { throw failure("a field is expected") }
        if byte == quote { return try quoted(byte, isExpression: false) }
        let start = position
        while position < text.count, Self.isFieldByte(text[position]) { position += 1 }
        guard position > start else { throw failure("a field is expected") }
        return String(decoding: text[start..<position], as: UTF8.self)
    }

    private mutating func value(isExpression: Bool) throws(FilterSyntaxError) -> String {
        guard let byte = next, byte != comma else { throw failure("a value is expected") }
        if byte == quote { return try quoted(byte, isExpression: false) }
        if byte == slash || byte == bar {
            guard isExpression else {
                throw failure("quotes of this kind are for expressions, behind ~=; use double quotes")
            }
            return try quoted(byte, isExpression: true)
        }
        let start = position
        while position < text.count, text[position] != comma, !Self.isSpace(text[position]) { position += 1 }
        return String(decoding: text[start..<position], as: UTF8.self)
    }

    /// A string in quotes with the escapes of Go. In an expression other escapes stay as they are: they are the
    /// expression's.
    private mutating func quoted(_ quote: UInt8, isExpression: Bool) throws(FilterSyntaxError) -> String {
        let start = position
        position += 1
        var bytes: [UInt8] = []
        while position < text.count, text[position] != quote {
            let byte = text[position]
            position += 1
            if byte == backslash {
                try escape(quote, isExpression, &bytes)
            } else {
                bytes.append(byte)
            }
        }
        guard position < text.count else {
            position = start
            throw failure("the quoted string has no end")
        }
        position += 1
        return String(decoding: bytes, as: UTF8.self)
    }

    private mutating func escape(
        _ quote: UInt8, _ isExpression: Bool, _ bytes: inout [UInt8]
    ) throws(FilterSyntaxError) {
        guard position < text.count else { throw failure("the quoted string has no end") }
        let byte = text[position]
        position += 1
        if byte == quote {
            bytes.append(byte)
            return
        }
        if isExpression {
            bytes += [backslash, byte]
            return
        }
        if let plain = Self.escapes[byte] {
            bytes.append(plain)
            return
        }
        switch byte {
        case UInt8(ascii: "x"): bytes.append(UInt8(truncatingIfNeeded: try digits(2, radix: 16)))
        case UInt8(ascii: "u"): bytes += try scalar(digits(4, radix: 16))
        case UInt8(ascii: "U"): bytes += try scalar(digits(8, radix: 16))
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            position -= 1
            let value = try digits(3, radix: 8)
            guard value < 256 else { throw failure("an octal escape is beyond 377") }
            bytes.append(UInt8(value))
        default: throw failure("there is no such escape")
        }
    }

    private mutating func digits(_ count: Int, radix: Int) throws(FilterSyntaxError) -> UInt32 {
        let end = position + count
        guard end <= text.count, text[position..<end].allSatisfy(Self.isDigitOrLetter),
            let value = UInt32(String(decoding: text[position..<end], as: UTF8.self), radix: radix)
        else { throw failure("\(count) digits are expected") }
        position = end
        return value
    }

    private func scalar(_ value: UInt32) throws(FilterSyntaxError) -> [UInt8] {
        guard let scalar = Unicode.Scalar(value) else { throw failure("there is no such character") }
        return Array(String(Character(scalar)).utf8)
    }

    /// The next byte behind white space; nil at the end.
    private var next: UInt8? {
        mutating get {
            while position < text.count, Self.isSpace(text[position]) { position += 1 }
            return position < text.count ? text[position] : nil
        }
    }

    private func failure(_ reason: String) -> FilterSyntaxError {
        FilterSyntaxError(position: position, reason: reason)
    }

    private let comma = UInt8(ascii: ",")
    private let dot = UInt8(ascii: ".")
    private let quote = UInt8(ascii: "\"")
    private let slash = UInt8(ascii: "/")
    private let bar = UInt8(ascii: "|")
    private let backslash = UInt8(ascii: "\\")
    private static let operators = Array("=!~".utf8)
    private static let escapes: [UInt8: UInt8] = [
        UInt8(ascii: "a"): 7, UInt8(ascii: "b"): 8, UInt8(ascii: "f"): 12, UInt8(ascii: "n"): 10,
        UInt8(ascii: "r"): 13, UInt8(ascii: "t"): 9, UInt8(ascii: "v"): 11, UInt8(ascii: "\\"): UInt8(ascii: "\\"),
    ]

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (9...13).contains(byte) }

    private static func isFieldByte(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "_") || isDigitOrLetter(byte) }

    private static func isDigitOrLetter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
