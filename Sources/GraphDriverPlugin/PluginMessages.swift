import GraphDriverMessages
import LayerDrivers
import LayerEngine
import LayerModel

extension PluginRequest {
    /// The layer that the call is about.
    func layer() throws(LayerError) -> LayerID { try LayerID(id) }

    /// The layer below it; nil where the call names none.
    func parentLayer() throws(LayerError) -> LayerID? { parent.isEmpty ? nil : try LayerID(parent) }

    /// Options of a layer that is created, in an order that does not depend on the hash's.
    var createOptions: CreateOptions {
        CreateOptions(
            mountLabel: mountLabel,
            storage: storage.sorted { $0.key < $1.key }.map { StorageOption($0.key, $0.value) })
    }
}

extension IDMap {
    /// The map that Docker sent: none means that ids are the same on both sides.
    init(_ maps: [PluginIDMap]) {
        self.init(maps.map { IDMap.Range(container: $0.container, host: $0.host, count: $0.count) })
    }
}

/// The answers to calls.
enum PluginAnswer {
    static let empty = Array("{}\n".utf8)
    static let activated = Array(#"{"Implements":["GraphDriver"]}"#.utf8)
    /// Docker keeps a layer's headers itself and rebuilds layers from their files, so no layer is asked for as it came.
    static let capabilities = Array(#"{"Capabilities":{"ReproducesExactDiffs":false}}"#.utf8)

    /// A failure, in the words that Docker's client shows.
    static func failure(_ error: any Error) -> [UInt8] {
        var json = JSONBytes()
        json.raw("{\"Err\":")
        json.string(String("\(error)".map { $0.isNewline ? " " : $0 }))
        json.raw("}")
        return json.bytes
    }

    static func directory(_ path: PathBytes) -> [UInt8] {
        var json = JSONBytes()
        json.raw("{\"Dir\":")
        json.string(path.bytes.rawBytes)
        json.raw("}")
        return json.bytes
    }

    static func exists(_ value: Bool) -> [UInt8] { Array("{\"Exists\":\(value)}".utf8) }

    static func size(_ value: UInt64) -> [UInt8] { Array("{\"Size\":\(value)}".utf8) }

    static func status(_ rows: [StatusRow]) -> [UInt8] {
        var json = JSONBytes()
        json.raw("{\"Status\":[")
        for (index, row) in rows.enumerated() {
            if index > 0 { json.raw(",") }
            json.raw("[")
            json.string(row.name)
            json.raw(",")
            json.string(row.value)
            json.raw("]")
        }
        json.raw("]}")
        return json.bytes
    }

    static func metadata(_ items: [MetadataItem]) -> [UInt8] {
        var json = JSONBytes()
        json.raw("{\"Metadata\":{")
        for (index, item) in items.enumerated() {
            if index > 0 { json.raw(",") }
            json.string(item.key)
            json.raw(":")
            json.string(item.value.bytes.rawBytes)
        }
        json.raw("}}")
        return json.bytes
    }
}

/// The changes of a layer, written as they are found.
struct ChangesAnswer {
    private var json = JSONBytes()
    private var isFirst = true

    init() { json.raw("{\"Changes\":[") }

    mutating func add(_ kind: ChangeKind, _ path: RawSpan) {
        if !isFirst { json.raw(",") }
        isFirst = false
        json.raw("{\"Path\":")
        json.string(path)
        json.raw(",\"Kind\":")
        json.number(kind == .unmodified ? ChangeKind.modified.rawValue : kind.rawValue)
        json.raw("}")
    }

    consuming func finish() -> [UInt8] {
        json.raw("]}")
        return json.bytes
    }
}
