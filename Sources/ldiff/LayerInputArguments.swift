import ArgumentParser
import Glibc
import LayerEngine
import LayerModel
import LayerPipeline
import LinuxIO

/// The layer that is unpacked and what it must be: the flags of `apply` and `layer apply`.
struct LayerInputArguments: ParsableArguments {
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

    @Option(
        help: ArgumentHelp(
            "Long runs of zeros in files become holes; never: every byte takes its place on the disk.",
            valueName: "when"))
    var sparse: SparsePolicy = .auto

    @Option(
        help: ArgumentHelp(
            "An entry replaces the attributes and ACLs of a directory that is there, or adds to them as Docker does.",
            valueName: "how"))
    var directoryAttributes: DirectoryAttributes = .replace

    @Flag(help: "Warn of owners and attributes that cannot be set, instead of ending.")
    var bestEffort = false

    @OptionGroup var filter: FilterArguments

    func validate() throws {
        guard filter.filter != nil, tarSplit != nil else { return }
        throw ValidationError("--tar-split is for whole layers, and --include and --exclude leave some of it out")
    }

    /// Refuses to read a layer from a terminal.
    static func checkTerminal(_ layer: PathArgument) throws {
        guard layer.isDash, Console.isTerminal(STDIN_FILENO) else { return }
        throw ValidationError("a layer does not come from a terminal: name a file, or send one in")
    }

    /// The output for the metadata of `layer`, opened.
    func openTarSplit(of layer: PathArgument) throws(LayerError) -> OutputFile? {
        guard let tarSplit else { return nil }
        if !layer.isDash { try OutputPlace.take(layer.path) }
        return try OutputPlace.open(tarSplit.path)
    }

    func importOptions(_ global: GlobalOptions) -> LayerImportOptions {
        var options = LayerImportOptions()
        options.apply.workers = global.workers
        options.apply.io = global.io
        options.apply.maxBytes = maxSize?.bytes
        options.apply.filter = filter.filter
        options.apply.sparse = sparse
        options.apply.directoryAttributes = directoryAttributes
        options.apply.bestEffort = bestEffort
        options.digests = digest
        options.expectedDigest = expectDigest?.digest
        options.expectedDiffID = expectDiffID?.digest
        return options
    }
}

extension PathArgument {
    /// The input that this names.
    var input: LayerInput { isDash ? .standardInput : .file(path) }
}
