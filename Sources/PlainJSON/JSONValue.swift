import LayerModel

/// A number as its text says it, so that none loses a digit.
public struct JSONNumber: Equatable, Sendable {
    public let text: String

    public init(_ value: some BinaryInteger) { text = value.description }

    /// What is no number is `null`, as it must be.
    public init(_ value: Double) {
        text =
            !value.isFinite
            ? "null" : value == value.rounded() && abs(value) < 9e15 ? Int64(value).description : value.description
    }

    init(checked text: RawSpan) { self.text = String(decoding: text.copied(), as: UTF8.self) }

    public var double: Double? { Double(text) }
    /// The number, if it is whole and in range.
    public var int64: Int64? { Int64(text) }
}

/// A JSON value as a tree, in the order in which its members stand: for small texts that are changed or looked through.
public indirect enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case numeral(JSONNumber)
    case string(String)
    case array([JSONValue])
    /// In the order in which the members stand.
    case object([(String, JSONValue)])

    public static func number(_ value: Double) -> JSONValue { .numeral(JSONNumber(value)) }

    public static func == (left: JSONValue, right: JSONValue) -> Bool { left.bytes() == right.bytes() }

    /// The first member of that name.
    public subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        // Strings compare by what they look like, names by their bytes.
        return members.first { $0.0.utf8.elementsEqual(name.utf8) }?.1
    }

    public var number: Double? { if case .numeral(let value) = self { value.double } else { nil } }
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var members: [(String, JSONValue)] { if case .object(let members) = self { members } else { [] } }
    public var elements: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }

    /// Writes the value on one line.
    public func write(to writer: inout JSONWriter) {
        switch self {
        case .null: writer.null()
        case .bool(let value): writer.bool(value)
        case .numeral(let number): writer.value(Array(number.text.utf8).rawBytes)
        case .string(let value): writer.string(value)
        case .array(let elements):
            writer.beginArray()
            for element in elements { element.write(to: &writer) }
            writer.endArray()
        case .object(let members):
            writer.beginObject()
            for (name, value) in members {
                writer.name(name)
                value.write(to: &writer)
            }
            writer.endObject()
        }
    }

    /// The value on one line.
    public func bytes(_ style: JSONStyle = []) -> [UInt8] {
        var writer = JSONWriter(style)
        write(to: &writer)
        return writer.bytes
    }
}

extension JSONValue {
    /// Reads one value and what follows it, which may be blanks only.
    public init(_ text: RawSpan, limits: JSONLimits = JSONLimits()) throws(JSONError) {
        var reader = JSONReader(text, limits: limits)
        self = try JSONValue(&reader)
        try reader.end()
    }

    /// Reads the next value.
    public init(_ reader: inout JSONReader) throws(JSONError) {
        switch try reader.kind() {
        case .null:
            _ = try reader.takeNull()
            self = .null
        case .bool: self = .bool(try reader.bool())
        case .number: self = .numeral(JSONNumber(checked: try reader.number()))
        case .string: self = .string(try reader.string().string)
        case .array:
            var elements: [JSONValue] = []
            try reader.beginArray()
            while try reader.nextElement() { elements.append(try JSONValue(&reader)) }
            self = .array(elements)
        case .object:
            var members: [(String, JSONValue)] = []
            try reader.beginObject()
            while try reader.nextMember() {
                let name = reader.memberName.string
                members.append((name, try JSONValue(&reader)))
            }
            self = .object(members)
        }
    }

    /// Reads one value; nil when the text is not JSON, or nested deeper than 64.
    public init?(parsing text: some Collection<UInt8>) {
        let bytes = Array(text)
        guard let value = try? JSONValue(bytes.rawBytes) else { return nil }
        self = value
    }
}
