import ArgumentParser
import LayerPipeline

/// `ldiff pack`: keeps a layer as its tar and an index.
struct PackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack",
        abstract: "Keeps a layer as its own tar and a small index that the kernel mounts.",
        discussion: """
            Into DIR come layer.tar, the uncompressed layer byte for byte; layer.erofs, a file system that names what lies in \
            it; packed, a record that binds the two; and, where the layer has sparse files, layer.extra with their \
            contents. The kernel mounts layer.erofs with layer.tar as its device (Linux 6.12, or loop devices before), and \
            shows what apply --dialect overlay would have unpacked. Nothing is made but these files, so no privilege is \
            needed, and the bytes are the same whoever packs.

            DIR must be empty or missing; its last component is created. After a failure it is as it was, a digest that is \
            not the expected one (status 65) included. A layer that an index cannot hold (status 69) is to be unpacked.

            Packing pays for layers of many small files. Contents that are read lie twice in the page cache.

            EXAMPLES:
              ldiff pack layer.tar.gz -o packed
              zcat layer.tar.gz | ldiff pack - -o packed
              ldiff pack base.tar.zst -o packed --bottom --expect-digest sha256:9f86d0...
            """)

    @Argument(help: "The layer; - is standard input.", completion: .file())
    var layer: PathArgument

    @Option(
        name: .shortAndLong, help: ArgumentHelp("The directory for the files.", valueName: "dir"),
        completion: .directory)
    var output: PathArgument

    @Flag(help: "No layer lies below: deletions are left out, which would be seen otherwise.")
    var bottom = false

    @Flag(help: "Overlays of the layer are mounted with userxattr: marks are user.overlay attributes.")
    var userxattr = false

    @Flag(help: "Compute the digest of the layer as it is read, too.")
    var digest = false

    @Option(help: ArgumentHelp("The digest that the layer must have as it is read.", valueName: "sha256:..."))
    var expectDigest: DigestArgument?

    @Option(help: ArgumentHelp("The digest that the uncompressed layer must have.", valueName: "sha256:..."))
    var expectDiffID: DigestArgument?

    @Option(
        name: .customLong("max-size"),
        help: ArgumentHelp("The most bytes of files to take; K, M, G and T are units of 1024.", valueName: "n"))
    var maxSize: ByteCount?

    @Flag(help: "Warn of attributes for which an index has no room, instead of ending.")
    var bestEffort = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        try LayerInputArguments.checkTerminal(layer)
        OutputPlace.remember(output.path)
        let stopwatch = Stopwatch()
        var options = LayerPackOptions()
        options.packing.parents = bottom ? .none : .unknown
        options.packing.userAttributes = userxattr
        options.packing.maxBytes = maxSize?.bytes
        options.packing.bestEffort = bestEffort
        options.digests = digest
        options.expectedDigest = expectDigest?.digest
        options.expectedDiffID = expectDiffID?.digest
        options.directoryMode = ProcessSetup.directoryMode
        options.fileMode = ProcessSetup.fileMode
        Interrupts.watch(options.interruption, patience: .takesBack)
        let bar = ProgressBar.start("pack", global, reading: options.progress)
        defer { bar?.stop() }
        let packed = try LayerPack.pack(layer.input, into: output.path, options: options)
        bar?.stop()
        try Report(packed, seconds: stopwatch.seconds).write(global, layerOnOutput: false)
    }
}

extension Report {
    /// Of a layer that was packed.
    init(_ packed: LayerPackReport, seconds: Double) {
        let (layer, stream) = (packed.layer, packed.stream)
        json.add("entries", layer.entries)
        json.add("bytes", stream.uncompressedBytes)
        json.add("size", layer.headerSum)
        json.add("contentBytes", layer.uniqueFileBytes)
        json.add("inputBytes", stream.compressedBytes)
        json.add("indexBytes", packed.record.index.byteCount)
        json.add("extraBytes", packed.record.extra?.byteCount ?? 0)
        if let diffID = stream.diffID { json.add("diffID", diffID.description) }
        if stream.format != .none, let digest = stream.compressedDigest { json.add("digest", digest.description) }
        json.add("compression", stream.format.name)
        json.add("impliedDirectories", layer.impliedDirectories.count)
        json.add("rootOpaque", layer.isRootOpaque)
        json.add("seconds", seconds: seconds)
        warnings = layer.warnings
        warningCount = layer.warningCount
        addWarnings()
        summary = "\(Human.entries(UInt64(layer.entries))), \(Human.bytes(stream.uncompressedBytes))"
        if stream.format != .none { summary += " from \(Human.bytes(stream.compressedBytes)) of \(stream.format.name)" }
        summary += ", an index of \(Human.bytes(packed.record.index.byteCount)) in \(Human.seconds(seconds))"
        if let diffID = stream.diffID { summary += "; DiffID \(diffID)" }
    }
}
