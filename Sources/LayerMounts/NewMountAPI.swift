internal import CLinux
public import LayerModel
internal import LinuxIO

/// What this kernel's second mount interface (fsopen, fsconfig, fsmount, move_mount; Linux 5.2) can do.
///
/// A value, asked once by whoever needs it: nothing is kept for the process, so two stores never share an answer.
public struct NewMountAPI: Sendable, Equatable {
    /// The calls exist and are allowed.
    public var isAvailable: Bool
    /// overlayfs takes its lower directories one by one (`lowerdir+`, about Linux 6.8): then nothing limits their
    /// paths' length together.
    public var takesSingleLowers: Bool

    public init(isAvailable: Bool, takesSingleLowers: Bool) {
        self.isAvailable = isAvailable
        self.takesSingleLowers = takesSingleLowers
    }

    /// Nothing of it: every mount is made with mount(2).
    public static let none = NewMountAPI(isAvailable: false, takesSingleLowers: false)

    /// What the running kernel can do, asked once.
    public static let found = probe()

    /// Asks the kernel. Mounts nothing, and nothing of it is seen in the kernel's log.
    public static func probe() -> NewMountAPI {
        guard let context = try? FileSystemContext("overlay") else { return .none }
        // A kernel that knows the key looks the directory up; one that reads options itself does not know the key (EINVAL,
        // in the context's own log); one that only collects text for the old interface says yes to anything, also to the
        // second key.
        let knows = Kernel.configure(context.descriptor, Terminated("lowerdir+"), Terminated("/")) >= 0
        let takesAll = knows && Kernel.configure(context.descriptor, Terminated("ldiff"), Terminated("/")) >= 0
        return NewMountAPI(isAvailable: true, takesSingleLowers: knows && !takesAll)
    }
}

/// A file system being configured, fsopen(2).
struct FileSystemContext: ~Copyable {
    let descriptor: OwnedDescriptor
    private let type: String

    init(_ type: String) throws(LayerError) {
        let result = Kernel.openContext(Terminated(type))
        descriptor = OwnedDescriptor(adopting: try check(result, "fsopen", "mount \(type)", nil))
        self.type = type
    }

    /// Longest value the kernel takes.
    static let valueLimit = 255

    func set(_ key: String, _ value: PathBytes) throws(LayerError) {
        try explained(Kernel.configure(descriptor, Terminated(key), Terminated(value)), "\(key)=\(value)")
    }

    /// Sets what an open descriptor leads to.
    func set(_ key: String, _ value: borrowing OwnedDescriptor) throws(LayerError) {
        try explained(Kernel.configure(descriptor, Terminated(key), value), key)
    }

    func set(flag: String) throws(LayerError) {
        try explained(Kernel.configure(descriptor, flag: Terminated(flag)), flag)
    }

    /// Makes the superblock and a mount of it that is nowhere yet; `attributes` as fsmount(2) has them.
    func mount(attributes: UInt64) throws(LayerError) -> OwnedDescriptor {
        try explained(ldl_fsconfig_create(descriptor.number), nil)
        return OwnedDescriptor(
            adopting: try check(ldl_fsmount(descriptor.number, attributes), "fsmount", "mount \(type)", nil))
    }

    /// Adds what the kernel wrote into the context's log to a failure.
    private func explained(_ result: Int32, _ option: String?) throws(LayerError) {
        guard result < 0 else { return }
        let log = readLog()
        let operation = "mount \(type)" + (option.map { " with \($0)" } ?? "")
        throw LayerError(
            SystemCallError("fsconfig", errno: -result), operation, path: nil,
            hint: log.isEmpty ? nil : "the kernel says: \(log)")
    }

    private func readLog() -> String {
        let line = Slab(capacity: 1024)
        var lines: [String] = []
        while lines.count < 16, let count = try? descriptor.read(into: line, 0..<line.capacity), count > 0 {
            // `e overlay: text`: the first letter is the weight.
            let text = escapedText(line.span(0..<count).copied().filter { $0 != UInt8(ascii: "\n") })
            lines.append(String(text.dropFirst(2)))
        }
        return lines.joined(separator: "; ")
    }
}

/// A file system that is mounted for reading where nobody else sees it: at no path, in no mount table, and for as long as this
/// lives. No time of access changes in it.
public final class DetachedMount: Sendable {
    let descriptor: OwnedDescriptor

    /// MOUNT_ATTR_RDONLY and MOUNT_ATTR_NOATIME
    static let attributes: UInt64 = 0x01 | 0x10

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// Mounts `source`, a file system of `type`.
    ///
    /// Throws ENOSYS before Linux 5.2, and what mount(2) throws.
    public init(type: String, source: PathBytes) throws(LayerError) {
        do throws(LayerError) {
            let context = try FileSystemContext(type)
            try context.set("source", source)
            try context.set(flag: "ro")
            descriptor = try context.mount(attributes: Self.attributes)
        } catch {
            throw LayerError(error.code, "mount for reading", path: source, cause: error.cause, hint: error.hint)
        }
    }

    /// Leads to its root, in this process only; its last component is no link.
    public var path: PathBytes { PathBytes("/proc/self/fd/\(descriptor.number)/.") }
}

extension KernelMount {
    /// A detached second view of what lies at `path` put at `target`, see open_tree(2); a bind mount without a moment in
    /// which it is half made, where the kernel has it.
    public static func copyTree(_ path: PathBytes, to target: PathBytes, recursive: Bool = false) throws(LayerError) {
        try checkText(path, "copy a mount")
        try checkText(target, "copy a mount to")
        let cloned = Kernel.cloneTree(Terminated(path), recursive: recursive)
        // ENOSYS, EPERM: before Linux 5.2, and where a filter knows no open_tree; who may not mount may not bind either.
        if cloned == -38 || cloned == -1 { return try bind(path, at: target, recursive: recursive) }
        let tree = OwnedDescriptor(adopting: try check(cloned, "open_tree", "copy the mount", path))
        try check(Kernel.move(tree, to: Terminated(target)), "move_mount", "copy a mount to", target)
    }
}
