internal import CLinux
public import LayerModel
internal import LinuxIO

/// What a path is with regard to a mount that is expected on it.
public enum MountState: Sendable, Equatable {
    case notMounted
    case mounted
    /// A mount whose server is gone: every look at it fails (ENOTCONN of FUSE). It must be unmounted lazily.
    case stale
}

extension MountTable {
    /// Whether something is mounted on `path` itself; the last component is not followed.
    ///
    /// Asks openat2(2) with RESOLVE_NO_XDEV, which touches nothing of the mounted file system; where neither the
    /// kernel has that nor /proc helps out, compares devices, and then reads the mount table. Throws `.notFound`
    /// where the path does not exist.
    public static func isMountPoint(_ path: PathBytes) throws(LayerError) -> Bool {
        let operation = "look for a mount at"
        try checkText(path, operation)
        guard let (above, last) = path.splitLast() else {
            let directory = try path.resolved(operation)
            if directory == PathBytes("/") { return true }
            return try isMountPoint(directory)
        }
        let directory = try naming(operation, above) { () throws(SystemCallError) in
            try OwnedDescriptor.open(Terminated(above).name, [.pathOnly, .directory])
        }
        do {
            _ = try directory.open(
                Terminated(last).name, [.pathOnly, .noFollow], resolve: .noCrossing)
            return false
        } catch {
            switch error.errno {
            case exdev: return true
            case enosys, eperm, einval: break
            default: throw LayerError(error, operation, path: path)
            }
        }
        return try isMountPointByDevice(last, in: directory, path)
    }

    /// For kernels before 5.6, and where a filter forbids openat2, when there is no /proc that tells mounts apart.
    static func isMountPointByDevice(
        _ name: PathBytes, in directory: borrowing OwnedDescriptor, _ path: PathBytes
    ) throws(LayerError) -> Bool {
        let operation = "look for a mount at"
        let mounted: Bool
        do {
            mounted = try directory.metadata(Terminated(name).name).device != directory.metadata().device
        } catch {
            // A dead FUSE mount cannot be asked for its device, which is an answer too.
            guard error.errno == enotconn else { throw LayerError(error, operation, path: path) }
            mounted = true
        }
        // A bind mount of the same file system has the same device.
        if mounted { return true }
        return try read().top(at: path.resolvingParent(operation)) != nil
    }

    /// Whether a file system with this magic number (statfs(2)) is mounted on `path`.
    ///
    /// The number alone does not tell: where the directory above is of the same kind, every path has it.
    public static func state(of path: PathBytes, magic: UInt32) throws(LayerError) -> MountState {
        let type = Kernel.fileSystemType(Terminated(path))
        switch -type {
        case Int64(enoent), Int64(enotdir): return .notMounted
        case Int64(enotconn), Int64(estale), Int64(econnaborted): return .stale
        case let error where error > 0:
            throw LayerError(
                SystemCallError("statfs", errno: Int32(error)), "look for a mount at", path: path)
        default:
            guard type == Int64(magic) else { return .notMounted }
            return try isMountPoint(path) ? .mounted : .notMounted
        }
    }

    /// Whether anything is mounted on `path`, and whether it still answers.
    public static func state(of path: PathBytes) throws(LayerError) -> MountState {
        do {
            guard try isMountPoint(path) else { return .notMounted }
        } catch  where error.saysNothingThere {
            return .notMounted
        }
        switch -Kernel.fileSystemType(Terminated(path)) {
        case Int64(enotconn), Int64(estale), Int64(econnaborted): return .stale
        default: return .mounted
        }
    }
}

extension LayerError {
    /// Whether there is no such path: also one that leads through a file.
    var saysNothingThere: Bool {
        if code == .notFound { return true }
        guard case .systemCall(let call) = cause else { return false }
        return call.errno == enotdir
    }
}

let eperm: Int32 = 1
let enoent: Int32 = 2
let exdev: Int32 = 18
let enotdir: Int32 = 20
let einval: Int32 = 22
let enosys: Int32 = 38
let econnaborted: Int32 = 103
let enotconn: Int32 = 107
let estale: Int32 = 116
