import ArgumentParser
import LayerKit

/// `ldiff config`: what other programs must be told.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Prints configuration for programs that use ldiff.",
        subcommands: [ConfigContainerdCommand.self])

    func run() throws {
        throw ValidationError("a program is missing: containerd")
    }
}

/// `ldiff config containerd`: what makes a release of containerd use `containerd-ldiff-grpc`.
struct ConfigContainerdCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "containerd",
        abstract: "Prints the part of containerd's configuration that makes it use ldiff.",
        discussion: """
            A differ is only named for releases that take one, from 1.7.4 on: older ones end with a panic.

            EXAMPLES:
              ldiff config containerd --version 1.7.24 > /etc/containerd/conf.d/ldiff.toml
              ldiff config containerd --version 2.x --driver fuse-overlayfs
              ldiff config containerd --version 2.1 --only-differ
            """)

    @Option(help: ArgumentHelp("containerd's release: 1.6, 1.7, 1.7.24, 2.x.", valueName: "release"))
    var version: String
    @Option(help: ArgumentHelp("Socket of containerd-ldiff-grpc.", valueName: "socket"))
    var address = "/run/containerd-ldiff/containerd-ldiff.sock"
    @Option(help: ArgumentHelp("Root directory of containerd-ldiff-grpc.", valueName: "directory"))
    var root = "/var/lib/containerd-ldiff"
    @Option(help: ArgumentHelp("overlay2, fuse-overlayfs, zfs or aufs.", valueName: "driver"))
    var driver = "overlay2"
    @Flag(help: "Keep containerd's own snapshotter; only layers are unpacked and written by ldiff.")
    var onlyDiffer = false

    func run() throws {
        guard let release = ContainerdVersion(version) else {
            throw ValidationError("\"\(version)\" is no release of containerd 1 or 2")
        }
        let snapshotters = [
            "overlay2": "ldiff", "fuse-overlayfs": "ldiff-fuse-overlayfs", "zfs": "ldiff-zfs",
            "aufs": "ldiff-aufs",
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
        let snippet = ContainerdSnippet(
            version: release, address: address, root: root, snapshotter: snapshotter, onlyDiffer: onlyDiffer)
        try LayerOutput.standardOutput().writeText(snippet.text)
    }
}
