import ArgumentParser

/// `ldiff layer`: the operations of the graph drivers on a store of layers.
struct LayerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "layer",
        abstract: "Works on a store of layers, through the drivers that Docker has.",
        discussion: """
            A store is a directory such as /var/lib/docker/overlay2, in the form that Docker itself reads and writes. \
            Do not work on the store of a running daemon, except to read. --home names it; the driver is the last \
            component's (overlay2, overlay, fuse-overlayfs, aufs, zfs, erofs), or --driver's, or that of the one store that \
            lies below --home.

            A layer has an id of the caller's choice and perhaps a parent, another layer that it lies upon.

            \(DriverHelp.options)

            EXAMPLES:
              ldiff layer apply base layer.tar.gz --home /srv/overlay2
              ldiff layer create box --parent base --read-write --home /srv/overlay2
              ldiff layer mount box --home /srv/overlay2
              ldiff layer changes box --home /srv/overlay2
              ldiff layer diff box -o box.tar --home /srv/overlay2
              ldiff layer unmount box --home /srv/overlay2
              ldiff layer check --repair --home /srv/overlay2
            """,
        subcommands: [
            LayerCreateCommand.self, LayerRemoveCommand.self, LayerExistsCommand.self, LayerListCommand.self,
            LayerMountCommand.self, LayerUnmountCommand.self, LayerDiffCommand.self, LayerApplyCommand.self,
            LayerChangesCommand.self, LayerSizeCommand.self, LayerMetadataCommand.self, LayerStatusCommand.self,
            LayerCleanupCommand.self, LayerCheckCommand.self, LayerMigrateCommand.self, LayerPackCommand.self,
            LayerUnpackCommand.self,
        ])

    func run() throws {
        let names = Self.configuration.subcommands.compactMap { $0.configuration.commandName }
        throw ValidationError("an operation is missing: " + names.joined(separator: ", "))
    }
}

/// What help says of the drivers' options.
enum DriverHelp {
    static let options = """
        OPTIONS OF THE DRIVERS (--storage-opt):
          overlay2        overlay2.size=10G: limit of every writable layer (xfs with pquota)
                          overlay2.additionalimagestore=HOME,...: read-only stores besides
                          overlay2.userxattr=true: marks are user.overlay attributes, as a rootless daemon's are
          overlay         overlay.userxattr=true: the same
          fuse-overlayfs  fuse-overlayfs.mount_program=PATH: the helper, if not on PATH
                          fuse-overlayfs.mountopt=WORD,...: options of the helper
                          fuse-overlayfs.userxattr=true: the helper had no privileges
          aufs            aufs.mountopt=WORD,...: options of each mount
          zfs             zfs.fsname=POOL/DATASET: what holds the layers' datasets
                          zfs.mountopt=WORD,...: options of each mount
          erofs           erofs.form=auto|packed|directory: which layers are kept as their own tar; auto: those of
                          64 entries a MiB or 1000 in all, where the kernel mounts files (Linux 6.12)
                          erofs.mount=auto|file|loop: how packed layers are mounted
                          erofs.size=10G, erofs.userxattr=true: as overlay2's
        With create, --storage-opt size=10G limits that layer, where the driver can: overlay2 and erofs on xfs, zfs.
        """
}

/// What ends the program with a status and without a word.
struct SilentExit: Error {
    let status: ExitStatus
}
