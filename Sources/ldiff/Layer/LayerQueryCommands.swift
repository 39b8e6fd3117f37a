import ArgumentParser
import LayerModel
import LayerPipeline
import PlainJSON

/// `ldiff layer exists`: whether a layer is there.
struct LayerExistsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exists",
        abstract: "Tells by its status whether a layer exists.",
        discussion: """
            Prints nothing. EXIT STATUS: 0 the layer exists, 66 it does not; others are failures. With --json the \
            answer is printed too.

            EXAMPLES:
              ldiff layer exists base --home /srv/overlay2 && echo there
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let driver = try store.read(global)
        let id = try id.id()
        let isThere = try driver.exists(id)
        if global.json {
            var object = JSONObject()
            object.add("id", id)
            object.add("exists", isThere)
            try OutputFile.standardOutput().writeText(object.text + "\n")
        }
        if !isThere { throw SilentExit(status: .noInput) }
    }
}

/// `ldiff layer list`: the layers of a store.
struct LayerListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Lists the layers, one id a line, sorted.",
        discussion: """
            Layers that were being made or removed when a process ended are left out; check finds those. --json adds \
            each layer's parent, and its size where that is recorded.

            EXAMPLES:
              ldiff layer list --home /var/lib/docker
            """)

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let driver = try store.read(global)
        let ids = try driver.layers()
        let output = try OutputFile.standardOutput()
        guard global.json else {
            return try output.writeText(ids.map { $0.description + "\n" }.joined())
        }
        var objects: [JSONObject] = []
        for id in ids {
            var object = JSONObject()
            object.add("id", id)
            // One damaged layer must not hide the others.
            do throws(LayerError) {
                let parent = try driver.parent(of: id)
                if let parent { object.add("parent", parent) }
                if let size = driver.recordedSize(of: id, since: parent) { object.add("size", size.byteCount) }
            } catch {
                object.add("error", error.description)
            }
            objects.append(object)
        }
        var list = JSONObject()
        list.add("driver", driver.name.rawValue)
        list.add("home", driver.configuration.home)
        list.add("layers", objects)
        try output.writeText(list.text + "\n")
    }
}

/// `ldiff layer metadata`: where a layer lies.
struct LayerMetadataCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metadata",
        abstract: "Shows where a layer lies, as docker inspect does.",
        discussion: """
            EXAMPLES:
              ldiff layer metadata box --home /srv/overlay2
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let driver = try store.read(global)
        let id = try id.id()
        let metadata = try driver.metadata(of: id)
        guard global.json else {
            return try Row.write(metadata.map { Row(name: $0.key, value: $0.value.description) })
        }
        var object = JSONObject()
        object.add("id", id)
        object.add("driver", driver.name.rawValue)
        // The names are Docker's.
        object.add(
            "metadata",
            metadata.map { place in
                var item = JSONObject()
                item.add("name", place.key)
                item.add("path", place.value)
                return item
            })
        try OutputFile.standardOutput().writeText(object.text + "\n")
    }
}

/// `ldiff layer status`: what the driver says of itself.
struct LayerStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows what the driver says of itself, as docker info does.",
        discussion: """
            EXAMPLES:
              ldiff layer status --home /srv/overlay2
            """)

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let driver = try store.read(global)
        guard !global.json else {
            var object = JSONObject()
            object.add("driver", driver.name.rawValue)
            object.add("home", driver.configuration.home)
            object.add(
                "status",
                driver.status().map { fact in
                    var item = JSONObject()
                    item.add("name", fact.name)
                    item.add("value", fact.value)
                    return item
                })
            return try OutputFile.standardOutput().writeText(object.text + "\n")
        }
        let first = [
            Row(name: "Driver", value: driver.name.rawValue),
            Row(name: "Home", value: driver.configuration.home.description),
        ]
        try Row.write(first + driver.status().map { Row(name: $0.name, value: $0.value) })
    }
}

/// One line of a table with a name and a value.
private struct Row {
    var name: String
    var value: String

    /// Writes the rows aligned.
    static func write(_ rows: [Row]) throws(LayerError) {
        let output = try OutputFile.standardOutput()
        let width = rows.map(\.name.count).max() ?? 0
        let lines = rows.map { row in
            row.name + ":" + String(repeating: " ", count: width - row.name.count + 1)
                + RawArguments.oneLine(row.value) + "\n"
        }
        try output.writeText(lines.joined())
    }
}
