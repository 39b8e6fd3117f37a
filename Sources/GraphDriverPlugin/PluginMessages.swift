import GraphDriverMessages
import LayerDrivers
import LayerEngine
import LayerModel
import PlainJSON

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
        object { json in
            json.name("Err")
            json.string(String("\(error)".map { $0.isNewline ? " " : $0 }))
        }
    }

    static func directory(_ path: PathBytes) -> [UInt8] {
        object { json in
            json.name("Dir")
            json.string(path.bytes.rawBytes)
        }
    }

    static func exists(_ value: Bool) -> [UInt8] {
        object { json in
            json.name("Exists")
            json.bool(value)
        }
    }

    static func size(_ value: UInt64) -> [UInt8] {
        object { json in
            json.name("Size")
            json.number(value)
        }
    }

    static func status(_ rows: [StatusRow]) -> [UInt8] {
        object { json in
            json.name("Status")
            json.beginArray()
            for row in rows {
                json.beginArray()
                json.string(row.name)
                json.string(row.value)
                json.endArray()
            }
            json.endArray()
        }
    }

    static func metadata(_ items: [MetadataItem]) -> [UInt8] {
        object { json in
            json.name("Metadata")
            json.beginObject()
            for item in items {
                json.name(item.key)
                json.string(item.value.bytes.rawBytes)
            }
            json.endObject()
        }
    }

    private static func object(_ body: (inout JSONWriter) -> Void) -> [UInt8] {
        var json = JSONWriter(.deletes)
        json.beginObject()
        body(&json)
        json.endObject()
        return json.bytes
    }
}

/// The changes of a layer, written as they are found.
struct ChangesAnswer {
    private var json = JSONWriter(.deletes)

    init() {
        json.beginObject()
        json.name("Changes")
        json.beginArray()
    }

    mutating func add(_ kind: ChangeKind, _ path: RawSpan) {
        json.beginObject()
        json.name("Path")
        json.string(path)
        json.name("Kind")
        json.number(kind == .unmodified ? ChangeKind.modified.rawValue : kind.rawValue)
        json.endObject()
    }

    consuming func finish() -> [UInt8] {
        json.endArray()
        json.endObject()
        return json.bytes
    }
}
