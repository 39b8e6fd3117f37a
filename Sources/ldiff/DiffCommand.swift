import ArgumentParser
import Glibc
import LayerKit
import Synchronization

/// `ldiff diff`: writes a layer.
struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Writes a layer: what a tree holds, or how it differs from others.",
        discussion: """
            Without --lower the layer holds all of UPPER. With --lower it holds what changed: UPPER is another whole \
            tree, or with --dialect a directory of changes as overlayfs, aufs or fuse-overlayfs keep them. The file \
            appears under its name only when it is complete. SOURCE_DATE_EPOCH bounds the times of the containerd \
            profile.

            EXAMPLES:
              ldiff diff rootfs -o layer.tar
              ldiff diff rootfs --compress zstd --level 9 --digest --json -o layer.tar.zst
              ldiff diff new --lower old | ssh host ldiff apply - /srv/root
              ldiff diff upper --lower lower2 --lower lower1 --dialect overlay -o layer.tar
            """)

    @OptionGroup var source: SourceArguments

    @Option(
        name: .shortAndLong, help: ArgumentHelp("The file to write; - is standard output.", valueName: "file|-"),
        completion: .file())
    var output: PathArgument?

    @Option(help: ArgumentHelp("How the layer is compressed.", valueName: "none|gzip|zstd"))
    var compress: CompressionName = .none

    @Option(help: ArgumentHelp("0 to 3 for gzip (standard 2), 1 to 19 for zstd (standard 3).", valueName: "n"))
    var level: Int?

    @Option(
        help: ArgumentHelp(
            "Whose archives the layer equals, byte for byte; full is ours and keeps all portable attributes.",
            valueName: "full|moby|docker20|docker20late|containerd|cstorage"))
    var profile: LayerProfile = .full

    @Flag(help: "Compute the DiffID, and the digest of the compressed layer.")
    var digest = false

    @Option(
        help: ArgumentHelp("Write tar-split metadata of the layer, for assemble; Docker's format.", valueName: "file"),
        completion: .file())
    var tarSplit: PathArgument?

    @OptionGroup var maps: IDMapOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        guard let level else { return }
        guard let levels = compress.levels else { throw ValidationError("--level needs --compress gzip or zstd") }
        guard levels.contains(level) else {
            throw ValidationError(
                "--level takes \(levels.lowerBound) to \(levels.upperBound) with --compress \(compress.rawValue)")
        }
    }

    private var writesToStandardOutput: Bool { output.map(\.isDash) ?? true }

    func run() throws {
        if writesToStandardOutput, Console.isTerminal(STDOUT_FILENO) {
            throw ValidationError("a layer is not for a terminal: give -o FILE, or send the output somewhere")
        }
        let diff = try diffOptions()
        let stopwatch = Stopwatch()
        let interruption = Interruption()
        Interrupts.watch(interruption)
        let progress = Progress()
        let bar = ProgressBar.start("diff", global) {
            ProgressBar.Sample(
                entries: progress.entries.load(ordering: .relaxed), bytes: progress.bytes.load(ordering: .relaxed),
                total: progress.totalBytes.load(ordering: .relaxed))
        }
        defer { bar?.stop() }
        let target =
            if let output, !output.isDash {
                try LayerOutput.file(at: output.path, mode: ProcessSetup.fileMode)
            } else {
                try LayerOutput.standardOutput()
            }
        var options = LayerExportOptions()
        options.compression = compress.format
        options.level = level
        options.digests = digest
        options.compressionWorkers = global.workers
        options.diff = diff
        let metadata = try tarSplit.map { try LayerOutput.file(at: $0.path, mode: ProcessSetup.fileMode) }
        let written = try LayerExport.write(
            source.source(global, interruption, progress), to: target, tarSplit: metadata, options: options)
        bar?.stop()
        try report(written, seconds: stopwatch.seconds).write(global, layerOnOutput: writesToStandardOutput)
    }

    private func diffOptions() throws -> DiffOptions {
        var options = DiffOptions()
        options.profile = profile
        options.uidMap = maps.users
        options.gidMap = maps.groups
        options.skipUnreadable = source.skipUnreadable
        if profile == .containerd, let epoch = Environment.value("SOURCE_DATE_EPOCH") {
            guard let seconds = Int64(epoch), seconds >= 0 else {
                throw ValidationError("SOURCE_DATE_EPOCH is not a number of seconds: \(epoch)")
            }
            options.sourceDateEpoch = seconds
        }
        return options
    }

    private func report(_ written: LayerExportReport, seconds: Double) -> Report {
        let layer = written.layer
        var report = Report()
        report.json.add("entries", layer.entries)
        report.json.add("bytes", layer.bytes)
        report.json.add("size", layer.size)
        if let diffID = written.diffID { report.json.add("diffID", diffID.description) }
        if let digest = written.digest { report.json.add("digest", digest.description) }
        report.json.add("mediaType", written.mediaType)
        report.json.add("outputBytes", written.outputBytes)
        report.json.add("seconds", seconds: seconds)
        report.json.add("io", layer.io.json(global.io))
        report.json.add("skippedSockets", layer.skippedSockets)
        report.json.add("skippedUnreadable", layer.skippedUnreadable)
        report.json.add("skippedVanished", layer.skippedVanished)
        report.json.add("warnings", layer.warnings)
        report.skippedUnreadable = layer.skippedUnreadable
        report.warnings = layer.warnings
        report.warningCount = layer.warnings.count
        report.io = layer.io
        var text = "\(Human.entries(UInt64(layer.entries))), \(Human.bytes(layer.bytes))"
        if compress != .none { text += " as \(Human.bytes(written.outputBytes)) of \(compress.rawValue)" }
        text += " in \(Human.seconds(seconds))"
        if layer.skippedSockets > 0 { text += "; left out \(layer.skippedSockets) sockets" }
        if layer.skippedVanished > 0 { text += "; \(layer.skippedVanished) vanished meanwhile" }
        if let diffID = written.diffID { text += "; DiffID \(diffID)" }
        if let digest = written.digest { text += "; digest \(digest)" }
        report.summary = text
        return report
    }
}
