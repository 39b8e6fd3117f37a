/// The file systems that runs can fill, each made anew for every run.
package enum TargetFileSystem: String, CaseIterable, Sendable {
    case ext4
    case xfs
    case btrfs
    case tmpfs

    /// The program that makes one in an image; nil where none is needed.
    func maker(image: String, inodes: UInt64) -> [String]? {
        switch self {
        case .ext4:
            // Tables are written now, not by a kernel thread during the measured run.
            let features = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
            return ["mkfs.ext4", "-q", "-F", "-N", String(inodes), "-E", features, image]
        case .xfs: return ["mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1", image]
        case .btrfs: return ["mkfs.btrfs", "-q", "-f", "-K", "-m", "single", image]
        case .tmpfs: return nil
        }
    }

    /// Bytes that `entries` entries with `bytes` bytes take in it at most, its own structures included.
    func size(entries: UInt64, bytes: UInt64) -> UInt64 {
        let contents = bytes + bytes / 8 + entries * 5120
        // Space of btrfs is handed out in parts of a gigabyte, for data and for metadata; the log of xfs has its own.
        let own: UInt64 =
            switch self {
            case .ext4, .tmpfs: 256 << 20
            case .xfs: 768 << 20
            case .btrfs: 3 << 30
            }
        return (contents + own) / 4096 * 4096
    }
}
