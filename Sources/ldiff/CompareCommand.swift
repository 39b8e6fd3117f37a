import ArgumentParser
import LayerDrivers
import LayerEngine
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff compare`: in what two layers differ.
struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Compares two layers, trees or images entry by entry.",
        discussion: """
            A and B are layers (plain or compressed in any way that apply reads; - is standard input), directories, or \
            @ID, layers of the store that --home names. What is compared is the tree that each makes, so neither the order \
            of entries nor the compression counts, nor which name of a file comes first: kind, mode, owner, time, \
            attributes, contents (by digest), which names are names of one file, what is deleted. With --images A and B \
            are images, whose layers are merged.

            One line for each path: D only A has it, A only B has it, C both have it, with what differs. A path through a \
            symbolic link is compared as it stands. The entry of the root counts with --root.

            EXIT STATUS: 0 they are equal, 1 they differ; errors have those of ldiff --help.

            EXAMPLES:
              ldiff compare old.tar.gz new.tar.zst
              ldiff compare layer.tar rootfs --ignore times,owner
              ldiff compare @base layer.tar --home /var/lib/docker/overlay2 --json
              ldiff compare old.tar new.tar --images
            """)

    @Argument(help: "A layer, a directory, or @ID.", completion: .file())
    var a: PathArgument

    @Argument(help: "What it is compared with.", completion: .file())
    var b: PathArgument

    @Option(
        help: ArgumentHelp(
            "What does not count, with commas between: \(EntryAspects.words.map(\.word).joined(separator: ", ")).",
            valueName: "words"))
    var ignore: IgnoredAspects?

    @Flag(help: "The entry of the root counts, too.")
    var root = false

    @Flag(help: "A time in whole seconds is another than one within that second; layers mostly have whole seconds.")
    var exactTimes = false

    @Flag(help: "A and B are images: layouts or archives. Their layers are merged.")
    var images = false

    @Option(help: ArgumentHelp("With --images: which image of A and B.", valueName: "name"))
    var ref: String?

    @OptionGroup(title: "Store, for @ID") var place: ComparedStoreArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if a.isDash, b.isDash { throw ValidationError("only one of the two can be standard input") }
        if ref != nil, !images { throw ValidationError("--ref needs --images") }
    }

    func run() throws {
        let stopwatch = Stopwatch()
        let (interruption, progress) = (Interruption(), ImportProgress())
        Interrupts.watch(interruption)
        let sides = (try side(a, interruption), try side(b, interruption))
        let bar = ProgressBar.start("compare", global, reading: progress)
        defer { bar?.stop() }
        let output = try OutputFile.standardOutput()
        var list = DifferenceList(output, isJSON: global.json, isQuiet: global.quiet)
        try list.begin()
        let report = try compare(sides.0, sides.1, interruption, progress) { (difference) throws(LayerError) in
            bar?.stop()
            try list.add(difference)
        }
        bar?.stop()
        try list.end(report, seconds: stopwatch.seconds)
        if global.verbose {
            Console.error(
                "ldiff: compared \(report.entries.first) and \(report.entries.second) entries in "
                    + Human.seconds(stopwatch.seconds) + "\n")
        }
        if !report.isEqual { throw SilentExit(status: .different) }
    }

    private func compare(
        _ one: any ComparedSide, _ two: any ComparedSide, _ interruption: Interruption, _ progress: ImportProgress,
        _ body: (DifferingEntry) throws(LayerError) -> Void
    ) throws(LayerError) -> ComparisonReport {
        var options = ComparisonOptions()
        options.ignoring = ignore?.aspects ?? []
        options.comparesRoot = root
        options.exactTimes = exactTimes
        return try ComparisonRun.compare(
            one, two, options: options, interruption: interruption, progress: progress, body)
    }

    private func side(_ argument: PathArgument, _ interruption: Interruption) throws -> any ComparedSide {
        if images { return try image(argument, interruption) }
        if argument.path.bytes.first == UInt8(ascii: "@") {
            let id = try LayerID(PathBytes(Array(argument.path.bytes.dropFirst())))
            return ComparedProducer(StoreProducer(try place.layer(id, global), interruption.flag))
        }
        guard !argument.isDash, try isDirectory(argument.path) else { return ComparedLayer(argument.input) }
        var source = SourceOptions(upper: argument.path)
        source.workers = global.workers
        source.io = global.io
        source.cancel = interruption.flag
        return ComparedProducer(source)
    }

    private func isDirectory(_ path: PathBytes) throws(LayerError) -> Bool {
        do throws(SystemCallError) {
            return try path.open(.pathOnly).metadata().kind == .directory
        } catch {
            throw LayerError(error, "open", path: path)
        }
    }

    private func image(_ argument: PathArgument, _ interruption: Interruption) throws(LayerError) -> ComparedImage {
        var source = ImageSourceArguments()
        source.image = argument
        let archive = try source.open(interruption.flag)
        return ComparedImage(image: try archive.image(ImageSelection(reference: ref)), path: argument.path)
    }
}

/// An image, its layers merged.
private struct ComparedImage: ComparedSide {
    let image: LayerImage
    let path: PathBytes

    func read(_ reading: ComparisonReading) throws(LayerError) {
        for layer in image.layers {
            try reading.layer(
                try layer.present().reader(format: layer.format, reading.options), called: path)
        }
    }
}

/// The words of `--ignore`.
struct IgnoredAspects: ExpressibleByArgument {
    var aspects: EntryAspects = []

    init?(argument: String) {
        for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
            guard let known = EntryAspects.words.first(where: { $0.word == word }) else { return nil }
            aspects.insert(known.aspect)
        }
    }
}

/// The store whose layers are compared.
struct ComparedStoreArguments: ParsableArguments {
    @Option(help: ArgumentHelp("The store's directory, as for ldiff layer.", valueName: "dir"), completion: .directory)
    var home: PathArgument?

    @Option(
        help: ArgumentHelp(
            "The driver; not needed where --home ends in a driver's name or holds one store.",
            valueName: "driver"))
    var driver: DriverName?

    @Flag(help: "Of @ID all that it shows, not only how it differs from its parent.")
    var whole = false

    /// The layer with what it is a difference to.
    func layer(_ id: LayerID, _ global: GlobalOptions) throws -> StoreLayer {
        guard let home else { throw ValidationError("@\(id) is a layer of a store: name it with --home") }
        var store = StoreArguments()
        (store.home, store.driver, store.storageOptions, store.driverOptions) = (home, driver, [], [])
        store.maps = IDMapOptions()
        (store.maps.uidMap, store.maps.gidMap) = ([], [])
        let reader = try store.read(global)
        guard try reader.exists(id) else {
            throw LayerError(.notFound, "compare", path: id.component, cause: .reason("there is no such layer"))
        }
        return whole ? StoreLayer(id, since: nil, in: reader) : try StoreLayer(id, in: reader)
    }
}
