import ContainerdAPI
import Glibc
import LayerModel
import LayerMounts
import LinuxIO
import TestSupport

/// Mounts of a snapshot made as containerd makes them; gone when nobody holds it any more.
final class MountedSnapshot {
    let path: String
    private var isMounted = true

    /// Mounts at `path`, which is made.
    init(_ mounts: Mounts, at path: String) throws {
        self.path = path
        if mkdir(path, 0o755) != 0, errno != EEXIST { throw TestFailure("mkdir \(path): \(errno)") }
        for mount in mounts { try Self.mount(mount, PathBytes(path)) }
    }

    private static func mount(_ mount: Containerd_Types_Mount, _ target: PathBytes) throws {
        switch mount.type {
        case "zfs": try mountZFS(mount, target)
        case let type where type.hasPrefix("fuse3."): try mountFuse(mount, target)
        default: try mountKernel(mount, target)
        }
    }

    private static func mountKernel(_ mount: Containerd_Types_Mount, _ target: PathBytes) throws {
        var flags: MountFlags = []
        var data: [String] = []
        for option in mount.options {
            switch option {
            case "ro": flags.insert(.readOnly)
            case "rw": break
            case "rbind": flags.formUnion([.bind, .recursive])
            case "bind": flags.insert(.bind)
            default: data.append(option)
            }
        }
        if flags.contains(.bind) {
            // The flags of a bind mount count in a second step only.
            let rest = flags
            try KernelMount.mount(
                source: PathBytes(mount.source), target: target, type: nil, flags: rest.subtracting(.readOnly))
            if flags.contains(.readOnly) { try KernelMount.remount(target, flags: [.bind, .readOnly]) }
            return
        }
        let (directory, words) = shortened(data)
        try KernelMount.mount(
            source: PathBytes(mount.source), target: target, type: mount.type, flags: flags,
            data: Array(words.joined(separator: ",").utf8), from: directory)
    }

    /// What containerd does with options that do not fit a page: it goes to the directory that all lowers have in common.
    private static func shortened(_ options: [String]) -> (PathBytes?, [String]) {
        let length = options.joined(separator: ",").utf8.count
        guard length > 4096 - 512, let index = options.firstIndex(where: { $0.hasPrefix("lowerdir=") }) else {
            return (nil, options)
        }
        let lowers = options[index].dropFirst("lowerdir=".count).split(separator: ":").map(String.init)
        var common = lowers[0]
        for lower in lowers { while !lower.hasPrefix(common) { common.removeLast() } }
        common = String(common[..<(common.lastIndex(of: "/") ?? common.startIndex)])
        var options = options
        options[index] = "lowerdir=" + lowers.map { String($0.dropFirst(common.count + 1)) }.joined(separator: ":")
        return (PathBytes(common), options)
    }

    private static func mountFuse(_ mount: Containerd_Types_Mount, _ target: PathBytes) throws {
        var words = ["mount.fuse3", mount.source, "\(target)"]
        for option in mount.options { words += ["-o", option] }
        words += ["-t", String(mount.type.dropFirst("fuse3.".count))]
        let result = try runProgram(words)
        guard result.status == 0 else { throw TestFailure("\(words.joined(separator: " ")): \(result.errors)") }
    }

    /// zfs-fuse has no type for mount(2).
    private static func mountZFS(_ mount: Containerd_Types_Mount, _ target: PathBytes) throws {
        try zfs("set", "mountpoint=\(target)", mount.source)
        if mount.options.contains("ro") {
            try zfs("mount", "-o", "ro", mount.source)
        } else {
            try zfs("mount", mount.source)
        }
    }

    private static func zfs(_ words: String...) throws {
        let result = try runProgram(["zfs"] + words)
        guard result.status == 0 else { throw TestFailure("zfs \(words.joined(separator: " ")): \(result.errors)") }
    }

    /// Unmounts; a mount that is busy is an error, as in the suite of containerd 2.
    func unmount() throws {
        guard isMounted else { return }
        for attempt in 0... {
            // zfs-fuse and fuse-overlayfs must have heard of closed files first.
            var facts = statvfs()
            statvfs(path, &facts)
            if umount2(path, 0) == 0 { break }
            guard errno == EBUSY, attempt < 200 else { throw TestFailure("umount \(path): \(errno)") }
            usleep(10_000)
        }
        isMounted = false
    }

    deinit { if isMounted { umount2(path, Int32(MNT_DETACH)) } }
}
