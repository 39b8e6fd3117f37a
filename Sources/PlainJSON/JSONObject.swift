public import LayerModel

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

    /// A path: a string if it is UTF-8, else base 64 in a member whose name ends in `Bytes`.
    public mutating func add(_ name: StaticString, _ path: PathBytes) { writer.path(name, path.bytes.rawBytes) }

    /// A layer's id: a string if it is UTF-8, else base 64 in a member whose name ends in `Bytes`.
    public mutating func add(_ name: StaticString, _ id: LayerID) { add(name, id.component) }

    /// Ids of layers; those that are not UTF-8 stand as base 64 in a member of their own, whose name ends in `Bytes`.
    public mutating func add(_ name: String, _ ids: [LayerID]) {
        add(name, ids.compactMap { String(validating: $0.component.bytes, as: UTF8.self) })
        let others = ids.filter { !isUTF8($0.component.bytes.rawBytes) }
        guard !others.isEmpty else { return }
        writer.name(name + "Bytes")
        writer.beginArray()
        for id in others { writer.base64(id.component.bytes.rawBytes) }
        writer.endArray()
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
