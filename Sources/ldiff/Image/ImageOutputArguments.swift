import ArgumentParser
import Glibc
import LayerCompression
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// Where an image is written and what it looks like: flags of the verbs that write one.
struct ImageOutputArguments: ParsableArguments {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case oci, archive, docker
    }

    enum Compression: String, ExpressibleByArgument, CaseIterable {
        case none, gzip, zstd

        var format: LayerFormat {
            switch self {
            case .none: .none
            case .gzip: .gzip
            case .zstd: .zstd
            }
        }
    }

    @Option(help: ArgumentHelp("A name of the image. Repeatable.", valueName: "name"))
    var ref: [String] = []

    @Option(
        help: ArgumentHelp(
            "A layout in a directory, an archive, or an archive with Docker's media types.",
            valueName: "form"))
    var format: Format?

    @Option(
        help: ArgumentHelp(
            "How new layers are compressed; gzip if the base says nothing else.", valueName: "format"))
    var compress: Compression?

    @Option(help: ArgumentHelp("0 to 3 for gzip (standard 2), 1 to 19 for zstd (standard 3).", valueName: "n"))
    var level: Int?

    @Option(help: ArgumentHelp("An annotation of the manifest. Repeatable.", valueName: "k=v"))
    var annotation: [String] = []

    @Flag(help: "No file is newer than SOURCE_DATE_EPOCH.")
    var clampMtime = false

    @Option(
        help: ArgumentHelp("Where layers lie meanwhile that cannot go to their place at once.", valueName: "dir"),
        completion: .directory)
    var scratch: PathArgument?

    func validate(_ output: PathArgument) throws {
        if format == .docker, compress == .zstd {
            throw ValidationError("Docker's media types have no zstd: --format archive")
        }
        if output.isDash, format == .oci { throw ValidationError("a layout is a directory: name one") }
        if let level {
            guard let compress, compress != .none else {
                throw ValidationError("--level needs --compress gzip or zstd")
            }
            let levels = compress == .gzip ? 0...3 : 1...19
            guard levels.contains(level) else {
                throw ValidationError(
                    "--level takes \(levels.lowerBound) to \(levels.upperBound) with --compress \(compress.rawValue)")
            }
        }
        if clampMtime, Environment.value("SOURCE_DATE_EPOCH") == nil {
            throw ValidationError("--clamp-mtime needs SOURCE_DATE_EPOCH")
        }
    }

    func options(_ global: GlobalOptions) throws -> ImagePackOptions {
        var options = ImagePackOptions()
        options.names = ref
        options.isDocker = format == .docker
        options.compression = compress?.format
        options.level = level
        options.workers = global.workers
        options.annotations = try annotation.map { try Self.pair($0, "--annotation") }
        if let scratch { options.scratch = scratch.path }
        if let epoch = Environment.value("SOURCE_DATE_EPOCH") {
            guard let seconds = Int64(epoch), seconds >= 0 else {
                throw ValidationError("SOURCE_DATE_EPOCH is not a number of seconds: \(epoch)")
            }
            options.diff.sourceDateEpoch = seconds
        }
        return options
    }

    static func pair(_ text: String, _ flag: String) throws -> ImageAnnotation {
        guard let cut = text.firstIndex(of: "="), cut != text.startIndex else {
            throw ValidationError("\(flag) takes NAME=VALUE, not \(text)")
        }
        return ImageAnnotation(String(text[..<cut]), String(text[text.index(after: cut)...]))
    }

    /// Opens the output, has `body` write the image, and lets it appear.
    func write(
        to output: PathArgument, _ options: inout ImagePackOptions,
        _ body: (any ImageOutput, ImagePackOptions) throws(LayerError) -> PackedImage
    ) throws -> PackedImage {
        if let epoch = options.diff.sourceDateEpoch { options.change.created = epoch }
        if !output.isDash { OutputPlace.remember(output.path) }
        guard isArchive(output) else { return try body(try ImageLayoutOutput(output.path), options) }
        if output.isDash, Console.isTerminal(STDOUT_FILENO) {
            throw ValidationError("an image is not for a terminal: name a file, or send the output somewhere")
        }
        return try ImageFile.write(
            to: output.isDash ? try .standardOutput() : try .file(at: output.path, mode: ProcessSetup.fileMode),
            options,
            body)
    }

    /// Whether an archive is to be written, and no layout.
    func isArchive(_ output: PathArgument) -> Bool {
        format.map { $0 != .oci } ?? (output.isDash || Self.isNamedLikeArchive(output.path))
    }

    private static func isNamedLikeArchive(_ path: PathBytes) -> Bool {
        path.bytes.suffix(4) == Array(".tar".utf8)[...]
    }

    static func report(_ packed: PackedImage, _ stopwatch: Stopwatch) -> Report {
        var report = Report()
        report.json.add("id", packed.id.description)
        report.json.add("manifestDigest", packed.manifestDigest.description)
        report.json.add(
            "layers",
            packed.layers.map { layer in
                var object = JSONObject()
                object.add("diffID", layer.diffID.description)
                object.add("digest", layer.descriptor.digest.description)
                object.add("mediaType", layer.descriptor.mediaType.name)
                object.add("blobBytes", layer.descriptor.size)
                object.add("new", layer.isNew)
                object.add("omitted", layer.isOmitted)
                return object
            })
        report.json.add("entries", packed.entries)
        report.json.add("seconds", seconds: stopwatch.seconds)
        report.warnings = packed.warnings
        report.warningCount = packed.warnings.count
        report.addWarnings()
        let (count, omitted) = (packed.layers.count, packed.layers.count { $0.isOmitted })
        report.summary =
            "packed \(count) \(count == 1 ? "layer" : "layers") as \(packed.id) in \(Human.seconds(stopwatch.seconds))"
        if omitted > 0 { report.summary += "; \(omitted) left out" }
        return report
    }
}

/// What is to be other in the image's configuration.
struct ImageChangeArguments: ParsableArguments {
    @Option(help: ArgumentHelp("A variable of the environment. Repeatable.", valueName: "k=v"))
    var env: [String] = []

    @Option(help: ArgumentHelp("A word of the command. Repeatable.", valueName: "word"))
    var cmd: [String] = []

    @Option(help: ArgumentHelp("A word of the entry point. Repeatable.", valueName: "word"))
    var entrypoint: [String] = []

    @Option(help: ArgumentHelp("A label. Repeatable.", valueName: "k=v"))
    var label: [String] = []

    @Option(help: ArgumentHelp("The user and group that it runs as.", valueName: "user[:group]"))
    var user: String?

    @Option(help: ArgumentHelp("The directory that it runs in.", valueName: "dir"))
    var workdir: String?

    @Option(help: ArgumentHelp("A port that it listens on. Repeatable.", valueName: "port/proto"))
    var port: [String] = []

    @Option(help: ArgumentHelp("A directory that holds data. Repeatable.", valueName: "dir"))
    var volume: [String] = []

    @Option(help: ArgumentHelp("The signal that stops it.", valueName: "signal"))
    var stopSignal: String?

    @Option(help: ArgumentHelp("Who made it.", valueName: "text"))
    var author: String?

    func change() throws -> ImageChange {
        var change = ImageChange()
        for text in env where !text.contains("=") || text.hasPrefix("=") {
            throw ValidationError("--env takes NAME=VALUE, not \(text)")
        }
        change.environment = env
        change.command = cmd.isEmpty ? nil : cmd
        change.entryPoint = entrypoint.isEmpty ? nil : entrypoint
        change.labels = try label.map { try ImageOutputArguments.pair($0, "--label") }
        change.user = user
        change.workingDirectory = workdir
        change.exposedPorts = port
        change.volumes = volume
        change.stopSignal = stopSignal
        change.author = author
        return change
    }
}
