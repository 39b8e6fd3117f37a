import FoundationEssentials
import LayerModel

/// What Docker sends with a call: a JSON object whose members are left out when they are empty.
package struct PluginRequest: Decodable, Sendable {
    package var id = ""
    package var parent = ""
    package var mountLabel = ""
    package var storage: [String: String] = [:]
    package var home = ""
    package var options: [String] = []
    package var userMaps: [PluginIDMap] = []
    package var groupMaps: [PluginIDMap] = []

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

    /// The request of a call that says nothing.
    package init() {}

    package init(from decoder: any Decoder) throws {
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
    package init(body: [UInt8]) throws(LayerError) {
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
}

/// One run of ids, as Docker's JSON has it; old documentation spells the names without underscores.
package struct PluginIDMap: Codable, Equatable, Sendable {
    package var container: UInt32
    package var host: UInt32
    package var count: UInt32

    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Key.self)
        // Of several spellings in one object the same one counts in every process, whatever order a hash gives them.
        let keys = values.allKeys.sorted { $0.stringValue > $1.stringValue }
        func value(_ name: String) throws -> UInt32 {
            let key = keys.first { key in
                String(key.stringValue.lowercased().filter { $0 != "_" }) == name
            }
            guard let key else { return 0 }
            return try values.decode(UInt32.self, forKey: key)
        }
        container = try value("containerid")
        host = try value("hostid")
        count = try value("size")
    }

    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: Key.self)
        try values.encode(container, forKey: Key(stringValue: "container_id"))
        try values.encode(host, forKey: Key(stringValue: "host_id"))
        try values.encode(count, forKey: Key(stringValue: "size"))
    }
}
