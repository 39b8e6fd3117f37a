import ArgumentParser
import LayerDrivers
import LayerModel
import LayerPipeline
import PlainJSON

/// `ldiff layer mount`: mounts a layer.
struct LayerMountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount",
        abstract: "Mounts a layer and prints the path of its tree.",
        discussion: """
            The mount stays until unmount, remove or cleanup. However often a layer is mounted, one unmount ends it. \
            A base layer needs no mount with most drivers: the path is its own directory, which --read-only refuses. With the             driver overlay that is so of every applied layer, whose files are those of the layers below and above it:             only look at those, and write into a layer created upon them.

            EXAMPLES:
              cd "$(ldiff layer mount box --home /srv/overlay2)"
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @Flag(help: "Mount it so that nothing can be written through it.")
    var readOnly = false

    @Option(help: ArgumentHelp("The SELinux label of the mount.", valueName: "label"))
    var mountLabel = ""

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let driver = try store.open(global)
        let id = try id.id()
        let path = try driver.get(
            id, options: MountOptions(label: mountLabel, access: readOnly ? .readOnly : .readWrite))
        do throws(LayerError) {
            let output = try OutputFile.standardOutput()
            guard global.json else { return try output.write(path.bytes + Array("\n".utf8)) }
            var object = JSONObject()
            object.add("id", id)
            object.add("path", path)
            try output.writeText(object.text + "\n")
        } catch {
            // Nobody learned the path.
            try? driver.put(id)
            throw error
        }
    }
}

/// `ldiff layer unmount`: unmounts layers.
struct LayerUnmountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unmount",
        abstract: "Unmounts layers.",
        discussion: """
            A layer that is not mounted is fine.

            EXAMPLES:
              ldiff layer unmount box --home /srv/overlay2
            """)

    @Argument(help: "The layers' ids.")
    var id: [LayerArgument]

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let driver = try store.open(global)
        let ids = try id.map { (argument) throws(LayerError) in try argument.id() }
        var unmounted: [LayerID] = []
        do throws(LayerError) {
            for id in ids {
                guard try driver.exists(id) else { throw DriverErrors.unknownLayer("unmount", id) }
                try driver.put(id)
                unmounted.append(id)
            }
        } catch {
            if !unmounted.isEmpty { try report(unmounted) }
            throw error
        }
        try report(unmounted)
    }

    private func report(_ unmounted: [LayerID]) throws(LayerError) {
        guard global.json else { return }
        var object = JSONObject()
        object.add("unmounted", unmounted)
        try OutputFile.standardOutput().writeText(object.text + "\n")
    }
}

/// `ldiff layer cleanup`: unmounts everything.
struct LayerCleanupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cleanup",
        abstract: "Unmounts every layer of a store.",
        discussion: """
            Only mounts below the store's directory are unmounted, never the directory itself. Docker does this when \
            its daemon ends; do not do it below one that runs containers.

            EXAMPLES:
              ldiff layer cleanup --home /srv/overlay2
            """)

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let stopwatch = Stopwatch()
        let driver = try store.open(global)
        try driver.cleanup()
        var report = Report()
        report.json.add("seconds", seconds: stopwatch.seconds)
        report.summary = "every layer of \(driver.configuration.home) is unmounted"
        try report.write(global, layerOnOutput: false)
    }
}
