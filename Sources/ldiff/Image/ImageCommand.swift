import ArgumentParser
import LayerCompression
import LayerImages
import LayerModel
import LayerPipeline
import LinuxIO
import PlainJSON

/// `ldiff image`: verbs that work on whole images.
struct ImageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image",
        abstract: "Looks into images, unpacks and packs them: OCI layouts and archives, and what docker save writes.",
        subcommands: [
            ImageListCommand.self, ImageInspectCommand.self, ImageUnpackCommand.self, ImagePackCommand.self,
            ImageRebaseCommand.self,
        ])
}

/// The image that is looked at: flags of the verbs that read one.
struct ImageSourceArguments: ParsableArguments {
    @Argument(
        help: "A directory or an archive, compressed or not; - is standard input. An archive is read where it lies.",
        completion: .file())
    var image: PathArgument

    func open(_ cancel: CancelFlag) throws(LayerError) -> ImageArchive {
        guard image.isDash else { return try ImageArchive.open(image.path, cancel: cancel) }
        let path = PathBytes("standard input")
        let standard = OwnedDescriptor(adopting: 0)
        let copy = try? standard.duplicate()
        // Standard input stays open: this code does not own it.
        _ = standard.relinquish()
        guard let copy else { throw LayerError(.notFound, "read", path: path, cause: .reason("it is closed")) }
        return try ImageArchive.open(descriptor: copy, displayPath: path, cancel: cancel)
    }
}

/// Which image of several: flags of the verbs that take one.
struct ImageSelectionArguments: ParsableArguments {
    @Option(help: ArgumentHelp("Which image: a name, a tag, or the beginning of a digest.", valueName: "name"))
    var ref: String?

    @Option(help: ArgumentHelp("What it must run on; else what runs here best.", valueName: "os/arch[/variant]"))
    var platform: String?

    @Option(help: ArgumentHelp("The digest that its manifest or configuration must have.", valueName: "sha256:..."))
    var expectDigest: DigestArgument?

    static func platform(_ text: String) throws -> Platform {
        guard let parsed = Platform(parsing: text) else {
            throw ValidationError("\(text) is no platform: write OS/ARCHITECTURE[/VARIANT]")
        }
        return parsed
    }

    /// The image that is meant.
    func image(in archive: ImageArchive) throws -> LayerImage {
        var selection = ImageSelection(reference: ref, digest: expectDigest?.digest)
        if let platform { selection.platform = try Self.platform(platform) }
        return try archive.image(selection)
    }
}

/// `ldiff image list`: the images of an archive.
struct ImageListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Lists the images of a layout or archive: name, platform, digest, one a line.",
        discussion: """
            EXAMPLES:
              ldiff image list image.tar
              docker save debian | ldiff image list - --json
            """)

    @OptionGroup var source: ImageSourceArguments
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let interruption = Interruption()
        Interrupts.watch(interruption)
        let archive = try source.open(interruption.flag)
        let output = try OutputFile.standardOutput()
        guard global.json else {
            return try output.writeText(archive.candidates.map(\.line).joined())
        }
        var list = JSONObject()
        list.add("layout", archive.layout.rawValue)
        list.add("images", archive.candidates.map(\.json))
        list.add("warnings", archive.warnings)
        try output.writeText(list.text + "\n")
    }
}

extension ImageCandidate {
    fileprivate var line: String {
        let name = names.first.map { escapedText(Array($0.utf8)) } ?? "-"
        let state = isPresent ? "" : " (not here)"
        return "\(name) \(platform?.description ?? "-") \(manifestDigest?.description ?? "-")\(state)\n"
    }

    fileprivate var json: JSONObject {
        var object = JSONObject()
        object.add("names", names)
        if let platform { object.add("platform", platform.description) }
        if let manifestDigest { object.add("manifestDigest", manifestDigest.description) }
        object.add("present", isPresent)
        return object
    }
}

/// `ldiff image inspect`: one image.
struct ImageInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Tells what an image is made of; with --check, reads it all and compares every digest.",
        discussion: """
            Without --ref there must be one image, or one for each platform. The documents are checked in any case, the \
            layers with --check: a digest or DiffID that differs is an error (status 65), a part that is missing is one, \
            too (66).

            EXAMPLES:
              ldiff image inspect image.tar --ref debian:12 --platform linux/arm64
              ldiff image inspect image.tar --check
            """)

    @OptionGroup var source: ImageSourceArguments

    @OptionGroup var which: ImageSelectionArguments

    @Flag(help: "Read the layers, and compare their digests and DiffIDs.")
    var check = false

    @OptionGroup(title: "Global options") var global: GlobalOptions

    func run() throws {
        let interruption = Interruption()
        Interrupts.watch(interruption)
        let image = try which.image(in: try source.open(interruption.flag))
        if !global.quiet, !global.json {
            for warning in image.warnings { Console.error("ldiff: warning: " + RawArguments.oneLine(warning) + "\n") }
        }
        if check {
            for layer in image.layers { try layer.verify(cancel: interruption.flag) }
        }
        let output = try OutputFile.standardOutput()
        try output.writeText(global.json ? json(image).text + "\n" : text(image))
    }

    private func text(_ image: LayerImage) -> String {
        var text = "id       \(image.id)\n"
        if let digest = image.manifestDigest { text += "manifest \(digest)\n" }
        for name in image.names { text += "name     \(escapedText(Array(name.utf8)))\n" }
        text += "platform \(image.platform)\n"
        for layer in image.layers {
            let size = layer.blob.map { Human.bytes($0.byteCount) } ?? "not here"
            text += "layer    \(layer.diffID) \(layer.format.name) \(size)\n"
        }
        return text
    }

    private func json(_ image: LayerImage) -> JSONObject {
        var object = JSONObject()
        object.add("id", image.id.description)
        if let digest = image.manifestDigest { object.add("manifestDigest", digest.description) }
        object.add("names", image.names)
        object.add("platform", image.platform.description)
        object.add(
            "layers",
            image.layers.map { layer in
                var item = JSONObject()
                item.add("diffID", layer.diffID.description)
                item.add("chainID", layer.chainID.description)
                if let descriptor = layer.descriptor {
                    item.add("digest", descriptor.digest.description)
                    item.add("mediaType", descriptor.mediaType.name)
                }
                item.add("compression", layer.format.name)
                if let blob = layer.blob { item.add("blobBytes", blob.byteCount) }
                item.add("present", layer.blob != nil)
                return item
            })
        object.add("checked", check)
        object.add("warnings", image.warnings)
        return object
    }
}
