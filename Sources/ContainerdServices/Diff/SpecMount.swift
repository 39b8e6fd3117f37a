import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO

/// Carries out what containerd's mounts say, inside of `PrivateMounts.run`.
enum SpecMount {
    /// Mounts all of them at `target`, an existing directory.
    ///
    /// For reading, nothing can be changed through the mounts, and a live overlay's upper directory becomes its uppermost
    /// lower one, so that its work directory is not used twice. Throws `unsupported` for types that are no file system
    /// but words of containerd's mount manager.
    static func mount(_ mounts: [MountSpec], at target: PathBytes, forReading: Bool) throws(LayerError) {
        for mount in mounts { try Self.mount(mount, at: place(mount, below: target), forReading: forReading) }
    }

    /// Whether the mounts are for a kernel and its helpers at all.
    static func canMount(_ mounts: [MountSpec]) -> Bool {
        mounts.allSatisfy { mount in
            !mount.type.utf8.contains(UInt8(ascii: "/"))
                && !mount.options.contains { $0.utf8.starts(with: "X-containerd.".utf8) }
        }
    }

    /// The directory that a mount with a target of its own goes to; it must be there by now.
    private static func place(_ mount: MountSpec, below root: PathBytes) throws(LayerError) -> PathBytes {
        guard !mount.target.isEmpty else { return root }
        let components = mount.target.utf8.split(separator: UInt8(ascii: "/")).map { Array($0) }
        guard !components.contains(Array("..".utf8)) else {
            throw LayerError(
                .invalidArgument, "mount at", path: PathBytes(mount.target), cause: .reason("it has \"..\" in it"))
        }
        return components.reduce(root) { $0.appending(PathBytes($1)) }
    }

    private static func mount(_ mount: MountSpec, at target: PathBytes, forReading: Bool) throws(LayerError) {
        if case .overlay(let shape) = try MountShape([mount]), forReading || shape.kind == .kernel {
            return try overlay(shape, mount, at: target, forReading: forReading)
        }
        var words = MountWords(mount.options)
        if forReading { words.flags.insert(.readOnly) }
        let source = PathBytes(mount.source)
        switch mount.type {
        case "bind":
            try bind(source, at: target, words)
        case "zfs":
            // A dataset that is mounted one way cannot be mounted the other way too; what is there can be shown again.
            if let point = try MountTable.read().entries.last(where: { isWhole($0, of: source) })?.mountPoint {
                return try bind(point, at: target, words)
            }
            try KernelMount.mount(source: source, target: target, type: "zfs", flags: words.flags, data: words.data)
        case let type where type.hasPrefix("fuse.") || type.hasPrefix("fuse3."):
            try fuse(mount, at: target, words)
        default:
            try KernelMount.mount(
                source: source, target: target, type: mount.type, flags: words.flags, data: words.data)
        }
    }

    private static func isWhole(_ entry: MountEntry, of dataset: PathBytes) -> Bool {
        entry.fileSystem == "zfs" && entry.source == dataset && entry.root == PathBytes("/")
    }

    private static func bind(_ source: PathBytes, at target: PathBytes, _ words: MountWords) throws(LayerError) {
        try KernelMount.bind(source, at: target, recursive: true)
        guard words.flags.contains(.readOnly) else { return }
        try KernelMount.remount(target, flags: words.flags.union(.bind).subtracting(.recursive))
    }

    private static func overlay(
        _ shape: OverlayShape, _ mount: MountSpec, at target: PathBytes, forReading: Bool
    ) throws(LayerError) {
        let stack = forReading ? (shape.upper.map { [$0] } ?? []) + shape.lowers : shape.lowers
        if forReading, stack.count == 1 {
            return try bind(stack[0], at: target, MountWords(["ro"]))
        }
        if shape.kind == .aufs {
            let branches = stack.map { $0.bytes + Array("=ro+wh".utf8) }.joined(separator: [UInt8(ascii: ":")])
            return try KernelMount.mount(
                source: PathBytes("none"), target: target, type: "aufs", flags: .readOnly,
                data: Array("br:".utf8) + branches)
        }
        if shape.kind == .fuse {
            let mount = FuseOverlayMount(lowers: stack, uidMap: shape.uidMap, gidMap: shape.gidMap)
            return try FuseOverlayHelper(extra: ["ro"]).mount(mount, at: target, relativeTo: PathBytes("/"))
        }
        let words = MountWords(mount.options.filter { !isReplaced($0) })
        let options = OverlayMountOptions(
            readOnly: forReading,
            extra: String(decoding: words.data, as: UTF8.self).split(separator: ",").map(String.init))
        let overlay = OverlayMount(
            lowers: stack, upper: forReading ? nil : shape.upper,
            work: forReading
                ? nil
                : mount.options.lazy.compactMap { Array($0.utf8).value(of: "workdir=") }.first
                    .map { PathBytes($0) },
            options: options)
        try overlay.mount(at: target, relativeTo: PathBytes("/"), api: NewMountAPI.found)
    }

    /// Options that are given another way, that containerd means for itself, or that make sense only for writing.
    private static func isReplaced(_ option: String) -> Bool {
        option == "volatile"
            || ["lowerdir=", "upperdir=", "workdir=", "uidmap=", "gidmap="].contains { option.hasPrefix($0) }
    }

    /// What mount(8) does for a type with a helper: the part behind the dot names the program that serves the file system.
    private static func fuse(_ mount: MountSpec, at target: PathBytes, _ words: MountWords) throws(LayerError) {
        let parts = mount.type.split(separator: ".", maxSplits: 1)
        let options =
            words.data + (words.flags.contains(.readOnly) ? Array((words.data.isEmpty ? "ro" : ",ro").utf8) : [])
        let arguments =
            [Array(mount.source.utf8), target.bytes]
            + (options.isEmpty ? [] : [Array("-o".utf8), options]) + [Array("-t".utf8), Array(parts[1].utf8)]
        let helper = parts[0] == "fuse3" ? "mount.fuse3" : "mount.fuse"
        var command = Command(PathBytes(helper), arguments, package: "fuse3")
        command.leavesServer = true
        let result = try CommandRunner.run(command)
        guard result.succeeded, try MountTable.state(of: target) == .mounted else {
            throw LayerError(
                .io, "mount with \(helper) for", path: PathBytes(mount.source),
                cause: .reason(result.errorText.isEmpty ? "it ended without a mount" : result.errorText))
        }
    }
}

/// Mount options as mount(8) takes them: those that are flags of mount(2), and the rest.
struct MountWords: Sendable, Equatable {
    var flags: MountFlags = []
    /// The rest, separated by commas.
    var data: [UInt8] = []

    init(_ options: [String]) {
        var rest: [[UInt8]] = []
        for option in options {
            if let flag = Self.setting[option] {
                flags.insert(flag)
            } else if let flag = Self.clearing[option] {
                flags.remove(flag)
            } else if !Self.ignored.contains(option) {
                rest.append(Array(option.utf8))
            }
        }
        data = Array(rest.joined(separator: [UInt8(ascii: ",")]))
    }

    private static let setting: [String: MountFlags] = [
        "ro": .readOnly, "nosuid": .noSetUser, "nodev": .noDevices, "noexec": .noExecute, "noatime": .noAccessTimes,
        "sync": MountFlags(rawValue: 16), "dirsync": MountFlags(rawValue: 128),
        "nodiratime": MountFlags(rawValue: 2048), "relatime": MountFlags(rawValue: 1 << 21),
        "strictatime": MountFlags(rawValue: 1 << 24), "bind": .bind, "rbind": [.bind, .recursive],
    ]
    private static let clearing: [String: MountFlags] = [
        "rw": .readOnly, "suid": .noSetUser, "dev": .noDevices, "exec": .noExecute, "atime": .noAccessTimes,
        "async": MountFlags(rawValue: 16), "diratime": MountFlags(rawValue: 2048),
        "norelatime": MountFlags(rawValue: 1 << 21), "nostrictatime": MountFlags(rawValue: 1 << 24),
    ]
    /// `volatile` belongs to containers' mounts: a temporary one would leave a mark that forbids the next.
    private static let ignored: Set<String> = ["defaults", "volatile", "private", "rprivate", "slave", "rslave"]
}
