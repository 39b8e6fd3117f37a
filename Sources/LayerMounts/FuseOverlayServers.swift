public import LayerModel
internal import LinuxIO

/// The running fuse-overlayfs programs, as /proc shows them.
public enum FuseOverlayServers {
    /// Hands what the kernel still keeps of files written through a mount over `upper` to its server, so that the
    /// directory holds it.
    ///
    /// A mount does not say which directory it writes to, but its server's arguments do: mounts over another directory
    /// are left alone, since one of a stranger may hang. A mount whose server cannot be seen is flushed.
    public static func flush(upper: PathBytes) throws(LayerError) {
        let mounts = try MountTable.read().entries.filter { $0.fileSystem == "fuse.fuse-overlayfs" }
        if mounts.isEmpty { return }
        let servers = try running()
        for mount in mounts {
            let own = servers.filter { $0.contains(mount.mountPoint.bytes) }
            if own.contains(where: { writes($0, to: upper) }) {
                try FuseOverlayHelper.flush(mount.mountPoint)
            } else if own.isEmpty {
                // Mostly one whose server is dead, which has nothing to hand over any more.
                try? FuseOverlayHelper.flush(mount.mountPoint)
            }
        }
    }

    /// The arguments of each.
    private static func running() throws(LayerError) -> [[[UInt8]]] {
        var found: [[[UInt8]]] = []
        try ProcessList.forEach { (_, directory) in
            guard let text = try? contents(of: directory.appending("cmdline"), "read") else { return true }
            let arguments = text.split(separator: 0, omittingEmptySubsequences: false).map { Array($0) }
            let program = PathBytes(arguments.first ?? []).splitLast()?.name
            if program == PathBytes("fuse-overlayfs") { found.append(arguments) }
            return true
        }
        return found
    }

    /// Whether a server's arguments name this upper directory: by its path, or by another that leads there.
    static func writes(_ arguments: [[UInt8]], to upper: PathBytes) -> Bool {
        let key = Array("upperdir=".utf8)
        for argument in arguments {
            for option in options(argument) where option.starts(with: key) {
                let path = PathBytes(Array(option.dropFirst(key.count)))
                // A relative one began in a directory that the server has left.
                guard path.bytes.first == UInt8(ascii: "/") else {
                    let ending = [UInt8(ascii: "/")] + path.bytes
                    if Array(upper.bytes.suffix(ending.count)) == ending { return true }
                    continue
                }
                if path == upper || isSameDirectory(path, upper) { return true }
            }
        }
        return false
    }

    /// An argument's options, at commas that no backslash protects; the backslashes are taken away.
    private static func options(_ argument: [UInt8]) -> [[UInt8]] {
        var options: [[UInt8]] = [[]]
        var isEscaped = false
        for byte in argument {
            if !isEscaped, byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if !isEscaped, byte == UInt8(ascii: ",") {
                options.append([])
            } else {
                options[options.count - 1].append(byte)
                isEscaped = false
            }
        }
        // `-oupperdir=...` in one word.
        if let first = options.first, first.starts(with: Array("-o".utf8)) { options[0] = Array(first.dropFirst(2)) }
        return options
    }

    private static func isSameDirectory(_ one: PathBytes, _ other: PathBytes) -> Bool {
        guard let one = try? one.open([.pathOnly, .directory]).metadata(),
            let other = try? other.open([.pathOnly, .directory]).metadata()
        else { return false }
        return one.inode == other.inode && one.device == other.device
    }
}
