package import LayerModel
package import PlainJSON

/// What is to be other in an image's configuration. Members that nobody names stay as they are, in their order and with their text.
package struct ImageChange: Sendable {
    package typealias History = ImageSpecification.History

    package var created: Int64?
    package var author: String?
    package var platform: Platform?
    package var user: String?
    package var workingDirectory: String?
    package var stopSignal: String?
    /// `NAME=VALUE`; one of a name that is there replaces it.
    package var environment: [String] = []
    package var entryPoint: [String]?
    package var command: [String]?
    package var labels: [ImageAnnotation] = []
    package var exposedPorts: [String] = []
    package var volumes: [String] = []
    /// The DiffIDs of all layers; nil leaves them.
    package var diffIDs: [Digest]?
    /// The history of all layers; nil leaves it.
    package var history: [JSONValue]?

    package init() {}

    /// What a new image begins with.
    package static func newConfiguration(_ platform: Platform, created: Int64) -> [UInt8] {
        var specification = ImageSpecification()
        specification.platform = platform
        specification.created = created
        return specification.bytes(diffIDs: [])
    }

    /// One entry of a history.
    package static func entry(_ entry: History) -> JSONValue {
        var members: [(String, JSONValue)] = []
        if let created = entry.created { members.append(("created", .string(created))) }
        if let text = entry.createdBy { members.append(("created_by", .string(text))) }
        if let author = entry.author { members.append(("author", .string(author))) }
        if let comment = entry.comment { members.append(("comment", .string(comment))) }
        if entry.isEmptyLayer { members.append(("empty_layer", .bool(true))) }
        return .object(members)
    }

    /// The configuration, changed.
    package func applied(to configuration: [UInt8]) throws(LayerError) -> [UInt8] {
        var root = try Self.parse(configuration)
        if let created { root.set("created", .string(ImageTime.text(created)), Self.order) }
        if let author { root.set("author", .string(author), Self.order) }
        if let platform { Self.set(platform, in: &root) }
        var inner = root["config"] ?? .object([])
        if case .object = inner {} else { inner = .object([]) }
        change(&inner)
        root.set("config", inner, Self.order)
        if let diffIDs {
            var files = root["rootfs"] ?? .object([])
            files.set("type", .string("layers"), ["type", "diff_ids"])
            files.set("diff_ids", .array(diffIDs.map { .string($0.description) }), ["type", "diff_ids"])
            root.set("rootfs", files, Self.order)
        }
        if let history { root.set("history", .array(history), Self.order) }
        return root.bytes(.go)
    }

    private static let order = [
        "created", "author", "architecture", "os", "os.version", "os.features", "variant", "config", "rootfs",
        "history",
    ]
    private static let innerOrder = [
        "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
    ]

    private static func parse(_ configuration: [UInt8]) throws(LayerError) -> JSONValue {
        do throws(JSONError) {
            return try JSONValue(configuration.rawBytes, limits: JSONLimits(depth: 64, refusesRepeatedNames: true))
        } catch {
            throw LayerError(error, .corruptLayer, "read the configuration")
        }
    }

    /// The entries of a configuration's history.
    package static func history(of configuration: [UInt8]) throws(LayerError) -> [JSONValue] {
        try parse(configuration)["history"]?.elements ?? []
    }

    /// The environment of a configuration.
    package static func environment(of configuration: [UInt8]) throws(LayerError) -> [String] {
        try parse(configuration)["config"]?["Env"]?.elements.compactMap(\.string) ?? []
    }

    /// Whether an entry of a history stands for a layer.
    package static func isLayer(_ entry: JSONValue) -> Bool {
        if case .bool(true)? = entry["empty_layer"] { return false }
        return true
    }

    /// The entry, standing for no layer any more.
    package static func emptied(_ entry: JSONValue) -> JSONValue {
        var entry = entry
        entry.set("empty_layer", .bool(true), ["created", "created_by", "author", "comment", "empty_layer"])
        return entry
    }

    private static func set(_ platform: Platform, in root: inout JSONValue) {
        root.set("architecture", .string(platform.architecture), order)
        root.set("os", .string(platform.os), order)
        let texts = [("os.version", platform.osVersion), ("variant", platform.variant)]
        for (name, value) in texts { root.set(name, value.isEmpty ? nil : .string(value), order) }
        let features = platform.osFeatures
        root.set("os.features", features.isEmpty ? nil : .array(features.map { .string($0) }), order)
    }

    private func change(_ inner: inout JSONValue) {
        func set(_ name: String, _ value: JSONValue?) {
            if let value { inner.set(name, value, Self.innerOrder) }
        }
        func list(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }
        set("User", user.map { .string($0) })
        set("ExposedPorts", added(exposedPorts.map { ($0, .object([])) }, to: inner["ExposedPorts"]))
        set("Env", environment.isEmpty ? nil : list(merged(inner["Env"]?.elements.compactMap(\.string) ?? [])))
        set("Entrypoint", entryPoint.map(list))
        set("Cmd", command.map(list))
        set("Volumes", added(volumes.map { ($0, .object([])) }, to: inner["Volumes"]))
        set("WorkingDir", workingDirectory.map { .string($0) })
        set("Labels", added(labels.map { ($0.key, .string($0.value)) }, to: inner["Labels"]))
        set("StopSignal", stopSignal.map { .string($0) })
    }

    private func merged(_ old: [String]) -> [String] {
        func name(_ text: String) -> Substring { text.prefix { $0 != "=" } }
        var result = old
        for text in environment {
            if let index = result.firstIndex(where: { name($0) == name(text) }) {
                result[index] = text
            } else {
                result.append(text)
            }
        }
        return result
    }

    /// A map with more members, sorted as Go writes maps; nil where nothing is added.
    private func added(_ members: [(String, JSONValue)], to old: JSONValue?) -> JSONValue? {
        guard !members.isEmpty else { return nil }
        var all = old?.members ?? []
        for (name, value) in members {
            all.removeAll { $0.0.utf8.elementsEqual(name.utf8) }
            all.append((name, value))
        }
        return .object(all.sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) })
    }
}

extension JSONValue {
    /// Gives a member another value, or takes it away. A new one comes before those that follow it in `order`.
    package mutating func set(_ name: String, _ value: JSONValue?, _ order: [String]) {
        var members = self.members
        let index = members.firstIndex { $0.0.utf8.elementsEqual(name.utf8) }
        guard let value else {
            if let index { members.remove(at: index) }
            self = .object(members)
            return
        }
        if let index {
            members[index].1 = value
        } else {
            let later = order.firstIndex(of: name).map { Set(order[($0 + 1)...]) } ?? []
            members.insert((name, value), at: members.firstIndex { later.contains($0.0) } ?? members.count)
        }
        self = .object(members)
    }
}

/// Times as image documents write them.
package enum ImageTimes {
    package static func text(_ seconds: Int64) -> String { ImageTime.text(seconds) }
}
