import ArgumentParser
import LayerEngine
import LayerModel
import LayerPipeline
import LinuxIO

/// The flags that every verb takes.
struct GlobalOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Plain system calls, io_uring, or what fits.", valueName: "mode"))
    var io: IOMode = .auto

    @Option(help: ArgumentHelp("Threads that work; one a core if not given.", valueName: "n"))
    var workers: Int?

    @Option(
        help: ArgumentHelp(
            "Reads that one worker of diff gives to io_uring at once.", valueName: "n", visibility: .hidden))
    var ringWindow: Int = 256

    @Option(
        help: ArgumentHelp(
            "A progress bar on standard error; auto: when it is a terminal; json: an object a line, for programs.",
            valueName: "when"))
    var progress: ProgressMode = .auto

    @Flag(help: "Write the report as one JSON object to standard output, or to standard error when a layer goes there.")
    var json = false

    @Flag(help: "Say nothing but errors.")
    var quiet = false

    @Flag(help: "Say more: every warning, and what was asked of the kernel.")
    var verbose = false

    func validate() throws {
        if let workers, !(1...64).contains(workers) {
            throw ValidationError("--workers takes a number from 1 to 64")
        }
        if !(4...4096).contains(ringWindow) {
            throw ValidationError("--ring-window takes a number from 4 to 4096")
        }
        if quiet && verbose { throw ValidationError("--quiet and --verbose exclude each other") }
    }
}

/// What `diff`, `changes` and `size` look at.
struct SourceArguments: ParsableArguments {
    @Argument(
        help: "The directory: a whole tree, or one that holds only changes (see --dialect).", completion: .directory)
    var upper: PathArgument

    @Option(
        help: ArgumentHelp("A directory that UPPER is compared with or lies upon, nearest first.", valueName: "dir"),
        completion: .directory)
    var lower: [PathArgument] = []

    @Option(
        help: ArgumentHelp(
            "How UPPER says that something is deleted; tree: it does not, it is a whole tree.",
            valueName: "dialect"))
    var dialect: WhiteoutDialect.Name = .tree

    @OptionGroup var marks: MarkOptions
    @OptionGroup var filter: FilterArguments

    @Flag(
        help: """
            Take owner, mode and kind of files from user.containers.override_stat, where containers/storage keeps them \
            in stores with force_mask.
            """)
    var overrideStat = false

    @Flag(help: "Leave out what cannot be read, and report how many; otherwise it is an error.")
    var skipUnreadable = false

    func validate() throws {
        try marks.validate(dialect)
        if dialect == .tree, lower.count > 1 {
            throw ValidationError("with --dialect tree two trees are compared: give --lower once")
        }
    }

    /// The engine's form of these, interrupted by `interruption`.
    func source(
        _ global: GlobalOptions, _ interruption: Interruption, _ progress: Progress, _ comparesContents: Bool = false
    ) -> SourceOptions {
        var source = SourceOptions(upper: upper.path)
        source.lowers = lower.map(\.path)
        source.dialect = WhiteoutDialect(dialect, userXattr: marks.userxattr)
        source.obeysOwnerOverrides = overrideStat
        source.workers = global.workers
        source.io = global.io
        source.ringWindow = global.ringWindow
        source.cancel = interruption.flag
        source.progress = progress
        source.filter = filter.filter
        if comparesContents { source.contents = .always }
        return source
    }
}

extension LayerError {
    /// Does `body`, of which what is not permitted below `root` can be left out by --skip-unreadable: an error of that kind
    /// says so.
    static func advisingSkips<Result>(
        below root: PathBytes? = nil, _ body: () throws(LayerError) -> Result
    ) throws(LayerError) -> Result {
        do throws(LayerError) {
            return try body()
        } catch {
            guard error.code == .notPermitted, error.hint == nil, error.path != root else { throw error }
            var advised = error
            advised.hint = "--skip-unreadable leaves out what cannot be read"
            throw advised
        }
    }
}

/// Which paths count.
struct FilterArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Only paths that this pattern matches, with all below them and the directories above them; repeatable. A pattern \
            is a whole path from the root, in which * and ? stand for bytes between slashes, ** for any directories.
            """, valueName: "pattern"))
    var include: [PatternArgument] = []

    @Option(
        help: ArgumentHelp(
            "Without the paths that this pattern matches, and all below them; repeatable.", valueName: "pattern"))
    var exclude: [PatternArgument] = []

    /// Nil where all paths count.
    var filter: LayerFilter? {
        guard !include.isEmpty || !exclude.isEmpty else { return nil }
        return LayerFilter(include: include.map(\.pattern), exclude: exclude.map(\.pattern))
    }
}

/// Which attributes of an upper directory are marks.
struct MarkOptions: ParsableArguments {
    @Flag(
        help: """
            The overlay was mounted with userxattr, or by a fuse-overlayfs without privileges: its marks are \
            user.overlay attributes. Otherwise users set these on their own files, and in overlays they mean nothing.
            """)
    var userxattr = false

    func validate(_ dialect: WhiteoutDialect.Name) throws {
        guard userxattr, dialect != .overlay, dialect != .fuseOverlayFS else { return }
        throw ValidationError("--userxattr needs --dialect overlay or fuse-overlayfs")
    }
}

/// The id maps of `diff` and `apply`.
struct IDMapOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Ids of users in the layer and here, repeatable.", valueName: "container:host:count"))
    var uidMap: [IDRange] = []

    @Option(help: ArgumentHelp("Ids of groups in the layer and here, repeatable.", valueName: "container:host:count"))
    var gidMap: [IDRange] = []

    var users: IDMap { IDMap(uidMap.map(\.range)) }
    var groups: IDMap { IDMap(gidMap.map(\.range)) }
}
