import Glibc
public import LayerEngine
public import LayerModel
import LinuxIO

/// Where a layer's difference is read, and what must stay mounted meanwhile.
public struct ChangeSource: ~Copyable, Sendable {
    /// The trees, with the driver's number of workers.
    public var trees: SourceOptions
    /// Whether the upper directory alone tells the difference, so that the cost follows the change.
    public let isNative: Bool
    /// Waits for the size that is counted here, where the driver keeps it.
    var recording: (any SizeRecording)?
    private let layer: HeldMount?
    private let parent: HeldMount?
    /// Keeps what is looked at where it is.
    private let looks: [any LayerLook]

    /// A source that needs no mount: `trees.upper` holds just what changed.
    public init(native trees: SourceOptions) { self.init(native: trees, []) }

    /// The same, of trees that `looks` keep where they are.
    init(native trees: SourceOptions, _ looks: [any LayerLook]) {
        self.trees = trees
        isNative = true
        layer = nil
        parent = nil
        self.looks = looks
    }

    /// A source that compares the view of `trees.upper` over its lowers with another (`trees.base`), or two whole trees, which
    /// `looks` keep where they are.
    init(compared trees: SourceOptions, _ looks: [any LayerLook] = []) {
        self.trees = trees
        isNative = false
        layer = nil
        parent = nil
        self.looks = looks
    }

    /// Whether the trees lie at paths that lead there without this source.
    public var liesAtPaths: Bool { layer == nil && looks.allSatisfy { $0 is UnpackedLook } }

    func checkLooks() throws(LayerError) {
        for look in looks { try look.check() }
    }

    /// Lets contents decide where metadata agree, so that what was rewritten within a clock tick is seen: all that an
    /// upper directory holds; of two views, only what is not one file seen twice.
    mutating func compareContents() {
        if trees.contents == nil { trees.contents = isNative ? .always : .changedInodes }
    }

    /// Two mounted trees, or one that is new as a whole.
    init(_ trees: SourceOptions, _ layer: consuming MountedLayer, _ parent: consuming MountedLayer?) {
        self.trees = trees
        isNative = false
        self.layer = HeldMount(layer)
        switch consume parent {
        case .some(let mounted): self.parent = HeldMount(mounted)
        case .none: self.parent = nil
        }
        looks = []
    }
}

/// Which directories a difference is read in: one that was removed, or replaced, in the middle of it must not pass for one
/// with less in it.
struct ReadDirectories {
    private let operation: String
    private var seen: [(path: PathBytes, device: UInt64, inode: UInt64)] = []

    init(_ operation: String, _ trees: SourceOptions) throws(LayerError) {
        self.operation = operation
        for path in [trees.upper] + trees.lowers + (trees.base ?? []) {
            guard let found = try Self.look(operation, path) else {
                throw LayerError(.notFound, operation, path: path, cause: .reason("it was removed"))
            }
            seen.append((path, found.device, found.inode))
        }
    }

    /// What is at a path; nil where there is no directory. One that is held open may be named, `/proc/self/fd/N/.`.
    private static func look(_ operation: String, _ path: PathBytes) throws(LayerError) -> EntryMetadata? {
        do throws(SystemCallError) {
            return try path.open([.pathOnly, .directory, .noFollow]).metadata()
        } catch {
            if [ENOENT, ENOTDIR, ELOOP].contains(error.errno) { return nil }
            throw LayerError(error, operation, path: path)
        }
    }

    /// Throws `fileChanged` unless they are the same still.
    func check(_ source: borrowing ChangeSource) throws(LayerError) {
        try source.checkLooks()
        for (path, device, inode) in seen {
            if let now = try Self.look(operation, path), now.device == device, now.inode == inode { continue }
            throw LayerError(
                .fileChanged, operation, path: path, cause: .reason("the layer was removed or replaced meanwhile"),
                hint: "try again, if the layer is there")
        }
    }
}

/// The tree of a layer for as long as it is looked at, where that must be kept.
protocol LayerLook: AnyObject, Sendable {
    var path: PathBytes { get }
    /// Throws `fileChanged` where it is not what it was any more.
    func check() throws(LayerError)
}

extension LayerLook {
    func check() throws(LayerError) {}
}

/// Keeps a mounted layer where an optional of a value that cannot be copied would not do.
private final class HeldMount: Sendable {
    private let mounted: MountedLayer
    init(_ mounted: consuming MountedLayer) { self.mounted = mounted }
}

extension LayerDriver {
    /// The comparison of the two mounted trees: right for any two layers, at the price of mounting and walking both.
    public func comparedTrees(_ id: LayerID, _ parent: LayerID?) throws(LayerError) -> ChangeSource {
        let layer = try mount(id, options: MountOptions(access: .looking))
        var trees = newSource(layer.path)
        guard let parent else { return ChangeSource(trees, layer, nil) }
        let below = try mount(parent, options: MountOptions(access: .looking))
        trees.lowers = [below.path]
        return ChangeSource(trees, layer, below)
    }
}

extension StoreReader {
    /// A source over `upper` with the store's settings.
    public func newSource(_ upper: PathBytes) -> SourceOptions {
        var trees = SourceOptions(upper: upper)
        trees.workers = configuration.workers
        trees.io = configuration.io
        trees.hasNoMounts = true
        return trees
    }

    /// What a walk of the tree at `path` counts.
    func walkedUsage(_ path: PathBytes) throws(LayerError) -> DiskUsage {
        let size = try DiffEngine.size(newSource(path))
        return DiskUsage(byteCount: size.bytes, inodeCount: size.inodes)
    }
}
