import ArgumentParser
import LayerDrivers
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff layer diff`: a layer of a store as an archive.
struct LayerDiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Writes a layer of a store as an archive.",
        discussion: """
            The layer is what changed since its parent. --parent names another layer to compare with, --no-parent \
            writes the whole tree. The file appears under its name only when it is complete.

            EXAMPLES:
              ldiff layer diff box -o box.tar --home /srv/overlay2
              ldiff layer diff box --compress zstd --digest --json -o box.tar.zst --home /srv/overlay2
              ldiff layer diff box --no-parent --home /srv/overlay2 | tar tvf -
              ldiff layer diff box --profile moby --home /var/lib/docker/overlay2 -o commit.tar
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @OptionGroup var parent: ParentArguments
    @OptionGroup var target: LayerOutputArguments
    @OptionGroup var filter: FilterArguments

    @Flag(help: "Leave out what cannot be read, and report how many; otherwise it is an error.")
    var skipUnreadable = false

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        try target.checkTerminal()
        var options = try target.exportOptions(global)
        options.diff.skipUnreadable = skipUnreadable
        let stopwatch = Stopwatch()
        let (interruption, progress) = (Interruption(), Progress())
        Interrupts.watch(interruption, patience: .takesBack)
        let layer = try parent.layer(id, in: try store.read(global), global)
        let bar = ProgressBar.start("diff", global, writing: progress)
        defer { bar?.stop() }
        let outputs = try target.open()
        let beside = try target.index.open()
        let written = try LayerError.advisingSkips { () throws(LayerError) in
            try StoreExport.write(
                layer, to: outputs.layer, tarSplit: outputs.tarSplit, options: options, filter: filter.filter,
                cancel: interruption.flag, progress: progress)
        }
        bar?.stop()
        try LayerIndexArguments.write(written.index, beside)
        var report = Report(written, target, global, seconds: stopwatch.seconds)
        report.add(layer)
        try report.write(global, layerOnOutput: target.goesToStandardOutput)
    }
}

/// `ldiff layer apply`: an archive as a layer of a store.
struct LayerApplyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Unpacks an archive as a layer of a store.",
        discussion: """
            A layer that does not exist is made on --parent, or as a base layer, and is there when it is complete; if \
            anything fails, a digest that is not the expected one, an interruption and a kill included, there is no \
            such layer. A layer that exists and is \
            empty is filled, and is empty again after a failure; one that holds something is left alone. The archive may be plain, gzip, zstd, bzip2, xz or \
            lz4, which is detected.

            EXAMPLES:
              ldiff layer apply base layer.tar.gz --home /srv/overlay2
              ldiff layer apply app app.tar.zst --parent base --expect-diff-id sha256:9f86d0... --home /srv/overlay2
              zcat layer.tar.gz | ldiff layer apply base - --home /srv/overlay2
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @Argument(help: "The archive; - is standard input.", completion: .file())
    var layer: PathArgument

    @Option(help: ArgumentHelp("The layer that it lies upon.", valueName: "id"))
    var parent: LayerArgument?

    @OptionGroup var source: LayerInputArguments

    @OptionGroup(title: "Reading in parts") var partial: PartialArguments

    @Flag(
        help: """
            With --annotations: use files of the store's other layers where the layer has the same. Their digests are \
            kept in contents.idx in the store's home, unless --index names another place.
            """)
    var reuseStore = false

    @Flag(help: "Wait until the layer is on disk (one syncfs).")
    var sync = false

    @Option(
        help: ArgumentHelp(
            "What the layer is kept as in a store of erofs: auto, packed (its own tar) or directory.",
            valueName: "form"))
    var form: FormChoice?

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if reuseStore, partial.annotations == nil { throw ValidationError("--reuse-store needs --annotations") }
    }

    func run() throws {
        try LayerInputArguments.checkTerminal(layer)
        let stopwatch = Stopwatch()
        let options = source.importOptions(global)
        Interrupts.watch(options.interruption, patience: .store)
        let driver = try store.open(global, making: true, sync: sync, form: form)
        let bar = ProgressBar.start("apply", global, reading: options.progress)
        defer { bar?.stop() }
        let (id, parent) = try target(in: driver)
        let here = reuseStore ? try StoreContents.directories(of: driver) : []
        let index: () throws(LayerError) -> ContentsIndex? = { () throws(LayerError) in
            reuseStore ? try StoreContents.index(of: driver) : nil
        }
        let (applied, parts) = try partial.run(layer, options: options, also: here, index: index) {
            (input, options) throws(LayerError) in
            try StoreImport.apply(
                input, as: id, on: parent, in: driver, tarSplit: try source.openTarSplit(of: layer), options: options)
        }
        bar?.stop()
        var report = Report(
            applied.layer, applied.stream, size: applied.size, global, seconds: stopwatch.seconds)
        report.json.add("id", id)
        if let parent { report.json.add("parent", parent) }
        report.json.add("created", applied.created)
        report.add(parts)
        try report.write(global, layerOnOutput: false)
    }

    /// Without --parent: the parent that the layer has, if it exists.
    private func target(in driver: any LayerDriver) throws(LayerError) -> (LayerID, LayerID?) {
        let id = try id.id()
        if let parent { return (id, parent.bytes.bytes.isEmpty ? nil : try parent.id()) }
        return (id, try driver.exists(id) ? try driver.parent(of: id) : nil)
    }
}

/// `ldiff layer changes`: what a layer of a store changed.
struct LayerChangesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "changes",
        abstract: "Lists what a layer added (A), changed (C) and deleted (D), as docker diff does.",
        discussion: """
            One line each, sorted by the bytes of the path. Control characters, backslashes and bytes that are not \
            UTF-8 are written as \\xNN; with -0 paths are written as they are and each ends with a NUL.

            EXAMPLES:
              ldiff layer changes box --home /srv/overlay2
              ldiff layer changes box --parent base --home /srv/overlay2
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @OptionGroup var parent: ParentArguments

    @OptionGroup var filter: FilterArguments

    @Flag(name: [.customShort("0"), .customLong("null")], help: "Raw paths, each ended by a NUL instead of a newline.")
    var null = false

    @Flag(help: "Leave out what cannot be read, and report how many; otherwise it is an error.")
    var skipUnreadable = false

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if null && global.json { throw ValidationError("-0 and --json exclude each other") }
    }

    func run() throws {
        let stopwatch = Stopwatch()
        let job = StoreJob("changes", global, filter, skipUnreadable: skipUnreadable)
        let layer = try parent.layer(id, in: try store.read(global), global)
        defer { job.stop() }
        let global = global
        let listed = try LayerError.advisingSkips { () throws(LayerError) in
            try StoreExport.list(
                layer, options: job.options, format: ChangeListFormat(global, null: null),
                to: try OutputFile.standardOutput(), prefix: ChangeListFrame.prefix(global),
                suffix: { ChangeListFrame.suffix(global, $0, stopwatch, layer) })
        }
        job.stop()
        Report(listed, global, seconds: stopwatch.seconds).writeNotes(global)
    }
}

/// `ldiff layer size`: how large a layer of a store is.
struct LayerSizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "size",
        abstract: "Prints the bytes of a layer, as docker ps -s does.",
        discussion: """
            A layer that apply made and nobody changed since is answered from its record, without a look at its files.

            EXAMPLES:
              ldiff layer size box --home /srv/overlay2
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @OptionGroup var parent: ParentArguments
    @OptionGroup var filter: FilterArguments

    @Flag(help: "Leave out what cannot be read; otherwise it is an error.")
    var skipUnreadable = false

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let stopwatch = Stopwatch()
        let job = StoreJob("size", global, filter, skipUnreadable: skipUnreadable)
        let layer = try parent.layer(id, in: try store.read(global), global)
        defer { job.stop() }
        let isRecorded = filter.filter == nil && layer.store.recordedSize(of: layer.id, since: layer.parent) != nil
        let size = try LayerError.advisingSkips { () throws(LayerError) in
            try layer.store.diffSize(layer.id, since: layer.parent, options: job.options)
        }
        job.stop()
        let output = try OutputFile.standardOutput()
        guard global.json else { return try output.writeText("\(size)\n") }
        var report = Report()
        report.add(layer)
        report.json.add("size", size)
        report.json.add("recorded", isRecorded)
        report.json.add("seconds", seconds: stopwatch.seconds)
        try output.writeText(report.json.text + "\n")
    }
}

/// A walk over a layer of a store: it can be interrupted and shows how far it is.
private final class StoreJob {
    var options = DifferenceOptions()
    private var bar: ProgressBar?

    init(_ label: String, _ global: GlobalOptions, _ filter: FilterArguments, skipUnreadable: Bool) {
        let (interruption, progress) = (Interruption(), Progress())
        Interrupts.watch(interruption, patience: .takesBack)
        options.cancel = interruption.flag
        options.progress = progress
        options.diff.skipUnreadable = skipUnreadable
        options.filter = filter.filter
        bar = ProgressBar.start(label, global, walking: progress)
    }

    func stop() {
        bar?.stop()
        bar = nil
    }
}
