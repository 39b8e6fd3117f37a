import ArgumentParser
import Glibc
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff assemble`: the original tar of an unpacked layer.
struct AssembleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "assemble",
        abstract: "Rebuilds a layer's tar, byte for byte, from tar-split metadata and the unpacked files.",
        discussion: """
            TAR_SPLIT is what diff and apply write with --tar-split, or what Docker keeps as tar-split.json.gz. A file \
            that is not what it was when the layer was unpacked is an error (status 65).

            EXAMPLES:
              ldiff apply layer.tar.zst rootfs --tar-split layer.json.gz
              ldiff assemble layer.json.gz rootfs -o layer.tar
            """)

    @Argument(help: "The metadata; - is standard input.", completion: .file())
    var tarSplit: PathArgument

    @Argument(help: "The directory that the layer was unpacked into.", completion: .directory)
    var root: PathArgument

    @Option(
        name: .shortAndLong, help: ArgumentHelp("The file to write; - is standard output.", valueName: "file|-"),
        completion: .file())
    var output: PathArgument?

    @OptionGroup(title: "Global options") var global: GlobalOptions

    private var writesToStandardOutput: Bool { output.map(\.isDash) ?? true }

    func run() throws {
        if writesToStandardOutput, Console.isTerminal(STDOUT_FILENO) {
            throw ValidationError("a layer is not for a terminal: give -o FILE, or send the output somewhere")
        }
        if tarSplit.isDash, Console.isTerminal(STDIN_FILENO) {
            throw ValidationError("metadata does not come from a terminal: name a file, or send one in")
        }
        if let output, !output.isDash { OutputPlace.remember(output.path) }
        let stopwatch = Stopwatch()
        let (interruption, progress) = (Interruption(), Progress())
        Interrupts.watch(interruption)
        let bar = ProgressBar.start("assemble", global, walking: progress)
        defer { bar?.stop() }
        if !tarSplit.isDash { try OutputPlace.take(tarSplit.path) }
        let target =
            if let output, !output.isDash {
                try OutputPlace.open(output.path)
            } else {
                try OutputFile.standardOutput()
            }
        let assembled = try LayerAssembly.assemble(
            tarSplit.isDash ? .standardInput : .file(tarSplit.path), root: root.path, to: target,
            interruption: interruption, progress: progress)
        bar?.stop()
        let seconds = stopwatch.seconds
        var report = Report()
        report.json.add("entries", assembled.entries)
        report.json.add("bytes", assembled.bytes)
        report.json.add("seconds", seconds: seconds)
        report.summary =
            "\(Human.entries(UInt64(assembled.entries))), \(Human.bytes(assembled.bytes)) in \(Human.seconds(seconds))"
        try report.write(global, layerOnOutput: writesToStandardOutput)
    }
}
