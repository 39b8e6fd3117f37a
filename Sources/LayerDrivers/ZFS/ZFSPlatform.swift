import LayerModel
import LayerMounts
import LinuxIO

/// Who implements zfs here, and how a dataset is mounted there.
///
/// | | OpenZFS's kernel module | zfs-fuse 0.7 |
/// |---|---|---|
/// | mounting | mount(2), datasets `mountpoint=legacy` | `zfs mount`, datasets with a path, `canmount=noauto` |
/// | `statfs` | zfs | fuse, in the mount table `fuse.zfs` |
/// | `zfs diff`, `zfs list -p`, the properties `written`, `logicalused`, `clones` | yes | no |
/// | times | nanoseconds | whole seconds |
/// | attributes | yes | with `zfs-fuse --enable-xattr` |
/// | unmounting | at once | the dataset stays busy for some milliseconds; see `unmount` |
///
/// `zfs clone` of zfs-fuse mounts a clone that has a path, whatever `canmount` says, so datasets are made with
/// `mountpoint=legacy` everywhere and get their path when they are mounted first.
enum ZFSPlatform: Sendable {
    case kernel
    case fuse

    /// What the mount table calls its file systems.
    var fileSystem: String { self == .kernel ? "zfs" : "fuse.zfs" }

    /// Finds out who is here.
    ///
    /// Throws `driverUnavailable` (ErrPrerequisites) where there is no `zfs`, and where nobody stands behind it.
    static func detect() throws(LayerError) -> ZFSPlatform {
        do throws(LayerError) {
            _ = try CommandRunner.find(PathBytes("zfs"), package: "zfsutils-linux")
        } catch {
            throw DriverErrors.prerequisites(
                .zfs, why: "the program zfs is not in PATH", hint: "install the package zfsutils-linux")
        }
        let opened: Int32
        do throws(SystemCallError) {
            _ = try PathBytes("/dev/zfs").open(.readWrite)
            return .kernel
        } catch {
            opened = error.errno
        }
        // zfs-fuse's ioctls go through this socket.
        for socket in ["/run/zfs/zfs_socket", "/var/run/zfs/zfs_socket"] {
            if (try? StoreFiles.metadata(PathBytes(socket))) != nil { return .fuse }
        }
        throw DriverErrors.prerequisites(
            .zfs, why: "cannot open /dev/zfs: \(errorText(opened)), and no zfs-fuse is running",
            hint: "load the zfs module, or start zfs-fuse")
    }

    /// The dataset that is mounted where the store shall lie.
    ///
    /// Told by the device number in the mount table: no mount is touched, so a dead one does not hang (K10).
    func dataset(holding home: PathBytes) throws(LayerError) -> String {
        let above = try Self.existingDirectory(above: home)
        guard let directory = try StoreFiles.metadata(above) else {
            throw LayerError(.notFound, "open the driver zfs", path: above)
        }
        let mounts = try MountTable.read().entries
        let found = mounts.last { entry in
            entry.fileSystem == fileSystem && Self.device(entry) == directory.device
        }
        if let found { return String(decoding: found.source.bytes, as: UTF8.self) }
        let kind = try FileSystemKind.of(above)
        guard kind == .zfs || kind == .fuse else {
            throw DriverErrors.prerequisites(
                .zfs, why: "No zfs dataset found for root: \(above) lies on \(kind.name)",
                hint: "mount a dataset there, or name one with the option zfs.fsname")
        }
        throw DriverErrors.prerequisites(
            .zfs, why: "Failed to find zfs dataset mounted on '\(above)' in /proc/mounts",
            hint: "name the dataset with the option zfs.fsname")
    }

    /// stat(2)'s form of a device number, as makedev(3) makes it.
    static func device(_ entry: MountEntry) -> UInt64 {
        let (major, minor) = (UInt64(entry.major), UInt64(entry.minor))
        return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xff) << 12 | (major & ~0xfff) << 32
    }

    private static func existingDirectory(above home: PathBytes) throws(LayerError) -> PathBytes {
        var path = home
        while let above = path.splitLast()?.directory {
            path = above
            if try StoreFiles.isDirectory(path) { return path }
        }
        return PathBytes("/")
    }

    /// Mounts a dataset on an existing directory; `mountpoint` is the property's last known value and is kept true.
    func mount(
        _ dataset: String, at path: PathBytes, mountpoint: inout PathBytes, options: ZFSOptions, label: String,
        noAccessTimes: Bool, tool: ZFSTool
    ) throws(LayerError) {
        let data = MountLabel.append(label, to: Array(options.mountData.utf8))
        switch self {
        case .kernel:
            do throws(LayerError) {
                try KernelMount.mount(
                    source: PathBytes(dataset), target: path, type: "zfs",
                    flags: noAccessTimes ? options.mountFlags.union(.noAccessTimes) : options.mountFlags,
                    data: data)
            } catch {
                throw LayerError(error.code, "mount the layer", path: path, cause: error.cause, hint: error.hint)
            }
        case .fuse:
            if mountpoint != path { try Self.requireOwnMountpoint(of: dataset, for: path, tool) }
            try attemptZFS("mount the layer", path) { () throws(ZFSFailure) in
                if mountpoint != path {
                    try tool.zfs(["set"], [PathBytes(Array("mountpoint=".utf8) + path.bytes), PathBytes(dataset)])
                    mountpoint = path
                }
                let words = data.isEmpty ? [] : [PathBytes("-o"), PathBytes(data)]
                try tool.zfs(["mount"], words + [PathBytes(dataset)])
            }
            guard try MountTable.isMountPoint(path) else {
                throw LayerError(
                    .io, "mount the layer", path: path,
                    cause: .reason("zfs-fuse mounted \(dataset) elsewhere; it runs in another mount namespace"),
                    hint: "start zfs-fuse where ldiff runs")
            }
        }
    }

    /// Throws `inUse` where the property is neither `legacy` nor a place in a directory `graph`, as this store's, here or where it
    /// was before. zfs-fuse mounts a dataset only where the property says: to set it would unmount what somebody else mounted.
    private static func requireOwnMountpoint(
        of dataset: String, for path: PathBytes, _ tool: ZFSTool
    ) throws(LayerError) {
        let bytes = try attemptZFS("mount the layer", path) { () throws(ZFSFailure) in
            try tool.zfs(["get", "-H", "-o", "value", "mountpoint"], [PathBytes(dataset)])
        }
        let found = PathBytes(Array(bytes.prefix { $0 != UInt8(ascii: "\n") }))
        if found == PathBytes("legacy") || found.splitLast()?.directory.splitLast()?.name == PathBytes("graph") {
            return
        }
        throw LayerError(
            .inUse, "mount the layer", path: path, cause: .reason("somebody gave its dataset the mount point \(found)"),
            hint: "zfs set mountpoint=legacy \(dataset)")
    }

    /// Unmounts, at once where nobody uses the mount, else when the last user is gone.
    ///
    /// The kernel tells a FUSE server of closed files in its own time, and drops what is not told when the mount goes.
    /// zfs-fuse then waits for ever for those files, and answers nobody. An answer to a question asked before unmounting
    /// says that it has heard of them.
    static func unmount(_ path: PathBytes) throws(LayerError) {
        _ = try? FileSystemKind.of(path)
        do throws(LayerError) {
            try KernelMount.unmount(path, .noFollow)
        } catch {
            guard error.code == .inUse else { throw error }
            try KernelMount.unmount(path, [.detach, .noFollow])
        }
    }
}
