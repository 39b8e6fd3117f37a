internal import CLinux
public import LayerModel
internal import LinuxIO

/// How mount(2) mounts.
public struct MountFlags: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }

    public static let readOnly = MountFlags(rawValue: 1)
    public static let noSetUser = MountFlags(rawValue: 2)
    public static let noDevices = MountFlags(rawValue: 4)
    public static let noExecute = MountFlags(rawValue: 8)
    public static let remount = MountFlags(rawValue: 32)
    public static let noAccessTimes = MountFlags(rawValue: 1024)
    public static let bind = MountFlags(rawValue: 4096)
    public static let recursive = MountFlags(rawValue: 16384)
    public static let makePrivate = MountFlags(rawValue: 1 << 18)
    public static let makeReplica = MountFlags(rawValue: 1 << 19)
}

/// How umount2(2) unmounts.
public struct UnmountFlags: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }

    public static let force = UnmountFlags(rawValue: 1)
    /// Takes it out of sight now, away when the last user is gone.
    public static let detach = UnmountFlags(rawValue: 2)
    public static let noFollow = UnmountFlags(rawValue: 8)
}

/// mount(2) and umount2(2).
///
/// Every call throws with the operation, the path and errno; nothing changes on a failure.
public enum KernelMount {
    /// Most bytes of mount data: the kernel copies one page, its NUL included, and cuts the rest without a word.
    public static let dataLimit = Int(ldl_page_size()) - 1

    /// Mounts. `data` is what the file system's man page calls its options, separated by commas.
    ///
    /// With a `directory`, relative paths in `target` and `data` are seen from there; the process's own working directory
    /// stays (the mount is made by a thread of its own). Throws `.limitExceeded` for data that the kernel would cut.
    public static func mount(
        source: PathBytes, target: PathBytes, type: String?, flags: MountFlags = [], data: [UInt8] = [],
        from directory: PathBytes? = nil
    ) throws(LayerError) {
        let operation = flags.contains(.remount) ? "remount" : type.map { "mount \($0) at" } ?? "mount at"
        try checkText(target, operation)
        guard !data.contains(0), !source.bytes.contains(0) else {
            throw LayerError(.invalidArgument, operation, path: target, cause: .reason("NUL among the options"))
        }
        guard data.count <= dataLimit else {
            throw LayerError(
                .limitExceeded, operation, path: target,
                cause: .reason("\(data.count) bytes of options, the kernel takes \(dataLimit)"))
        }
        let call: @Sendable () -> Int32 = {
            Kernel.mount(
                source: Terminated(source), target: Terminated(target), type: type.map(Terminated.init),
                flags: flags.rawValue, data: data.isEmpty ? nil : Terminated(data))
        }
        let result = if let directory { try WorkingDirectory.run(in: directory, operation, call) } else { call() }
        try check(result, "mount", operation, target)
    }

    /// Shows `source` a second time at `target`.
    public static func bind(_ source: PathBytes, at target: PathBytes, recursive: Bool = false) throws(LayerError) {
        try mount(source: source, target: target, type: nil, flags: recursive ? [.bind, .recursive] : .bind)
    }

    /// Changes a mount's flags and options.
    public static func remount(_ target: PathBytes, flags: MountFlags = [], data: [UInt8] = []) throws(LayerError) {
        try mount(source: PathBytes("none"), target: target, type: nil, flags: flags.union(.remount), data: data)
    }

    /// Has nothing written through the mount at `point` from now on. Its other flags stay, and so do other mounts of the same
    /// file system.
    public static func protect(_ point: PathBytes) throws(LayerError) {
        guard let mount = try MountTable.read().top(at: point.resolvedParent()) else {
            throw LayerError(.notFound, "protect the mount", path: point, cause: .reason("nothing is mounted there"))
        }
        var flags: MountFlags = [.bind, .readOnly]
        // The kernel keeps the rule for times of access by itself, and takes these for taken back.
        for (word, flag) in [("nosuid", MountFlags.noSetUser), ("nodev", .noDevices), ("noexec", .noExecute)]
        where mount.has(word) { flags.insert(flag) }
        try remount(point, flags: flags)
    }

    /// Keeps mounts made at or below `target` from showing up elsewhere, and the reverse.
    public static func makePrivate(_ target: PathBytes, recursive: Bool = false) throws(LayerError) {
        let flags: MountFlags = recursive ? [.makePrivate, .recursive] : .makePrivate
        try mount(source: PathBytes("none"), target: target, type: nil, flags: flags)
    }

    /// Unmounts the uppermost mount at `target`; not being a mount point is an error (`.io` with EINVAL).
    public static func unmount(_ target: PathBytes, _ flags: UnmountFlags = .noFollow) throws(LayerError) {
        try checkText(target, "unmount")
        try check(Kernel.unmount(Terminated(target), flags: flags.rawValue), "umount2", "unmount", target)
    }

    /// Lazily unmounts everything at `directory` and below it, deepest first; nothing mounted is success.
    ///
    /// With `keepingTop`, a mount at `directory` itself, which somebody else may have put there, stays.
    public static func unmountAll(atOrBelow directory: PathBytes, keepingTop: Bool = false) throws(LayerError) {
        let operation = "unmount all below"
        let top: PathBytes
        do {
            top = try directory.trimmed.resolvingParent(operation)
        } catch  where error.code == .notFound {
            return
        }
        // A second mount on the same point appears when the first is gone, so one look is not always enough.
        for _ in 0..<maximumStack {
            var entries = try MountTable.read().entries(atOrBelow: top)
            if keepingTop { entries.removeAll { $0.mountPoint == top } }
            if entries.isEmpty { return }
            try unmountEach(entries.map(\.mountPoint).reversed())
        }
    }

    /// Errors of those below count only where the uppermost fails too.
    private static func unmountEach(_ deepestFirst: [PathBytes]) throws(LayerError) {
        var last: LayerError?
        for point in deepestFirst {
            do {
                try unmount(point, [.detach, .noFollow])
                last = nil
            } catch  where error.isNotMountPoint {
                last = nil
            } catch {
                last = error
            }
        }
        if let last { throw last }
    }

    /// More mounts than this on one point are nobody's intention.
    private static let maximumStack = 64
}

extension LayerError {
    /// umount2(2) of what is no mount point, or no longer there.
    var isNotMountPoint: Bool {
        guard case .systemCall(let error) = cause else { return false }
        return error.errno == einval || error.errno == enoent
    }
}
