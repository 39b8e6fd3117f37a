import ArgumentParser
import LayerDrivers
import LayerModel
import PlainJSON

/// `ldiff layer create`: makes an empty layer.
struct LayerCreateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Makes an empty layer.",
        discussion: """
            Without --parent it is a base layer. A layer made with --read-write is a container's: it may have a \
            limited size. Nothing is left of a layer whose making fails, and one that exists already is an error \
            (status 73).

            EXAMPLES:
              ldiff layer create base --home /srv/overlay2
              ldiff layer create box --parent base --read-write --home /srv/overlay2
              ldiff layer create box --parent base --read-write --storage-opt size=10G --home /srv/overlay2
            """)

    @Argument(help: "The new layer's id.")
    var id: LayerArgument

    @Option(help: ArgumentHelp("The layer that it lies upon.", valueName: "id"))
    var parent: LayerArgument?

    @Flag(help: "A container's layer, which may have a limited size.")
    var readWrite = false

    @Option(help: ArgumentHelp("Begin with the contents of this layer, which has the same parent.", valueName: "id"))
    var template: LayerArgument?

    @Option(help: ArgumentHelp("The SELinux label of its mounts.", valueName: "label"))
    var mountLabel = ""

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let stopwatch = Stopwatch()
        let (driver, storage) = try store.openForCreate(global)
        let id = try id.id()
        let parent = try parent.map { (argument) throws(LayerError) in try argument.id() }
        let options = CreateOptions(mountLabel: mountLabel, storage: storage)
        if let template {
            try driver.createFromTemplate(
                id, template: try template.id(), parent: parent, options: options, readWrite: readWrite)
        } else if readWrite {
            try driver.createReadWrite(id, parent: parent, options: options)
        } else {
            try driver.create(id, parent: parent, options: options)
        }
        var report = Report()
        report.json.add("id", id)
        if let parent { report.json.add("parent", parent) }
        report.json.add("driver", driver.name.rawValue)
        report.json.add("seconds", seconds: stopwatch.seconds)
        report.summary = "created \(id)" + (parent.map { " on \($0)" } ?? "")
        try report.write(global, layerOnOutput: false)
    }
}

/// `ldiff layer remove`: removes layers.
struct LayerRemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Removes layers, unmounting them first.",
        discussion: """
            A layer that does not exist is fine, as in Docker. What is called so in the store and is no layer is an \
            error, and stays. Whether other layers lie upon it is not looked at, except by zfs, which refuses. At the \
            first that cannot be removed the command ends: those before it are gone, and are reported.

            EXAMPLES:
              ldiff layer remove box base --home /srv/overlay2
            """)

    @Argument(help: "The layers' ids.")
    var id: [LayerArgument]

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let stopwatch = Stopwatch()
        let driver = try store.open(global)
        let ids = try id.map { (argument) throws(LayerError) in try argument.id() }
        var removed: [LayerID] = []
        do throws(LayerError) {
            for id in ids {
                let isThere = try driver.exists(id)
                // Also where it is not complete: what is left of it goes. What is no layer is refused.
                try driver.remove(id)
                if isThere { removed.append(id) }
            }
        } catch {
            // Otherwise it would seem that nothing was done.
            if !removed.isEmpty {
                try report(
                    removed, "these before the error: " + removed.map(\.description).joined(separator: ", "), stopwatch)
            }
            throw error
        }
        let missing = ids.count - removed.count
        try report(removed, missing > 0 ? "\(missing) did not exist" : nil, stopwatch)
    }

    private func report(_ removed: [LayerID], _ more: String?, _ stopwatch: Stopwatch) throws(LayerError) {
        var report = Report()
        report.json.add("removed", removed)
        report.json.add("seconds", seconds: stopwatch.seconds)
        report.summary =
            "removed " + (removed.count == 1 ? "1 layer" : "\(removed.count) layers") + (more.map { "; \($0)" } ?? "")
        try report.write(global, layerOnOutput: false)
    }
}
