/// A JSON value (RFC 8259), for ldiff's own reports, budgets and results.
indirect enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// In the order in which the members stand.
    case object([(String, JSONValue)])

    static func == (left: JSONValue, right: JSONValue) -> Bool { left.text == right.text }

    subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.0 == name }?.1
    }

    var number: Double? { if case .number(let value) = self { value } else { nil } }
    var string: String? { if case .string(let value) = self { value } else { nil } }
    var members: [(String, JSONValue)] { if case .object(let members) = self { members } else { [] } }
    var elements: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }

    /// The value as text, on one line.
    var text: String { written(indent: nil, level: 0) }
    /// The value as text for people: a member a line, arrays of numbers on one.
    var prettyText: String { written(indent: 2, level: 0) }

    private func written(indent: Int?, level: Int) -> String {
        switch self {
        case .null: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .number(let value):
            guard value.isFinite else { return "null" }
            return value == value.rounded() && abs(value) < 9e15 ? Int64(value).description : value.description
        case .string(let value): return Self.quoted(value)
        case .array(let elements):
            let isFlat = indent == nil || elements.allSatisfy { $0.number != nil }
            return Self.list(
                "[", elements.map { $0.written(indent: indent, level: level + 1) }, "]", isFlat ? nil : indent, level)
        case .object(let members):
            let texts = members.map {
                Self.quoted($0.0) + (indent == nil ? ":" : ": ") + $0.1.written(indent: indent, level: level + 1)
            }
            return Self.list("{", texts, "}", indent, level)
        }
    }

    private static func list(_ open: String, _ parts: [String], _ close: String, _ indent: Int?, _ level: Int) -> String
    {
        guard let indent, !parts.isEmpty else {
            return open + parts.joined(separator: indent == nil ? "," : ", ") + close
        }
        let margin = "\n" + String(repeating: " ", count: indent * (level + 1))
        return open + margin + parts.joined(separator: "," + margin) + "\n"
            + String(repeating: " ", count: indent * level) + close
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            // `<` so that the text can stand inside a script element of the HTML report.
            case _ where scalar.value < 0x20 || scalar == "<":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension JSONValue {
    /// Reads one value; nil when the text is not JSON, or nested deeper than 64.
    init?(parsing text: some Collection<UInt8>) {
        var parser = Parser(bytes: Array(text))
        guard let value = parser.value(depth: 0) else { return nil }
        parser.skipSpace()
        guard parser.position == parser.bytes.count else { return nil }
        self = value
    }

    private struct Parser {
        let bytes: [UInt8]
        var position = 0

        var next: UInt8? { position < bytes.count ? bytes[position] : nil }

        mutating func skipSpace() {
            while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
        }

        mutating func take(_ byte: Character) -> Bool {
            skipSpace()
            guard next == byte.asciiValue else { return false }
            position += 1
            return true
        }

        mutating func take(word: String) -> Bool {
            guard bytes[position...].starts(with: word.utf8) else { return false }
            position += word.utf8.count
            return true
        }

        mutating func value(depth: Int) -> JSONValue? {
            skipSpace()
            guard depth < 64, let first = next else { return nil }
            switch Character(Unicode.Scalar(first)) {
            case "{": return object(depth)
            case "[": return array(depth)
            case "\"": return string().map(JSONValue.string)
            case "t": return take(word: "true") ? .bool(true) : nil
            case "f": return take(word: "false") ? .bool(false) : nil
            case "n": return take(word: "null") ? .null : nil
            default: return number()
            }
        }

        mutating func object(_ depth: Int) -> JSONValue? {
            var members: [(String, JSONValue)] = []
            guard take("{") else { return nil }
            if take("}") { return .object([]) }
            repeat {
                skipSpace()
                guard let name = string(), take(":"), let value = value(depth: depth + 1) else { return nil }
                members.append((name, value))
            } while take(",")
            return take("}") ? .object(members) : nil
        }

        mutating func array(_ depth: Int) -> JSONValue? {
            var elements: [JSONValue] = []
            guard take("[") else { return nil }
            if take("]") { return .array([]) }
            repeat {
                guard let value = value(depth: depth + 1) else { return nil }
                elements.append(value)
            } while take(",")
            return take("]") ? .array(elements) : nil
        }

        mutating func number() -> JSONValue? {
            let start = position
            while let byte = next, "+-.eE0123456789".utf8.contains(byte) { position += 1 }
            return Double(String(decoding: bytes[start..<position], as: UTF8.self)).map(JSONValue.number)
        }

        mutating func string() -> String? {
            guard take("\"") else { return nil }
            var result: [UInt8] = []
            while let byte = next {
                position += 1
                switch byte {
                case UInt8(ascii: "\""): return String(validating: result, as: UTF8.self)
                case UInt8(ascii: "\\"):
                    guard let escaped = escape() else { return nil }
                    result += Array(String(escaped).utf8)
                case 0..<0x20: return nil
                default: result.append(byte)
                }
            }
            return nil
        }

        /// What follows a backslash. Surrogate pairs are not put together: nothing read here has them.
        mutating func escape() -> Character? {
            guard let byte = next else { return nil }
            position += 1
            switch Character(Unicode.Scalar(byte)) {
            case "n": return "\n"
            case "t": return "\t"
            case "r": return "\r"
            case "b": return "\u{8}"
            case "f": return "\u{c}"
            case "u":
                guard position + 4 <= bytes.count else { return nil }
                let digits = String(decoding: bytes[position..<position + 4], as: UTF8.self)
                position += 4
                return UInt32(digits, radix: 16).flatMap(Unicode.Scalar.init).map { Character($0) }
            case let other where "\"\\/".contains(other): return other
            default: return nil
            }
        }
    }
}
