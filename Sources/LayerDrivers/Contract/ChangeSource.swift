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

    /// A source that needs no mount: `trees.upper` holds just what changed.
    public init(native trees: SourceOptions) {
        self.trees = trees
        isNative = true
        layer = nil
        parent = nil
    }

    /// Lets contents decide where metadata agree, so that what was rewritten within a clock tick is seen: all that an
    /// upper directory holds; of two mounted trees, only what is not one file seen twice.
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
    }
}

/// Keeps a mounted layer where an optional of a value that cannot be copied would not do.
private final class HeldMount: Sendable {
    private let mounted: MountedLayer
    init(_ mounted: consuming MountedLayer) { self.mounted = mounted }
}

extension LayerDriver {
    /// The comparison of the two mounted trees: right for any two layers, at the price of walking both.
    public func comparedTrees(_ id: LayerID, _ parent: LayerID?) throws(LayerError) -> ChangeSource {
        let layer = try mount(id, options: MountOptions(readOnly: true))
        var trees = newSource(layer.path)
        guard let parent else { return ChangeSource(trees, layer, nil) }
        let below = try mount(parent, options: MountOptions(readOnly: true))
        trees.lowers = [below.path]
        return ChangeSource(trees, layer, below)
    }

    /// A source over `upper` with the driver's settings.
    public func newSource(_ upper: PathBytes) -> SourceOptions {
        var trees = SourceOptions(upper: upper)
        trees.workers = configuration.workers
        trees.io = configuration.io
        return trees
    }
}

extension LayerDriver {
    /// Whether `parent` is what the layer was made on, so that the layer's own directory may be the difference.
    ///
    /// Throws `notFound` unless both exist.
    func isDirectParent(_ parent: LayerID?, of id: LayerID) throws(LayerError) -> Bool {
        guard exists(id) else { throw DriverErrors.unknownLayer("compare the layer", id) }
        if let parent, !exists(parent) { throw DriverErrors.unknownLayer("compare with the layer", parent) }
        return try self.parent(of: id) == parent
    }

    /// What a walk of the tree at `path` counts.
    func walkedUsage(_ path: PathBytes) throws(LayerError) -> DiskUsage {
        let size = try DiffEngine.size(newSource(path))
        return DiskUsage(byteCount: size.bytes, inodeCount: size.inodes)
    }
}
