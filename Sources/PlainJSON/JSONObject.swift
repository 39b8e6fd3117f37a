import LayerModel

/// One JSON object, written as its members are added.
public struct JSONObject: Sendable {
    private var writer = JSONWriter()

    public init() {}

    public mutating func add(_ name: String, _ value: String) {
        writer.name(name)
        writer.string(value)
    }

    public mutating func add(_ name: String, _ value: some BinaryInteger) {
        writer.name(name)
        writer.number(value)
    }

    public mutating func add(_ name: String, _ value: Bool) {
        writer.name(name)
        writer.bool(value)
    }

    public mutating func add(_ name: String, _ values: [String]) {
        writer.name(name)
        writer.beginArray()
        for value in values { writer.string(value) }
        writer.endArray()
    }

    public mutating func add(_ name: String, _ value: JSONObject) {
        writer.name(name)
        value.write(to: &writer)
    }

    public mutating func add(_ name: String, _ values: [JSONObject]) {
        writer.name(name)
        writer.beginArray()
        for value in values { value.write(to: &writer) }
        writer.endArray()
    }

    /// A duration in seconds, to the microsecond.
    public mutating func add(_ name: String, seconds: Double) {
        writer.name(name)
        writer.seconds(seconds)
    }

    /// The object.
    public var text: String { "{" + membersText + "}" }
    /// The object without its braces.
    public var membersText: String { String(decoding: writer.bytes, as: UTF8.self) }

    private func write(to target: inout JSONWriter) {
        target.beginObject()
        if !writer.bytes.isEmpty { target.value(writer.bytes.rawBytes) }
        target.endObject()
    }
}
