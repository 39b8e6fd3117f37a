import FoundationEssentials
import LayerDrivers
import LayerEngine
import LayerModel

/// What Docker sends with a call (drop-in.md 4.2): a JSON object whose members are left out when they are empty.
struct PluginRequest: Decodable {
    var id = ""
    var parent = ""
    var mountLabel = ""
    var storage: [String: String] = [:]
    var home = ""
    var options: [String] = []
    var userMaps: [PluginIDMap] = []
    var groupMaps: [PluginIDMap] = []

    private enum Key: String, CodingKey {
        case id = "ID"
        case parent = "Parent"
        case mountLabel = "MountLabel"
        case storage = "StorageOpt"
        case home = "Home"
        case options = "Opts"
        case userMaps = "UIDMaps"
        case groupMaps = "GIDMaps"
    }

    init() {}

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Key.self)
        func value<Value: Decodable>(_ key: Key, _ standard: Value) throws -> Value {
            try values.decodeIfPresent(Value.self, forKey: key) ?? standard
        }
        id = try value(.id, "")
        parent = try value(.parent, "")
        mountLabel = try value(.mountLabel, "")
        storage = try value(.storage, [:])
        home = try value(.home, "")
        options = try value(.options, [])
        userMaps = try value(.userMaps, [])
        groupMaps = try value(.groupMaps, [])
    }

    /// Reads a body; an empty one is an empty object. Throws `invalidArgument`.
    init(body: [UInt8]) throws(LayerError) {
        guard !body.isEmpty else {
            self.init()
            return
        }
        do {
            self = try JSONDecoder().decode(PluginRequest.self, from: Data(body))
        } catch {
            throw LayerError(.invalidArgument, "read the request", cause: .reason("its body is not the JSON of a call"))
        }
    }

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

/// One run of ids, as Docker's JSON has it; old documentation spells the names without underscores.
struct PluginIDMap: Codable, Equatable {
    var container: UInt32
    var host: UInt32
    var count: UInt32

    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Key.self)
        func value(_ name: String) throws -> UInt32 {
            let key = values.allKeys.first { key in
                String(key.stringValue.lowercased().filter { $0 != "_" }) == name
            }
            guard let key else { return 0 }
            return try values.decode(UInt32.self, forKey: key)
        }
        container = try value("containerid")
        host = try value("hostid")
        count = try value("size")
    }

    func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: Key.self)
        try values.encode(container, forKey: Key(stringValue: "container_id"))
        try values.encode(host, forKey: Key(stringValue: "host_id"))
        try values.encode(count, forKey: Key(stringValue: "size"))
    }
}

extension IDMap {
    /// The map that Docker sent: none means that ids are the same on both sides.
    init(_ maps: [PluginIDMap]) {
        self.init(maps.map { IDMap.Range(container: $0.container, host: $0.host, count: $0.count) })
    }
}

/// JSON that is written byte by byte, since names and paths need not be UTF-8: what is not reads U+FFFD, as Go's decoder
/// would make of it.
struct JSONBytes {
    private(set) var bytes: [UInt8] = []

    mutating func raw(_ text: StaticString) {
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    mutating func number(_ value: some BinaryInteger) { bytes.append(contentsOf: value.description.utf8) }

    mutating func string(_ text: String) { string(Array(text.utf8).rawBytes) }

    mutating func string(_ text: RawSpan) {
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
