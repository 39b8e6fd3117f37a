import ArgumentParser
import Glibc
import LayerEngine
import LayerModel
import LayerPipeline
import LinuxIO

/// Where a layer goes and what it looks like: the flags of `diff` and `layer diff`.
struct LayerOutputArguments: ParsableArguments {
    @Option(
        name: .shortAndLong, help: ArgumentHelp("The file to write; - is standard output.", valueName: "file|-"),
        completion: .file())
    var output: PathArgument?

    @Option(help: ArgumentHelp("How the layer is compressed.", valueName: "format"))
    var compress: CompressionName = .none

    @Option(
        help: ArgumentHelp(
            "0 to 9 for gzip and estargz (standard 2; 4 and more are zlib's, dense and slow), 1 to 19 for zstd (standard 3).",
            valueName: "n"))
    var level: Int?

    @OptionGroup var index: LayerIndexArguments

    @Option(
        help: ArgumentHelp(
            "Whose archives the layer equals, byte for byte; full is ours and keeps all portable attributes.",
            valueName: "profile"))
    var profile: LayerProfile = .full

    @Option(
        help: ArgumentHelp(
            """
            What becomes of files whose names begin with .wh., and of devices numbered 0:0, which in a layer mean a \
            deletion. Profiles other than full write them as the program does that they stand for.
            """, valueName: "what"))
    var reservedNames: DiffOptions.ReservedNamesPolicy = .leaveOut

    @Flag(help: "Compute the DiffID, and the digest of the compressed layer.")
    var digest = false

    @Option(
        help: ArgumentHelp("Write tar-split metadata of the layer, for assemble; Docker's format.", valueName: "file"),
        completion: .file())
    var tarSplit: PathArgument?

    func validate() throws {
        try index.validate(compress)
        guard let level else { return }
        guard let levels = compress.levels else { throw ValidationError("--level needs --compress gzip or zstd") }
        guard levels.contains(level) else {
            throw ValidationError(
                "--level takes \(levels.lowerBound) to \(levels.upperBound) with --compress \(compress.rawValue)")
        }
    }

    var goesToStandardOutput: Bool { output.map(\.isDash) ?? true }

    /// Refuses to write a layer to a terminal.
    func checkTerminal() throws {
        guard goesToStandardOutput, Console.isTerminal(STDOUT_FILENO) else { return }
        throw ValidationError("a layer is not for a terminal: give -o FILE, or send the output somewhere")
    }

    /// The outputs for the layer and for its metadata, opened.
    func open() throws(LayerError) -> (layer: OutputFile, tarSplit: OutputFile?) {
        let layer =
            if let output, !output.isDash {
                try Self.open(output.path)
            } else {
                try OutputFile.standardOutput()
            }
        guard let tarSplit else { return (layer, nil) }
        return (layer, try OutputPlace.open(tarSplit.path))
    }

    private static func open(_ path: PathBytes) throws(LayerError) -> OutputFile {
        OutputPlace.remember(path)
        return try OutputPlace.open(path)
    }

    func exportOptions(_ global: GlobalOptions) throws -> LayerExportOptions {
        var options = LayerExportOptions()
        options.compression = compress.format
        options.level = level
        options.indexed = compress.indexed.map { index.options($0) }
        options.digests = digest
        options.compressionWorkers = global.workers
        options.diff.profile = profile
        options.diff.reservedNames = reservedNames
        if profile == .containerd, let epoch = Environment.value("SOURCE_DATE_EPOCH") {
            guard let seconds = Int64(epoch), seconds >= 0 else {
                throw ValidationError("SOURCE_DATE_EPOCH is not a number of seconds: \(epoch)")
            }
            options.diff.sourceDateEpoch = seconds
        }
        return options
    }
}

extension ProgressBar {
    /// A bar for a layer that is written.
    static func start(_ label: String, _ global: GlobalOptions, writing progress: Progress) -> ProgressBar? {
        start(label, global) {
            Sample(
                entries: progress.entries.load(ordering: .relaxed), bytes: progress.bytes.load(ordering: .relaxed),
                total: progress.totalBytes.load(ordering: .relaxed))
        }
    }

    /// A bar for a layer that is unpacked.
    static func start(_ label: String, _ global: GlobalOptions, reading progress: ImportProgress) -> ProgressBar? {
        start(label, global) {
            Sample(
                entries: progress.layer.entries.load(ordering: .relaxed), bytes: progress.input.value,
                total: progress.inputTotal.load(ordering: .relaxed))
        }
    }

    /// A bar for a walk, whose end nobody knows.
    static func start(_ label: String, _ global: GlobalOptions, walking progress: Progress) -> ProgressBar? {
        start(label, global) {
            Sample(
                entries: progress.entries.load(ordering: .relaxed), bytes: progress.bytes.load(ordering: .relaxed))
        }
    }
}
