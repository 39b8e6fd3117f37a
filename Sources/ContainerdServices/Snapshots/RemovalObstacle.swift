import Glibc
import LayerModel
import LayerMounts
import LinuxIO

/// What keeps a tree from being removed, by whoever may remove anything.
enum RemovalObstacle {
    /// The first that is found in the tree, and what lets it go; nil where none is, or nothing can be seen.
    static func first(in tree: PathBytes) -> String? {
        if let mount = (try? MountTable.mounts(atOrBelow: tree))?.first {
            return "something is mounted on \(mount.mountPoint); umount lets it go"
        }
        var open = [tree]
        while let path = open.popLast() {
            guard let isDirectory = look(path) else { continue }
            if isLocked(path) { return "\(path) is immutable; chattr -i -a lets it go" }
            if isDirectory, let names = try? names(in: path) { open += names.map { path.appending($0) } }
        }
        return nil
    }

    private static func names(in path: PathBytes) throws -> [PathBytes] {
        try SnapshotDirectories.names(in: try path.open([.readOnly, .directory, .noFollow]), path)
    }

    /// Whether it is a directory; nil of what is neither one nor a file, which must not be opened and has no flags.
    private static func look(_ path: PathBytes) -> Bool? {
        var status = stat()
        guard lstat(text(path), &status) == 0 else { return nil }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: return true
        case S_IFREG: return false
        default: return nil
        }
    }

    private static func isLocked(_ path: PathBytes) -> Bool {
        let descriptor = open(text(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        // FS_IOC_GETFLAGS; FS_IMMUTABLE_FL and FS_APPEND_FL.
        var flags: CLong = 0
        return ioctl(descriptor, 0x8008_6601, &flags) == 0 && flags & 0x30 != 0
    }

    private static func text(_ path: PathBytes) -> [CChar] { path.bytes.map(CChar.init(bitPattern:)) + [0] }
}
