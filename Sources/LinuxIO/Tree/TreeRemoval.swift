import Glibc
public import LayerModel

/// How a tree is removed.
public struct TreeRemovalOptions: Sendable {
    /// Threads; nil means one a core, and four at most: removing waits for the file system's lock, not for a core.
    public var workers: Int?
    public var cancel = CancelFlag()
    /// A name directly in the directory that is emptied, which stays and does not count.
    public var keeps: StaticString?
    /// The tree's path, for messages; nil asks the kernel where one is needed.
    public var path: PathBytes?
    /// What the removal is called in errors.
    public var operation = "remove"

    public init() {}
}

/// What a removal did.
public struct TreeRemovalReport: Sendable, Equatable, BitwiseCopyable {
    /// Names that were removed.
    public var removals: UInt64 = 0
    /// Bytes of the regular files, links and other names that are no directories, of which no name was left; counted
    /// only where asked for.
    public var freedBytes: UInt64 = 0

    public init() {}

    mutating func add(_ other: TreeRemovalReport) {
        removals += other.removals
        freedBytes += other.freedBytes
    }
}

/// Removes trees by descriptor, without following links or crossing into other mounts.
///
/// What is gone already counts as removed. A directory that got new names meanwhile is emptied once more. A mount point
/// ends it with `.inUse` and its path: unmount that, and call again. Mounts are looked for before anything is removed;
/// one that is made later stops the removal where it lies. However deep the tree is, it costs few descriptors and no
/// recursion. `TreeRemover` does the same many times over.
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
        var remover = TreeRemover(options: options)
        _ = try remover.remove(name, in: parent)
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
        var remover = TreeRemover(options: options)
        _ = try remover.removeContents(of: directory)
    }
    /// The error for a name that cannot be removed because something is mounted on it.
    public static func mountPoint(_ path: PathBytes?, _ operation: String) -> LayerError {
        LayerError(
            SystemCallError("unlinkat", errno: EBUSY), operation, path: path,
            hint: "something is mounted there: unmount it first")
    }
}
