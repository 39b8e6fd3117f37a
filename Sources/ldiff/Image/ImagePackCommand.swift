import ArgumentParser
import Glibc
import LayerCompression
import LayerDrivers
import LayerEngine
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff image pack`: layers into an image.
struct ImagePackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack",
        abstract: "Packs directories, archives and layers of a store into an image.",
        discussion: """
            OUT is an OCI layout, to which the image is added, or, where it ends in .tar or is -, an archive that is a layout \
            and what docker save writes at once, so that docker, podman, ctr, skopeo and umoci all take it. The same layers \
            give the same bytes: times come from the files or from SOURCE_DATE_EPOCH, never from the clock.

            Layers come from the lowest up, above those of --base: with --layer a directory, a directory and those it is \
            compared with or lies upon (DIR,LOWER,...), or an archive of a layer, which stays as it is unless --compress \
            says otherwise; with --home and --top the layers of a store.

            --squash makes one layer of the last N, of all above the base (base), or of all. --since names an image that the \
            receiver has: its layers are named and left out, and ldiff image unpack takes them from the store.

            EXAMPLES:
              ldiff image pack app.tar --layer rootfs --ref app:1 --cmd /bin/app
              ldiff image pack layout --base debian.tar --layer upper,lower --dialect overlay --ref app:2
              ldiff image pack app.tar --home /var/lib/docker/overlay2 --top 3f1c... --ref app:3
              ldiff image pack flat.tar --base app.tar --squash all --ref app:flat
              ldiff image pack update.tar --base app2.tar --since app1.tar
            """)

    @Argument(help: "The layout or archive to write; - is standard output.", completion: .file())
    var output: PathArgument

    @Option(
        name: [.customLong("layer"), .customLong("layer-tar")],
        help: ArgumentHelp("A new layer: a directory, DIR,LOWER,..., or an archive. Repeatable.", valueName: "path"),
        completion: .file())
    var layer: [PathArgument] = []

    @Option(
        help: ArgumentHelp(
            "How the directories of --layer say that something is deleted.",
            valueName: "dialect"))
    var dialect: WhiteoutDialect.Name = .tree

    @OptionGroup var marks: MarkOptions
    @OptionGroup(title: "Store") var store: PackStoreArguments

    @Option(help: ArgumentHelp("The image that the layers lie upon.", valueName: "image"), completion: .file())
    var base: PathArgument?

    @Option(help: ArgumentHelp("Which image of the base: a name, a tag, a digest.", valueName: "name"))
    var baseRef: String?

    @Option(help: ArgumentHelp("What it runs on; with a base, which of its variants.", valueName: "os/arch[/variant]"))
    var platform: String?

    @Option(help: ArgumentHelp("Make one layer of several.", valueName: "n|base|all"))
    var squash: SquashArgument?

    @Option(
        help: ArgumentHelp("An image that the receiver has: its layers are left out.", valueName: "image"),
        completion: .file())
    var since: PathArgument?

    @OptionGroup var result: ImageOutputArguments
    @OptionGroup(title: "Configuration") var change: ImageChangeArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        try marks.validate(dialect)
        try result.validate(output)
        if base == nil, layer.isEmpty, store.top == nil {
            throw ValidationError("name layers: --layer, --home and --top, or a --base to write anew")
        }
        if base == nil, baseRef != nil { throw ValidationError("--base-ref belongs to a --base") }
    }

    func run() throws {
        let stopwatch = Stopwatch()
        var options = try result.options(global)
        options.change = try change.change()
        options.squash = squash?.range
        options.diff.clampsTimes = result.clampMtime
        Interrupts.watch(options.interruption, patience: .takesBack)
        let flag = options.interruption.flag
        let platform = try platform.map { try ImageSelectionArguments.platform($0) }
        let base = try base.map { try image(at: $0, baseRef, platform, flag) }
        // Docker's own words stay, where whoever reads archives knows them.
        if result.format == nil, result.isArchive(output), options.compression != .zstd,
            base?.layers.last?.descriptor?.mediaType.isDocker == true
        {
            options.isDocker = true
        }
        if base == nil { options.change.platform = platform ?? Platform.current }
        options.since = try since.map { try image(at: $0, nil, platform, flag) }
        options.baseName = baseRef
        var sources = try layer.map { try source($0, options) }
        sources += try store.sources(above: base, global)
        let bar = ProgressBar.start("pack", global, walking: options.progress)
        defer { bar?.stop() }
        let packed = try result.write(to: output, &options) { (output, options) throws(LayerError) in
            try ImagePack.write(sources, on: base, to: output, options: options)
        }
        bar?.stop()
        try ImageOutputArguments.report(packed, stopwatch).write(global, layerOnOutput: output.isDash)
    }

    private func image(
        at path: PathArgument, _ reference: String?, _ platform: Platform?, _ cancel: CancelFlag
    ) throws -> LayerImage {
        try ImageArchive.open(path.path, cancel: cancel).image(
            ImageSelection(reference: reference, platform: platform))
    }

    /// A directory, directories, or a file.
    private func source(_ argument: PathArgument, _ options: ImagePackOptions) throws -> PackSource {
        let path = argument.path
        var parts = [path]
        if PathKind(path) == nil {
            parts = path.bytes.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false).map {
                PathBytes(Array($0))
            }
        }
        switch PathKind(parts[0]) {
        case nil:
            throw LayerError(.notFound, "pack the layer", path: parts[0], cause: .reason("there is no such file"))
        case .file: return .archive(path)
        case .directory:
            var source = SourceOptions(upper: parts[0])
            source.lowers = Array(parts.dropFirst())
            source.dialect = WhiteoutDialect(dialect, userXattr: marks.userxattr)
            source.workers = global.workers
            source.io = global.io
            source.cancel = options.interruption.flag
            source.progress = options.progress
            return .tree(source)
        }
    }
}

/// What a path leads to.
private enum PathKind {
    case directory
    case file

    init?(_ path: PathBytes) {
        guard let opened = try? path.open(.pathOnly), let metadata = try? opened.metadata() else { return nil }
        self = metadata.kind == .directory ? .directory : .file
    }
}

/// `N`, `base` or `all`.
struct SquashArgument: ExpressibleByArgument {
    var range: SquashRange

    init?(argument: String) {
        switch argument {
        case "all": range = .all
        case "base": range = .new
        default:
            guard let count = Int(argument), (1...100_000).contains(count) else { return nil }
            range = .last(count)
        }
    }
}

/// Layers of a store that go into an image.
struct PackStoreArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp("The store's driver.", valueName: "driver")
    )
    var driver: DriverName?

    @Option(help: ArgumentHelp("The store's directory.", valueName: "dir"), completion: .directory)
    var home: PathArgument?

    @Option(help: ArgumentHelp("The uppermost layer; those below it come along.", valueName: "id"))
    var top: LayerArgument?

    @Option(
        help: ArgumentHelp(
            "The layer of the store that is the base's uppermost; not needed where it has the chain ID's name.",
            valueName: "id"))
    var above: LayerArgument?

    @OptionGroup var maps: IDMapOptions

    func validate() throws {
        guard (home == nil) == (top == nil) else { throw ValidationError("--home and --top go together") }
    }

    /// The layers from the lowest up, without those that the base has.
    func sources(above base: LayerImage?, _ global: GlobalOptions) throws -> [PackSource] {
        guard let home, let top else { return [] }
        var arguments = StoreArguments()
        arguments.driver = driver
        arguments.home = home
        arguments.storageOptions = []
        arguments.driverOptions = []
        arguments.maps = maps
        let store = try arguments.read(global)
        let end = try above?.id() ?? base?.layers.last.map { try LayerID(PathBytes($0.chainID.hexadecimal)) }
        var found: [StoreLayer] = []
        var next: LayerID? = try top.id()
        while let id = next, id != end {
            guard try store.exists(id) else { throw DriverErrors.unknownLayer("pack the layer", id) }
            let layer = try StoreLayer(id, in: store)
            found.append(layer)
            next = layer.parent
        }
        if let end, next == nil {
            throw LayerError(
                .notFound, "pack the image", path: end.component,
                cause: .reason("the base's uppermost layer is not below \(try top.id())"),
                hint: "name the layer that it is in this store with --above")
        }
        return found.reversed().map { .store($0) }
    }
}
