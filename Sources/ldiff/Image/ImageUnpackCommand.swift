import ArgumentParser
import Glibc
import LayerDrivers
import LayerEngine
import LayerImages
import LayerModel
import LayerPipeline
import PlainJSON

/// `ldiff image unpack`: an image into a directory or a store.
struct ImageUnpackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpack",
        abstract: "Unpacks an image into a directory, or its layers into a store.",
        discussion: """
            An archive is read where it lies; only a pipe and a compressed archive are put into a file without a name first. \
            Each layer's digest and DiffID are compared before it shows.

            With --root the layers are applied one over the other. A directory that was missing or empty appears when it is \
            complete; after an error or a kill it is as it was. With --home each layer becomes one of the store, called \
            by the hexadecimal digits of its chain ID; overlay2 and fuse-overlayfs unpack several at a time. Layers that the \
            store has are left, so what was interrupted goes on where it was, and layers that the store has need not be in the \
            image.

            EXAMPLES:
              ldiff image unpack image.tar --root rootfs
              docker save debian | ldiff image unpack - --home /srv/overlay2
              ldiff image unpack layout --ref app:1.2 --platform linux/arm64 --root rootfs
              ldiff image unpack image.tar --path 'etc/*.conf' --path usr/bin --root some
              ldiff image unpack image.tar --expect-digest sha256:9f86d0... --home /srv/overlay2 --json
            """)

    @OptionGroup var source: ImageSourceArguments
    @OptionGroup var which: ImageSelectionArguments
    @OptionGroup var target: UnpackTargetArguments

    @Option(
        help: ArgumentHelp(
            "Unpack only what has such a path: * and ? stand for parts of a name, ** for any names. Repeatable.",
            valueName: "glob"))
    var path: [PatternArgument] = []

    @Option(help: ArgumentHelp("Layers that are unpacked at the same time; one a core if not given.", valueName: "n"))
    var jobs: Int?

    @Option(
        name: .customLong("max-size"),
        help: ArgumentHelp("The most bytes of files in a layer; K, M, G and T are units of 1024.", valueName: "n"))
    var maxSize: ByteCount?

    @Flag(
        help:
            "Write Docker's records too, so that its daemon, which must not run, has the image: --home /var/lib/docker/overlay2."
    )
    var register = false

    @Flag(help: "Warn of owners and attributes that cannot be set, instead of ending.")
    var bestEffort = false

    @Flag(help: "Wait until the image is on disk.")
    var sync = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if register, target.home == nil { throw ValidationError("--register belongs to --home") }
        if !path.isEmpty, target.root == nil { throw ValidationError("--path belongs to --root") }
        if let jobs, !(1...64).contains(jobs) { throw ValidationError("--jobs takes a number from 1 to 64") }
    }

    func run() throws {
        if source.image.isDash, Console.isTerminal(STDIN_FILENO) {
            throw ValidationError("an image does not come from a terminal: name a file, or send one in")
        }
        let stopwatch = Stopwatch()
        var options = ImageUnpackOptions()
        options.jobs = jobs
        options.rootMode = ProcessSetup.directoryMode
        options.apply.workers = global.workers
        options.apply.io = global.io
        options.apply.maxBytes = maxSize?.bytes
        options.apply.bestEffort = bestEffort
        options.apply.sync = sync ? .syncfs : .none
        if !path.isEmpty {
            options.apply.filter = LayerFilter(include: path.map(\.pattern))
        }
        Interrupts.watch(options.interruption, patience: target.home == nil ? .takesBack : .store)
        let image = try which.image(in: try source.open(options.interruption.flag))
        let bar = ProgressBar.start("unpack", global, reading: options.progress)
        defer { bar?.stop() }
        let unpacked: UnpackedImage
        if let root = target.root {
            OutputPlace.remember(root.path)
            options.apply.uidMap = target.maps.users
            options.apply.gidMap = target.maps.groups
            unpacked = try ImageUnpack.unpack(image, to: root.path, options: options)
        } else {
            let driver = try target.store().open(global, making: true, sync: sync)
            let records =
                register ? try DockerRegister(image, in: driver, names: image.names, options: options) : nil
            unpacked = try ImageUnpack.unpack(image, into: driver, options: options)
            try records?.run()
        }
        bar?.stop()
        try report(image, unpacked, stopwatch).write(global, layerOnOutput: false)
    }

    private func report(_ image: LayerImage, _ unpacked: UnpackedImage, _ stopwatch: Stopwatch) -> Report {
        var report = Report()
        var (entries, size, present, redone) = (0, UInt64(0), 0, 0)
        report.warnings = image.warnings
        report.warningCount = image.warnings.count
        for layer in unpacked.layers {
            entries += layer.report.entries
            size += layer.size
            if layer.outcome == .present { present += 1 }
            if layer.outcome == .redone { redone += 1 }
            report.warnings += layer.report.warnings
            report.warningCount += layer.report.warningCount
            report.io.add(layer.report.io)
        }
        report.json.add("id", image.id.description)
        if let digest = image.manifestDigest { report.json.add("manifestDigest", digest.description) }
        if let top = unpacked.top { report.json.add("top", top.description) }
        report.json.add("layers", unpacked.layers.map(\.json))
        report.json.add("entries", UInt64(entries))
        report.json.add("size", size)
        report.json.add("presentLayers", UInt64(present))
        report.json.add("redoneLayers", UInt64(redone))
        report.json.add("seconds", seconds: stopwatch.seconds)
        report.addWarnings()
        let count = unpacked.layers.count
        report.summary =
            "unpacked \(count) \(count == 1 ? "layer" : "layers") of \(image.id), \(Human.entries(UInt64(entries))), "
            + "\(Human.bytes(size)) in \(Human.seconds(stopwatch.seconds))"
        if present > 0 { report.summary += "; \(present) were there" }
        if let top = unpacked.top { report.summary += "; the top is \(top)" }
        return report
    }
}

extension UnpackedLayer {
    fileprivate var json: JSONObject {
        var object = JSONObject()
        object.add("id", chainID.hexadecimal)
        object.add("diffID", diffID.description)
        object.add("outcome", outcome.rawValue)
        object.add("blobBytes", compressedBytes)
        object.add("size", size)
        object.add("entries", UInt64(report.entries))
        return object
    }
}

/// Where an image is unpacked: a directory, or a store.
struct UnpackTargetArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp("The directory to unpack into; its last component is made.", valueName: "dir"),
        completion: .directory)
    var root: PathArgument?

    @Option(
        help: ArgumentHelp(
            "The store's driver; not needed where --home ends in a driver's name or holds one store.",
            valueName: "driver"))
    var driver: DriverName?

    @Option(
        help: ArgumentHelp(
            "The store's directory, such as /var/lib/docker/overlay2, or the directory above it.", valueName: "dir"),
        completion: .directory)
    var home: PathArgument?

    @Option(
        name: [.customLong("storage-opt"), .customLong("driver-opt")],
        help: ArgumentHelp("An option of the driver (mountopt=nodev).", valueName: "k=v"))
    var options: [String] = []

    @OptionGroup var maps: IDMapOptions

    func validate() throws {
        guard (root == nil) != (home == nil) else {
            throw ValidationError("name either a directory with --root or a store with --home")
        }
        if root != nil, driver != nil || !options.isEmpty {
            throw ValidationError("--driver and its options belong to a store: --home")
        }
    }

    /// The store's arguments.
    func store() throws -> StoreArguments {
        guard let home else { throw ValidationError("name a store with --home") }
        var arguments = StoreArguments()
        arguments.driver = driver
        arguments.home = home
        arguments.storageOptions = []
        arguments.driverOptions = options
        arguments.maps = maps
        return arguments
    }
}
