/// The drivers, by the names that Docker gives them.
public enum DriverName: String, Sendable, CaseIterable {
    case overlay2
    case overlay
    case fuseOverlayFS = "fuse-overlayfs"
    case aufs
    case zfs
}
