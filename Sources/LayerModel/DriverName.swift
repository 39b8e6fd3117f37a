/// The drivers, by the names that Docker gives them.
public enum DriverName: String, Sendable, CaseIterable {
    /// The kernel's overlayfs, each layer with links to all below it: what Docker has used since 2016.
    case overlay2
    /// The kernel's overlayfs over one layer that has all of the image: what Docker used before.
    case overlay
    /// overlayfs in a program, for who has no privileges.
    case fuseOverlayFS = "fuse-overlayfs"
    /// Docker's first driver, for kernels with aufs.
    case aufs
    /// A dataset for each layer.
    case zfs
    /// The kernel's overlayfs as overlay2, over layers of which some are kept as their own tar and an index that it mounts.
    case erofs
}
