import ArgumentParser
import LayerDrivers
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff layer pack`: keeps a layer of a store as its own tar.
struct LayerPackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack",
        abstract: "Keeps a layer of a store of erofs as its own tar and an index that the kernel mounts.",
        discussion: """
            The difference of the layer to its parent becomes its tar. The new form is written beside the old one, compared \
            with it entry by entry, put on disk, and takes its place; after a crash there is one or the other. A layer that \
            is packed already stays as it is, unless it was written to since.

            Neither the layer nor one that lies on it may be mounted (status 73). What an index cannot hold stays a \
            directory (status 69).

            EXAMPLES:
              ldiff layer pack base --home /srv/erofs
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        try FormChange(id, store, global).run("packed") { (driver, id, cancel) throws(LayerError) in
            try driver.pack(id, cancel: cancel)
        }
    }
}

/// `ldiff layer unpack`: keeps a layer of a store as a directory.
struct LayerUnpackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpack",
        abstract: "Keeps a layer of a store of erofs as a directory.",
        discussion: """
            The way back from ldiff layer pack, and for layers that came packed. What was written to the layer since is part of \
            the directory. The form is changed as by pack: after a crash there is one or the other.

            EXAMPLES:
              ldiff layer unpack base --home /srv/erofs
            """)

    @Argument(help: "The layer's id.")
    var id: LayerArgument

    @OptionGroup(title: "Store") var store: StoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        try FormChange(id, store, global).run("directory") { (driver, id, cancel) throws(LayerError) in
            try driver.unpack(id, cancel: cancel)
        }
    }
}

/// Changes the form of one layer.
private struct FormChange {
    private let id: LayerArgument
    private let store: StoreArguments
    private let global: GlobalOptions

    init(_ id: LayerArgument, _ store: StoreArguments, _ global: GlobalOptions) {
        self.id = id
        self.store = store
        self.global = global
    }

    func run(
        _ form: String, _ body: (ErofsDriver, LayerID, CancelFlag) throws(LayerError) -> ConvertedLayer
    ) throws {
        let stopwatch = Stopwatch()
        let interruption = Interruption()
        Interrupts.watch(interruption, patience: .takesBack)
        let id = try id.id()
        let opened = try store.open(global)
        guard let driver = opened as? ErofsDriver else {
            throw LayerError(
                .unsupported, "change the form of the layer", path: id.component,
                cause: .reason("layers of \(opened.name.rawValue) have one form only"),
                hint: "ldiff layer migrate copies a store to erofs")
        }
        let layer = try body(driver, id, interruption.flag)
        guard global.json else {
            guard !global.quiet else { return }
            let what = layer.isChanged ? "is kept as a \(form == "packed" ? "tar" : form) now" : "is so already"
            return Console.error("ldiff: \(RawArguments.oneLine(id.description)) \(what)\n")
        }
        var object = JSONObject()
        object.add("id", id)
        object.add("form", form)
        object.add("isConverted", layer.isChanged)
        object.add("entries", layer.entries)
        object.add("tarBytes", layer.tarBytes)
        object.add("indexBytes", layer.indexBytes)
        object.add("seconds", seconds: stopwatch.seconds)
        try OutputFile.standardOutput().writeText(object.text + "\n")
    }
}

/// Whether the layers that come into a store are packed.
enum FormChoice: String, ExpressibleByArgument, CaseIterable {
    case auto, packed, directory
}
