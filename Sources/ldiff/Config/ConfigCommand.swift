import ArgumentParser
import Glibc
import LayerModel
import LayerPipeline

/// `ldiff config`: what other programs must be told.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Prints configuration for programs that use ldiff.",
        subcommands: [ConfigContainerdCommand.self, ConfigDockerCommand.self, ConfigSystemdCommand.self])

    func run() throws {
        throw ValidationError("a program is missing: containerd, docker, systemd")
    }
}

/// `ldiff config containerd`: what makes a release of containerd use `containerd-ldiff-grpc`.
struct ConfigContainerdCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "containerd",
        abstract: "Prints the part of containerd's configuration that makes it use ldiff.",
        discussion: """
            A differ is only named for releases that take one, from 1.7.4 on: older ones end with a panic.

            The snippet gets the version of the node's own configuration file, whichever release reads it: an imported file of
            another version makes containerd drop what the node says of CRI, without a word. Compare `containerd config dump`
            before and after.

            --merge edits the node's own file instead: keys that are there get their values, tables that are missing come to its \
            end, lists keep what is in them, and all else stays as it is, byte for byte. What was changed is shown as diff -u does.

            EXAMPLES:
              ldiff config containerd --release 1.7.24 > /etc/containerd/conf.d/ldiff.toml
              ldiff config containerd --release 2.1.9 --config /etc/containerd/config.toml
              ldiff config containerd --release 2.x --driver fuse-overlayfs
              ldiff config containerd --release 2.1 --only-differ
              ldiff config containerd --release 2.1.9 --runtime ldiff
              ldiff config containerd --release 2.1.9 --merge /etc/containerd/config.toml --dry-run
            """)

    @Option(help: ArgumentHelp("containerd's release: 1.6, 1.7, 1.7.24, 2.x.", valueName: "release"))
    var release: String?
    // Its name before; --version shows ldiff's, here as in all verbs.
    @Option(help: ArgumentHelp("The same.", valueName: "release", visibility: .hidden))
    var version: String?
    @Option(
        help: ArgumentHelp(
            "containerd's configuration file, whose version the snippet gets. (default: \(Self.standardFile), where it exists)",
            valueName: "file"))
    var config: String?
    @Option(help: ArgumentHelp("The version of that file, 2 or 3, where it lies elsewhere.", valueName: "2|3"))
    var format: Int?
    @Option(help: ArgumentHelp("Socket of containerd-ldiff-grpc.", valueName: "socket"))
    var address = "/run/containerd-ldiff/containerd-ldiff.sock"
    @Option(help: ArgumentHelp("Root directory of containerd-ldiff-grpc.", valueName: "directory"))
    var root = "/var/lib/containerd-ldiff"
    @Option(help: ArgumentHelp("overlay2, erofs, fuse-overlayfs, zfs or aufs.", valueName: "driver"))
    var driver = "overlay2"
    @Flag(help: "Keep containerd's own snapshotter; only layers are unpacked and written by ldiff.")
    var onlyDiffer = false
    @Flag(
        name: .customLong("remap-ids"),
        help: ArgumentHelp(
            "Map the ids of user namespaces by mounts instead of a copy of the layers; the daemon must be told, too.",
            discussion:
                "Its setting is remap_ids = true in the section [snapshot]. Needs Linux 5.19 and containerd 2.0."))
    var remapsIDs = false

    @Flag(
        help: ArgumentHelp(
            "Let containerd 2.2 unpack an image's layers side by side; the daemon must be told, too.",
            discussion: "Its setting is rebase = true in the section [snapshot]."))
    var rebase = false

    @Option(
        help: ArgumentHelp(
            "Only pods of a RuntimeClass with this handler use ldiff; the node's default runtime is copied for it.",
            valueName: "name"))
    var runtime: String?

    @OptionGroup var merge: MergeArguments

    private static let standardFile = "/etc/containerd/config.toml"

    func run() throws {
        guard let named = release ?? version else {
            throw ValidationError("containerd's release is missing: --release")
        }
        guard let release = ContainerdVersion(named) else {
            throw ValidationError("\"\(named)\" is no release of containerd 1 or 2")
        }
        let snapshotters = [
            "overlay2": "ldiff", "fuse-overlayfs": "ldiff-fuse-overlayfs", "zfs": "ldiff-zfs",
            "aufs": "ldiff-aufs", "erofs": "ldiff-erofs",
        ]
        guard let snapshotter = snapshotters[driver] else {
            throw ValidationError("there is no snapshotter of the driver \"\(driver)\"")
        }
        for path in [address, root] {
            // TOML is UTF-8 throughout.
            guard path.hasPrefix("/"), String(validating: RawArguments.bytes(path), as: UTF8.self) != nil else {
                throw ValidationError("\"\(path)\" is no absolute path in UTF-8")
            }
        }
        if onlyDiffer, !release.takesDiffers {
            throw LayerError(
                .unsupported, "use only the differ with containerd \(release)",
                cause: .reason("it takes no differs of others"), hint: "use 1.7.4 or newer, or the snapshotter")
        }
        if remapsIDs { try checkRemapping(release) }
        if rebase, !release.rebases {
            throw LayerError(
                .unsupported, "unpack layers side by side", cause: .reason("containerd \(release) does not, 2.2 does"),
                hint: "leave --rebase out")
        }
        if let runtime {
            if onlyDiffer { throw ValidationError("--only-differ leaves nothing for --runtime") }
            guard ContainerdRuntime.isName(runtime) else {
                throw ValidationError("\"\(runtime)\" is no handler of a RuntimeClass: small letters, digits and -")
            }
        }
        if format != nil, config != nil { throw ValidationError("--format and --config say the same thing twice") }
        if merge.file != nil, config != nil { throw ValidationError("--merge and --config say the same thing twice") }
        let own = merge.file.map { String(decoding: $0.path.bytes, as: UTF8.self) } ?? config
        let file =
            format == nil ? try ContainerdFile(path: own ?? Self.standardFile, isExpected: config != nil) : nil
        var snippet = ContainerdSnippet(
            version: release, address: address, root: root, snapshotter: snapshotter, onlyDiffer: onlyDiffer,
            format: try format(of: release, file))
        snippet.leavesKubernetes = merge.file == nil && release.importsReplace && file?.hasKubernetes ?? false
        snippet.remapsIDs = remapsIDs
        snippet.rebases = rebase
        if let runtime { snippet.runtime = ContainerdRuntime(name: runtime, node: try Self.lines(of: file)) }
        let text = try snippet.text()
        guard let target = merge.file?.path else { return try OutputFile.standardOutput().writeText(text) }
        guard let old = try MergeArguments.text(of: target) else {
            return try merge.write(text, over: nil, to: target)
        }
        var edited = try ContainerdMerge(old, path: target)
        try edited.add(text)
        try merge.write(edited.text, over: old, to: target)
    }

    private static func lines(of file: ContainerdFile?) throws(LayerError) -> TOMLLines? {
        guard let file else { return nil }
        let path = PathBytes(file.path)
        return try MergeArguments.text(of: path).map { text throws(LayerError) in try TOMLLines(text, path: path) }
    }

    /// The version of the node's `file`, or the newest one that the release reads where there is none.
    private func format(of release: ContainerdVersion, _ file: ContainerdFile?) throws -> Int {
        let found = format ?? file?.version ?? release.newestFormat
        guard (2...3).contains(found) else {
            guard let file else { throw ValidationError("\(found) is no version of containerd's file: 2 or 3") }
            throw LayerError(
                .unsupported, "write a part of the configuration", path: PathBytes(file.path),
                cause: .reason("its version is \(found)"),
                hint: "`containerd config migrate` writes it in a newer one; or name the version by --format")
        }
        guard found <= release.newestFormat else {
            throw LayerError(
                .unsupported, "write a part of the configuration", path: file.map { PathBytes($0.path) },
                cause: .reason("containerd \(release) reads no file of version \(found)"),
                hint: "name the release that runs with this file by --release, or the file's version by --format")
        }
        return found
    }

    /// Without the capability containerd makes a copy with other ids, which works everywhere.
    private func checkRemapping(_ release: ContainerdVersion) throws {
        let reason: String? =
            if !release.mapsIDs {
                "containerd \(release) makes no such mounts, 2.0 does"
            } else if driver != "overlay2" && driver != "fuse-overlayfs" {
                "\(driver) cannot"
            } else if driver == "overlay2" && !Self.mapsLowerDirectories {
                "overlayfs of this kernel takes no lower directories with mapped ids; Linux 5.19 does"
            } else {
                nil
            }
        guard let reason else { return }
        throw LayerError(
            .unsupported, "map ids by mounts", cause: .reason(reason),
            hint: "leave --remap-ids out: containerd then copies layers with other ids")
    }

    private static var mapsLowerDirectories: Bool {
        var names = utsname()
        guard uname(&names) == 0 else { return false }
        let release = withUnsafeBytes(of: &names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return numbers.count == 2 && (numbers[0], numbers[1]) >= (5, 19)
    }
}
