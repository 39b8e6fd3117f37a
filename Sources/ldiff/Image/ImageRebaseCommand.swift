import ArgumentParser
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO

/// `ldiff image rebase`: an image upon another base.
struct ImageRebaseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebase",
        abstract: "Puts the layers of an image that lie upon one base upon another one.",
        discussion: """
            The image's lowest layers must be those of --from, by their DiffIDs. The result has the layers of --onto and the \
            image's others, the image's configuration, and what --onto runs on. Layers are copied as they are.

            EXAMPLES:
              ldiff image rebase app.tar app2.tar --from debian-12.1.tar --onto debian-12.2.tar --ref app:1.1
            """)

    @Argument(help: "The image.", completion: .file())
    var image: PathArgument

    @Argument(help: "The layout or archive to write; - is standard output.", completion: .file())
    var output: PathArgument

    @Option(help: ArgumentHelp("The base that it lies upon.", valueName: "image"), completion: .file())
    var from: PathArgument

    @Option(help: ArgumentHelp("The base that it will lie upon.", valueName: "image"), completion: .file())
    var onto: PathArgument

    @Option(help: ArgumentHelp("Which variant of each.", valueName: "os/arch[/variant]"))
    var platform: String?

    @OptionGroup var result: ImageOutputArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws { try result.validate(output) }

    func run() throws {
        let stopwatch = Stopwatch()
        var options = try result.options(global)
        Interrupts.watch(options.interruption, patience: .takesBack)
        let platform = try platform.map { try ImageSelectionArguments.platform($0) }
        let flag = options.interruption.flag
        let images = try [image, from, onto].map { path in
            try ImageArchive.open(path.path, cancel: flag).image(ImageSelection(platform: platform))
        }
        let progress = ImportProgress()
        let bar = ProgressBar.start("rebase", global, reading: progress)
        defer { bar?.stop() }
        let packed = try result.write(to: output, &options) { (output, options) throws(LayerError) in
            try ImageRebase.write(
                images[0], from: images[1], onto: images[2], to: output, options: options, progress: progress)
        }
        bar?.stop()
        try ImageOutputArguments.report(packed, stopwatch).write(global, layerOnOutput: output.isDash)
    }
}
