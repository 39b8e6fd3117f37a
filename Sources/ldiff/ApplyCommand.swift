import ArgumentParser
import Glibc
import LayerKit
import Synchronization

/// `ldiff apply`: unpacks a layer.
struct ApplyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Unpacks a layer into a directory.",
        discussion: """
            The layer may be plain, gzip, zstd, bzip2, xz or lz4, which is detected. With --dialect tree ROOT is a \
            whole tree and deletions in the layer delete; with another dialect ROOT is an upper directory and they \
            become that dialect's marks. ROOT's last component is created if it is missing.

            A ROOT that was missing or empty is so again if anything fails, a digest that is not the expected one \
            included. If ROOT holds something already, a layer in a file is verified before ROOT is touched, which \
            reads it twice; a layer from a pipe is verified as it is unpacked, and on a mismatch (status 65) ROOT \
            holds a partly applied layer.

            EXAMPLES:
              ldiff apply layer.tar.gz rootfs
              zcat layer.tar.gz | ldiff apply - rootfs
              ldiff apply layer.tar.zst rootfs --expect-digest sha256:9f86d0...
              ldiff apply layer.tar upper --dialect overlay --lower lower
            """)

    @Argument(help: "The layer; - is standard input.", completion: .file())
    var layer: PathArgument

    @Argument(help: "The directory to unpack into.", completion: .directory)
    var root: PathArgument

    @Option(
        help: ArgumentHelp("How deletions are marked in ROOT.", valueName: "tree|overlay|aufs|fuse-overlayfs"))
    var dialect: WhiteoutDialect.Name = .tree

    @Option(
        help: ArgumentHelp("A directory that ROOT lies upon, nearest first.", valueName: "dir"),
        completion: .directory)
    var lower: [PathArgument] = []

    @Flag(help: "Compute the DiffID, and the digest of the layer as it is read.")
    var digest = false

    @Option(help: ArgumentHelp("The digest that the layer must have as it is read.", valueName: "sha256:..."))
    var expectDigest: DigestArgument?

    @Option(help: ArgumentHelp("The digest that the uncompressed layer must have.", valueName: "sha256:..."))
    var expectDiffID: DigestArgument?

    @Option(
        help: ArgumentHelp("Write tar-split metadata of the layer, for assemble; Docker's format.", valueName: "file"),
        completion: .file())
    var tarSplit: PathArgument?

    @Option(
        name: .customLong("max-size"),
        help: ArgumentHelp("The most bytes of files to unpack; K, M, G and T are units of 1024.", valueName: "n"))
    var maxSize: ByteCount?

    @OptionGroup var maps: IDMapOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        if dialect == .tree, !lower.isEmpty { throw ValidationError("--lower needs a --dialect other than tree") }
    }

    func run() throws {
        if layer.isDash, Console.isTerminal(STDIN_FILENO) {
            throw ValidationError("a layer does not come from a terminal: name a file, or send one in")
        }
        let stopwatch = Stopwatch()
        let options = importOptions()
        Interrupts.watch(options.interruption, takesBack: true)
        let progress = options.progress
        let bar = ProgressBar.start("apply", global) {
            ProgressBar.Sample(
                entries: progress.layer.entries.load(ordering: .relaxed), bytes: progress.input.value,
                total: progress.inputTotal.load(ordering: .relaxed))
        }
        defer { bar?.stop() }
        let metadata = try tarSplit.map { try LayerOutput.file(at: $0.path, mode: ProcessSetup.fileMode) }
        let applied = try LayerImport.apply(
            layer.isDash ? .standardInput : .file(layer.path), to: root.path, tarSplit: metadata, options: options)
        bar?.stop()
        try report(applied, seconds: stopwatch.seconds).write(global, layerOnOutput: false)
    }

    private func importOptions() -> LayerImportOptions {
        var options = LayerImportOptions()
        options.apply.dialect = WhiteoutDialect(dialect)
        options.apply.lowers = lower.isEmpty ? nil : lower.map(\.path)
        options.apply.uidMap = maps.users
        options.apply.gidMap = maps.groups
        options.apply.workers = global.workers
        options.apply.io = global.io
        options.apply.maxBytes = maxSize?.bytes
        options.digests = digest
        options.expectedDigest = expectDigest?.digest
        options.expectedDiffID = expectDiffID?.digest
        options.rootMode = ProcessSetup.directoryMode
        return options
    }

    private func report(_ applied: LayerImportReport, seconds: Double) -> Report {
        let layer = applied.layer
        let stream = applied.stream
        var report = Report()
        report.json.add("entries", layer.entries)
        report.json.add("bytes", stream.uncompressedBytes)
        report.json.add("size", layer.size)
        report.json.add("uniqueFileBytes", layer.uniqueFileBytes)
        report.json.add("inputBytes", stream.compressedBytes)
        if let diffID = stream.diffID { report.json.add("diffID", diffID.description) }
        if stream.format != .none, let digest = stream.compressedDigest {
            report.json.add("digest", digest.description)
        }
        report.json.add("compression", stream.format.name)
        if let mediaType = stream.format.mediaType { report.json.add("mediaType", mediaType) }
        report.json.add("seconds", seconds: seconds)
        report.json.add("io", layer.io.json(global.io))
        report.json.add("skippedDevices", layer.skippedDevices)
        report.json.add("warnings", layer.warnings)
        report.json.add("warningCount", layer.warningCount)
        report.warnings = layer.warnings
        report.warningCount = layer.warningCount
        report.io = layer.io
        var text = "\(Human.entries(UInt64(layer.entries))), \(Human.bytes(stream.uncompressedBytes))"
        if stream.format != .none { text += " from \(Human.bytes(stream.compressedBytes)) of \(stream.format.name)" }
        text += " in \(Human.seconds(seconds))"
        if let diffID = stream.diffID { text += "; DiffID \(diffID)" }
        if stream.format != .none, let digest = stream.compressedDigest { text += "; digest \(digest)" }
        report.summary = text
        return report
    }
}
