public import LayerModel

/// How a tree is removed.
public struct TreeRemovalOptions: Sendable {
    /// Threads; nil means one a core, and four at most: removing waits for the file system's lock, not for a core.
    public var workers: Int?
    public var cancel = CancelFlag()
    /// A name directly in the directory that is emptied, which stays and does not count.
    public var keeps: StaticString?
    /// The tree's path, for messages.
    public var path: PathBytes?

    public init() {}
}

/// Removes trees by descriptor, without following links or crossing into other mounts (drivers.md 1.11).
///
/// What is gone already counts as removed. A directory that got new names meanwhile is emptied once more. A mount point
/// ends it with `.inUse` and its path: unmount that, and call again. However deep the tree is, it costs few
/// descriptors and no recursion.
public enum TreeRemoval {
    /// Whether nothing is in `directory` but the name `ignored`.
    public static func isEmpty(_ directory: borrowing OwnedDescriptor, ignoring ignored: StaticString? = nil)
        throws(SystemCallError) -> Bool
    {
        var reader = DirectoryReader()
        let again = try directory.open(NamePointer("."), [.readOnly, .directory])
        while let entry = try reader.next(of: again) {
            if let ignored, bytes(reader.name(of: entry), equal: ignored) { continue }
            return false
        }
        return true
    }

    /// Removes `name` of `parent`, whatever it is, and everything below it; one that does not exist is fine.
    public static func remove(
        _ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor,
        options: TreeRemovalOptions = TreeRemovalOptions()
    ) throws(LayerError) {
        var options = options
        options.keeps = nil
        var mayRepeat = true
        while true {
            guard let directory = try open(name, in: parent, options) else { return }
            try empty(directory, options)
            do throws(SystemCallError) {
                return try parent.removeDirectory(name)
            } catch {
                if error.errno == 2 { return }
                // ENOTEMPTY, EEXIST: somebody put something in.
                guard mayRepeat, error.errno == 39 || error.errno == 17 else {
                    throw LayerError(error, "remove", path: options.path)
                }
                mayRepeat = false
            }
        }
    }

    /// Removes what is at `path`, relative to the working directory, and everything below it; nothing there is fine.
    ///
    /// Throws ENOENT as `.notFound` where the directory above is missing.
    public static func remove(
        _ path: PathBytes, options: TreeRemovalOptions = TreeRemovalOptions()
    ) throws(LayerError) {
        guard let (above, name) = path.splitLast() else {
            throw LayerError(.invalidArgument, "remove", path: path, cause: .reason("it has no last component"))
        }
        let parent = try attempt("remove", path) { () throws(SystemCallError) in
            try above.open([.pathOnly, .directory])
        }
        var options = options
        options.path = path
        let terminated = name.bytes + [0]
        try remove(NamePointer(terminated: terminated.rawBytes), in: parent, options: options)
    }

    /// Removes everything in `directory` but what the options keep.
    public static func removeContents(
        of directory: borrowing OwnedDescriptor, options: TreeRemovalOptions = TreeRemovalOptions()
    ) throws(LayerError) {
        let opened: OpenedDirectory
        do throws(SystemCallError) {
            opened = OpenedDirectory(try directory.open(NamePointer("."), [.readOnly, .directory]))
        } catch { throw LayerError(error, "remove", path: options.path) }
        try empty(opened, options)
    }

    /// Opens the directory to remove; nil where there is none, and where it was no directory and is removed now.
    private static func open(
        _ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor, _ options: TreeRemovalOptions
    ) throws(LayerError) -> OpenedDirectory? {
        do throws(SystemCallError) {
            return OpenedDirectory(
                try parent.open(
                    name, [.readOnly, .directory, .noFollow], resolve: [.noSymlinks, .beneath, .noCrossing]))
        } catch {
            switch error.errno {
            case 2: return nil
            case 20, 40: break
            case 18: throw RemovalPlan.mountPoint(options.path)
            default: throw LayerError(error, "remove", path: options.path)
            }
        }
        do throws(SystemCallError) { try parent.unlink(name) } catch {
            if error.errno != 2 { throw LayerError(error, "remove", path: options.path) }
        }
        return nil
    }

    /// Empties the root of a removal on several threads.
    private static func empty(_ root: OpenedDirectory, _ options: TreeRemovalOptions) throws(LayerError) {
        let plan = try RemovalPlan(root, options)
        plan.stack.push(TreeDirectories.root)
        let count = options.workers ?? min(4, WorkerPool.availableCores)
        try WorkerPool(count: count).run(cancel: CancelFlag()) { (_) throws(LayerError) in
            var remover = DirectoryRemover(plan)
            try remover.run()
        }
        try options.cancel.check("remove")
    }
}

/// Everything the workers of a removal share.
final class RemovalPlan: Sendable {
    let options: TreeRemovalOptions
    let root: OpenedDirectory
    let directories: TreeDirectories
    let stack = WorkStack()
    /// Whether directories are made accessible before they are opened.
    let changesModes = ProcessState.effectiveUser != 0
    /// Device and inode by directory, for those that are reached from below.
    let identities: StableArray<DirectoryIdentity>
    /// Subdirectories that are still there, by directory.
    private let counts: Monitor<StableArray<UInt32>>

    struct DirectoryIdentity: BitwiseCopyable, Equatable {
        var device: UInt64 = 0
        var inode: UInt64 = 0
        /// How often it has been listed.
        var listings: UInt32 = 0
    }

    init(_ root: OpenedDirectory, _ options: TreeRemovalOptions) throws(LayerError) {
        self.root = root
        self.options = options
        directories = try TreeDirectories()
        identities = try StableArray(limit: directories.records.limit)
        counts = Monitor(try StableArray(limit: directories.records.limit))
    }

    /// Notes how many subdirectories a directory has that must go first.
    func setCount(_ count: Int, of directory: UInt32) {
        counts.update { counts in
            counts[Int(directory)] = UInt32(count)
            return ((), false)
        }
    }

    /// Says that one subdirectory is gone; true if it was the last.
    func removedOne(of directory: UInt32) -> Bool {
        counts.update { counts in
            counts[Int(directory)] -= 1
            return (counts[Int(directory)] == 0, false)
        }
    }

    func path(_ directory: UInt32, _ name: [UInt8] = []) -> PathBytes {
        directories.path(options.path, directory, name)
    }

    /// The error for something that is mounted inside the tree, or at its top.
    static func mountPoint(_ path: PathBytes?) -> LayerError {
        LayerError(
            SystemCallError("unlinkat", errno: 16), "remove", path: path, hint: "it is a mount point: unmount it first")
    }
}
