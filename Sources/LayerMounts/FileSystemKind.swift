public import LayerModel
internal import LinuxIO

/// A file system known by its magic number, see statfs(2).
public struct FileSystemKind: Sendable, Equatable, Hashable {
    public let magic: UInt32
    public init(magic: UInt32) { self.magic = magic }

    public static let aufs = FileSystemKind(magic: 0x6175_6673)
    public static let btrfs = FileSystemKind(magic: 0x9123_683e)
    public static let ecryptfs = FileSystemKind(magic: 0xf15f)
    public static let extfs = FileSystemKind(magic: 0xef53)
    public static let fuse = FileSystemKind(magic: 0x6573_5546)
    public static let overlay = FileSystemKind(magic: 0x794c_7630)
    public static let tmpfs = FileSystemKind(magic: 0x0102_1994)
    public static let xfs = FileSystemKind(magic: 0x5846_5342)
    public static let zfs = FileSystemKind(magic: 0x2fc1_2fc1)

    private static let names: [UInt32: String] = [
        aufs.magic: "aufs", btrfs.magic: "btrfs", 0x28cd_3d45: "cramfs", ecryptfs.magic: "ecryptfs",
        extfs.magic: "extfs", 0xf2f5_2010: "f2fs", fuse.magic: "fuse", 0x4750_4653: "gpfs", 0x72b6: "jffs2",
        0x3153_464a: "jfs", 0x6969: "nfs", overlay.magic: "overlayfs", 0x8584_58f6: "ramfs", 0x5265_4973: "reiserfs",
        0x517b: "smb", 0x7371_7368: "squashfs", tmpfs.magic: "tmpfs", 0xa501_fcf5: "vxfs", xfs.magic: "xfs",
        zfs.magic: "zfs", 0: "unsupported", 0xe0f5_e1e2: "erofs",
    ]

    /// The name that Status rows and error texts use; `<unknown>` for others.
    public var name: String { Self.names[magic] ?? "<unknown>" }

    private static let network: Set<UInt32> = [
        0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x0bd0_0bd0, 0x4750_4653, 0x5346_414f, 0xa501_fcf5,
    ]

    /// Whether it lies on another machine: native overlay over these is refused in a user namespace.
    public var isNetwork: Bool { Self.network.contains(magic) }

    /// The file system that holds `path`.
    public static func of(_ path: PathBytes) throws(LayerError) -> FileSystemKind {
        try checkText(path, "find the file system of")
        let type = Kernel.fileSystemType(Terminated(path))
        guard type >= 0 else {
            throw LayerError(
                SystemCallError("statfs", errno: Int32(-type)), "find the file system of", path: path)
        }
        return FileSystemKind(magic: UInt32(truncatingIfNeeded: type))
    }
}
