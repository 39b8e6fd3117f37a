public import LayerModel
public import LinuxIO

/// What is compared: an upper tree, and the lower trees it changes.
public struct SourceOptions: Sendable {
    /// The directory whose state is exported.
    public var upper: PathBytes
    /// The directories below it, nearest first. For the dialect `tree` at most one: the tree to compare with.
    public var lowers: [PathBytes]
    /// What the view of `upper` over its lowers is compared with: directories that merge, nearest first, in the same dialect;
    /// none for nothing, so that all is new. Nil: `lowers`. Not for the dialect `tree`.
    ///
    /// What both have in common must have the same directories behind it in both, as the layers of a store do.
    public var base: [PathBytes]?
    /// How `upper` spells deletions; `.tree` is a whole tree.
    public var dialect: WhiteoutDialect
    /// Worker threads; nil means one a core.
    public var workers: Int?
    public var io: IOMode
    /// Reads of file contents that one worker has in flight at most, where the ring carries them out.
    public var ringWindow: Int
    public var cancel: CancelFlag
    public var progress: Progress?
    /// When contents are compared; nil leaves it to the profile.
    public var contents: ContentComparison?
    /// Whether owner, mode and kind of each file lie in `user.containers.override_stat`, as in stores of
    /// containers/storage with `force_mask`. Anywhere else any user could give himself files of root with it.
    public var obeysOwnerOverrides = false
    /// Nothing that is mounted on directories of the trees is part of them, as in a store of layers. Then they are read
    /// through views that open no device nodes, which union directories always are; see README.md of LayerEngine.
    public var hasNoMounts = false
    /// Names directly in the root that belong to neither side, such as `.zfs`.
    public var ignoredAtTop: [PathBytes] = []
    /// For two trees of which one is a later state of the other (a clone of its snapshot), so that equal inode numbers
    /// are one file's: the inodes that may differ, directories above them included. The rest is not looked at. Nil: all.
    public var changedInodes: Set<UInt64>?
    /// Which paths count; nil for all.
    public var filter: LayerFilter?

    public init(upper: PathBytes) {
        self.upper = upper
        lowers = []
        dialect = .tree
        workers = nil
        io = .auto
        ringWindow = 256
        cancel = CancelFlag()
        progress = nil
    }
}

/// The opened roots of a job: index 0 is the upper, then the lowers, then those of the base that are none of these.
final class LayerRoots: Sendable {
    private let descriptors: [SharedDescriptor]
    private let paths: [PathBytes]

    /// Opens every root; a missing or unreadable one, or one that is no directory, is an error naming it.
    ///
    /// `withoutDevices`: contents will be read, of directories on which no mounts count. A union mount too sees its
    /// directories through views of its own.
    init(_ options: SourceOptions, withoutDevices: Bool) throws(LayerError) {
        let shown = [options.upper] + options.lowers
        let all = shown + (options.base ?? []).filter { !shown.contains($0) }
        var handles: [SharedDescriptor] = []
        for path in all {
            let root = try Self.open(path)
            guard withoutDevices, let view = root.withoutDevices() else {
                handles.append(SharedDescriptor(root))
                continue
            }
            handles.append(SharedDescriptor(view))
        }
        descriptors = handles
        paths = all
    }

    private static func open(_ path: PathBytes) throws(LayerError) -> OwnedDescriptor {
        guard !path.bytes.isEmpty, !path.bytes.contains(0) else {
            throw LayerError(.notFound, "open directory", path: path, cause: .reason("not a path"))
        }
        let terminated = path.bytes + [0]
        do throws(SystemCallError) {
            return try OwnedDescriptor.open(NamePointer(terminated: terminated.rawBytes), [.readOnly, .directory])
        } catch {
            throw LayerError(error, "open directory", path: path)
        }
    }

    var count: Int { descriptors.count }

    /// The open root of a layer.
    func shared(_ layer: Int) -> SharedDescriptor { descriptors[layer] }

    func path(_ layer: Int) -> PathBytes { paths[layer] }
}
