import ArgumentParser
import LayerModel
import LayerPipeline

/// `ldiff apply`: unpacks a layer.
struct ApplyCommand: ParsableCommand {
    /// What the layer becomes.
    enum Form: String, ExpressibleByArgument, CaseIterable {
        case directory, erofs
    }

    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Unpacks a layer into a directory.",
        discussion: """
            The layer may be plain, gzip, zstd, bzip2, xz or lz4, which is detected. With --dialect tree ROOT is a \
            whole tree and deletions in the layer delete; with another dialect ROOT is an upper directory and they \
            become that dialect's marks. ROOT's last component is created if it is missing.

            An entry for a directory that ROOT has replaces its attributes and access control lists, so that ROOT becomes \
            what an overlay of the layer would show; --directory-attributes add keeps them. An attribute that ROOT's \
            file system does not take is a warning if the file system has none of the kind and it is no capability, else an \
            error that --best-effort makes a warning. Runs of 64 KiB of zeros and more become holes.

            A ROOT that was missing or empty is so again if anything fails, a digest that is not the expected one \
            included. If ROOT holds something already, a layer in a file whose digest was given is verified before ROOT is \
            touched, which reads it twice. Without one, and from a pipe, it is seen on the way: on a mismatch, and if the layer \
            is damaged (status 65), ROOT holds a partly applied layer.

            --include and --exclude take some paths of the layer only. Digests are those of the whole layer still.

            With --annotations a zstd:chunked layer is read in parts: its table of contents has the digest that the annotations \
            say, files of --reuse directories are used where the layer has the same, pieces of files of the same name where \
            those are equal, and the tar that comes of it must have the DiffID. What was reused and had changed is found \
            out, and all is read then. What has no index that could be proved is read as a whole, with a warning.

            With --form erofs ROOT, empty or missing, gets what ldiff pack writes: the layer's tar, and an index that ldiff \
            mount-packed mounts. With --dialect tree nothing lies below it, with overlay anything may.

            EXAMPLES:
              ldiff apply layer.tar.gz rootfs
              ldiff apply layer.tar.gz licenses --include 'usr/share/doc/**/copyright'
              zcat layer.tar.gz | ldiff apply - rootfs
              ldiff apply layer.tar.zst rootfs --expect-digest sha256:9f86d0...
              ldiff apply layer.tar upper --dialect overlay --lower lower
              ldiff apply layer.tar.zst v2 --annotations a.json --reuse v1 --expect-diff-id sha256:9f86d0...
            """)

    @Argument(help: "The layer; - is standard input.", completion: .file())
    var layer: PathArgument

    @Argument(help: "The directory to unpack into.", completion: .directory)
    var root: PathArgument

    @Option(
        help: ArgumentHelp("How deletions are marked in ROOT.", valueName: "dialect"))
    var dialect: WhiteoutDialect.Name = .tree

    @Option(
        help: ArgumentHelp(
            "What the layer becomes: a directory, or erofs, its own tar and an index.", valueName: "form"))
    var form: Form = .directory

    @Option(
        help: ArgumentHelp("A directory that ROOT lies upon, nearest first.", valueName: "dir"),
        completion: .directory)
    var lower: [PathArgument] = []

    @OptionGroup var marks: MarkOptions
    @OptionGroup var source: LayerInputArguments
    @OptionGroup(title: "Reading in parts") var partial: PartialArguments
    @OptionGroup var maps: IDMapOptions
    @OptionGroup(title: "Global options") var global: GlobalOptions

    func validate() throws {
        try marks.validate(dialect)
        if dialect == .tree, !lower.isEmpty { throw ValidationError("--lower needs a --dialect other than tree") }
        if form == .erofs { try validatePacking() }
    }

    /// An index has all of an archive as it is.
    private func validatePacking() throws {
        guard dialect == .tree || dialect == .overlay, lower.isEmpty else {
            throw ValidationError("--form erofs is for --dialect tree and overlay, without --lower")
        }
        guard source.filter.filter == nil, source.tarSplit == nil, partial.annotations == nil else {
            throw ValidationError(
                "--form erofs takes whole layers, without --include, --exclude, --tar-split, --annotations")
        }
        guard maps.users.isIdentity, maps.groups.isIdentity else {
            throw ValidationError("--form erofs keeps the ids of the archive")
        }
    }

    func run() throws {
        try LayerInputArguments.checkTerminal(layer)
        OutputPlace.remember(root.path)
        if form == .erofs { return try pack() }
        let stopwatch = Stopwatch()
        let options = importOptions()
        Interrupts.watch(options.interruption, patience: .takesBack)
        let bar = ProgressBar.start("apply", global, reading: options.progress)
        defer { bar?.stop() }
        let (applied, parts) = try partial.run(layer, options: options) { (input, options) throws(LayerError) in
            try LayerImport.apply(input, to: root.path, tarSplit: try source.openTarSplit(of: layer), options: options)
        }
        bar?.stop()
        var report = Report(
            applied.layer, applied.stream, size: applied.layer.size, global, seconds: stopwatch.seconds)
        report.add(parts)
        try report.write(global, layerOnOutput: false)
    }

    private func pack() throws {
        let stopwatch = Stopwatch()
        var options = LayerPackOptions()
        options.packing.parents = dialect == .tree ? .none : .unknown
        options.packing.userAttributes = marks.userxattr
        options.packing.maxBytes = source.maxSize?.bytes
        options.packing.bestEffort = source.bestEffort
        options.digests = source.digest
        options.expectedDigest = source.expectDigest?.digest
        options.expectedDiffID = source.expectDiffID?.digest
        options.directoryMode = ProcessSetup.directoryMode
        options.fileMode = ProcessSetup.fileMode
        Interrupts.watch(options.interruption, patience: .takesBack)
        let bar = ProgressBar.start("apply", global, reading: options.progress)
        defer { bar?.stop() }
        let packed = try LayerPack.pack(layer.input, into: root.path, options: options)
        bar?.stop()
        try Report(packed, seconds: stopwatch.seconds).write(global, layerOnOutput: false)
    }

    private func importOptions() -> LayerImportOptions {
        var options = source.importOptions(global)
        options.apply.dialect = WhiteoutDialect(dialect, userXattr: marks.userxattr)
        options.apply.lowers = lower.isEmpty ? nil : lower.map(\.path)
        options.apply.uidMap = maps.users
        options.apply.gidMap = maps.groups
        options.rootMode = ProcessSetup.directoryMode
        return options
    }
}
