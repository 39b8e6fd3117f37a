package import LayerModel
package import PlainJSON

/// What Docker sends with a call: a JSON object whose members are left out when they are empty.
///
/// As Go reads it: `null` says nothing, unknown members are passed over, and of a member that comes twice the last counts.
package struct PluginRequest: Sendable {
    package var id = ""
    package var parent = ""
    package var mountLabel = ""
    package var storage: [String: String] = [:]
    package var home = ""
    package var options: [String] = []
    package var userMaps: [PluginIDMap] = []
    package var groupMaps: [PluginIDMap] = []

    /// The request of a call that says nothing.
    package init() {}

    /// Reads a body; an empty one is an empty object. Throws `invalidArgument`.
    package init(body: [UInt8]) throws(LayerError) {
        guard !body.isEmpty else { return }
        do throws(JSONError) {
            var reader = JSONReader(body.rawBytes)
            try reader.beginObject()
            while try reader.nextMember() { try readMember(&reader) }
            try reader.end()
        } catch {
            throw LayerError(.invalidArgument, "read the request", cause: .reason("its body is not the JSON of a call"))
        }
    }

    private mutating func readMember(_ reader: inout JSONReader) throws(JSONError) {
        if try reader.kind() == .null {
            _ = try reader.takeNull()
        } else if reader.isMember("ID") {
            id = try reader.string().string
        } else if reader.isMember("Parent") {
            parent = try reader.string().string
        } else if reader.isMember("MountLabel") {
            mountLabel = try reader.string().string
        } else if reader.isMember("Home") {
            home = try reader.string().string
        } else if reader.isMember("Opts") {
            options = try reader.strings()
        } else if reader.isMember("UIDMaps") {
            userMaps = try PluginIDMap.list(&reader)
        } else if reader.isMember("GIDMaps") {
            groupMaps = try PluginIDMap.list(&reader)
        } else if reader.isMember("StorageOpt") {
            storage = [:]
            try reader.beginObject()
            while try reader.nextMember() {
                let name = reader.memberName.string
                storage[name] = try reader.string().string
            }
        } else {
            try reader.skip()
        }
    }
}

/// One run of ids, as Docker's JSON has it; old documentation spells the names without underscores.
package struct PluginIDMap: Equatable, Sendable {
    package var container: UInt32 = 0
    package var host: UInt32 = 0
    package var count: UInt32 = 0

    /// Reads an array of runs.
    package static func list(_ reader: inout JSONReader) throws(JSONError) -> [PluginIDMap] {
        var maps: [PluginIDMap] = []
        try reader.beginArray()
        while try reader.nextElement() { maps.append(try PluginIDMap(&reader)) }
        return maps
    }

    /// Writes an array of runs.
    package static func write(_ maps: [PluginIDMap], to json: inout JSONWriter) {
        json.beginArray()
        for map in maps {
            json.beginObject()
            json.name("container_id")
            json.number(map.container)
            json.name("host_id")
            json.number(map.host)
            json.name("size")
            json.number(map.count)
            json.endObject()
        }
        json.endArray()
    }

    private init(_ reader: inout JSONReader) throws(JSONError) {
        try reader.beginObject()
        while try reader.nextMember() {
            switch reader.memberName.string.lowercased().filter({ $0 != "_" }) {
            case "containerid": container = try Self.id(&reader)
            case "hostid": host = try Self.id(&reader)
            case "size": count = try Self.id(&reader)
            default: try reader.skip()
            }
        }
    }

    private static func id(_ reader: inout JSONReader) throws(JSONError) -> UInt32 {
        guard let id = UInt32(exactly: try reader.uint64()) else { throw reader.error(.outOfRange) }
        return id
    }
}
