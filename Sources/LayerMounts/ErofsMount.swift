internal import CLinux
import Glibc
public import LayerModel
internal import LinuxIO

/// Mounts of packed layers: an index, and the files that hold the contents.
public enum ErofsMount {
    /// How the kernel comes by the files.
    public enum Way: String, Sendable, CaseIterable {
        /// It reads the files itself (Linux 6.12), where their file system is fit for that.
        case file
        /// They are shown as block devices (Linux 5.16).
        case loop
    }

    /// Mounts `index` for reading at `target`. `devices`: the files with the contents, in the index's order. Without a `way`
    /// the files are given to the kernel as they are, and as block devices if it does not want them so.
    ///
    /// Whether the files are the ones that the index was made for is the caller's to check: the kernel mounts in any case,
    /// and reading fails or gives zeros. Throws `unsupported` where the kernel has no EROFS.
    @discardableResult
    public static func mount(
        index: PathBytes, devices: [PathBytes], at target: PathBytes, way: Way? = nil, directIO: Bool = false
    ) throws(LayerError) -> Way {
        // MOUNT_ATTR_RDONLY
        let (mount, way) = try make(index, devices, way, directIO: directIO, attributes: 0x01)
        do throws(LayerError) {
            try check(
                Kernel.move(mount.descriptor, to: Terminated(target)), "move_mount", "mount a packed layer at", target)
        } catch {
            throw explained(error, index)
        }
        return way
    }

    /// The same, mounted at no path.
    public static func detached(
        index: PathBytes, devices: [PathBytes], way: Way? = nil, directIO: Bool = false
    ) throws(LayerError) -> (mount: DetachedMount, way: Way) {
        try make(index, devices, way, directIO: directIO, attributes: DetachedMount.attributes)
    }

    private static func make(
        _ index: PathBytes, _ devices: [PathBytes], _ way: Way?, directIO: Bool, attributes: UInt64
    ) throws(LayerError) -> (mount: DetachedMount, way: Way) {
        precondition(!devices.isEmpty, "without its devices an index is taken for another kind of image")
        if way != .loop {
            do throws(LayerError) {
                return (try mountFiles(index, devices, directIO: directIO, attributes), .file)
            } catch {
                // ENOTBLK, ENODEV is of a kernel without EROFS: then there is nothing to try.
                guard way == nil, error.errno == ENOTBLK else { throw explained(error, index) }
            }
        }
        do throws(LayerError) {
            let image = try LoopDevice(showing: index)
            let loops = try LoopSet(devices)
            let mount = try mountFiles(image.path, loops.paths, directIO: false, attributes)
            // The mount holds the devices from here on.
            withExtendedLifetime(loops) {}
            _ = image
            return (mount, .loop)
        } catch {
            throw explained(error, index)
        }
    }

    private static func mountFiles(
        _ index: PathBytes, _ devices: [PathBytes], directIO: Bool, _ attributes: UInt64
    ) throws(LayerError) -> DetachedMount {
        let context = try FileSystemContext("erofs")
        // Values of more than 255 bytes are refused; a descriptor leads there, too.
        let handles = try HandleSet()
        try context.set("source", try handles.short(index))
        for device in devices { try context.set("device", try handles.short(device)) }
        if directIO { try context.set(flag: "directio") }
        try context.set(flag: "ro")
        return DetachedMount(try context.mount(attributes: attributes))
    }

    private static func explained(_ error: LayerError, _ index: PathBytes) -> LayerError {
        var error = error
        error.path = error.path ?? index
        if error.errno == ENODEV {
            error.code = .unsupported
            error.hint = "this kernel has no EROFS: load the module erofs, or unpack the layer"
        }
        return error
    }

    /// Whether this kernel has the file system; nothing is mounted, and nothing of it is seen in the kernel's log.
    public static var isSupported: Bool { (try? FileSystemContext("erofs")) != nil }
}

/// Loop devices that live as long as this.
private final class LoopSet {
    private(set) var paths: [PathBytes] = []
    private var first: LoopDevice?
    private var rest: LoopSet?

    init(_ files: [PathBytes]) throws(LayerError) {
        guard let file = files.first else { return }
        let device = try LoopDevice(showing: file)
        let others = try LoopSet(Array(files.dropFirst()))
        paths = [device.path] + others.paths
        first = consume device
        rest = others
    }
}

/// Short paths for long ones, through descriptors that live as long as this.
private final class HandleSet {
    private final class Handle {
        let descriptor: OwnedDescriptor
        init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    }
    private var handles: [Handle] = []

    init() throws(LayerError) {}

    func short(_ path: PathBytes) throws(LayerError) -> PathBytes {
        guard path.bytes.count > FileSystemContext.valueLimit else { return path }
        do throws(SystemCallError) {
            let handle = Handle(try path.open([.readOnly]))
            handles.append(handle)
            return PathBytes("/proc/self/fd/\(handle.descriptor.number)")
        } catch {
            throw LayerError(error, "open", path: path)
        }
    }
}

extension LayerError {
    /// The errno of the system call that failed, 0 where it was none.
    var errno: Int32 {
        guard case .systemCall(let error) = cause else { return 0 }
        return error.errno
    }
}
