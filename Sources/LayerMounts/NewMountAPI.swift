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

    /// Asks the kernel. Mounts nothing.
    public static func probe() -> NewMountAPI {
        guard let context = try? FileSystemContext("overlay") else { return .none }
        // A kernel that knows the key looks the path up; one that reads options itself does not know the key (EINVAL);
        // one that only collects text for the old interface says yes to anything.
        let outcome = Kernel.configure(context.descriptor, Terminated("lowerdir+"), Terminated("/proc/self/fd/-"))
        return NewMountAPI(isAvailable: true, takesSingleLowers: outcome == -enoent)
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

extension KernelMount {
    /// A detached second view of what lies at `path` put at `target`, see open_tree(2); a bind mount without a moment in
    /// which it is half made.
    public static func copyTree(_ path: PathBytes, to target: PathBytes, recursive: Bool = false) throws(LayerError) {
        try checkText(path, "copy a mount")
        try checkText(target, "copy a mount to")
        let tree = OwnedDescriptor(
            adopting: try check(
                Kernel.cloneTree(Terminated(path), recursive: recursive), "open_tree", "copy the mount", path))
        try check(Kernel.move(tree, to: Terminated(target)), "move_mount", "copy a mount to", target)
    }
}
