public import LayerModel
import LinuxIO

/// Unpacks a layer beside its contents and swaps the two when it is complete, so that a layer has all of its archive or
/// nothing of it, whenever the process ends.
final class ContentSwap: ApplyOutcome {
    static let prefix = ".ldiff-contents-"

    private let contents: PathBytes
    private let building: PathBytes
    private let locked: @Sendable (() throws(LayerError) -> Void) throws(LayerError) -> Void
    private let record: @Sendable (RecordedSize) throws(LayerError) -> Void

    /// Makes the directory beside `contents`, with its mode and owner. `locked` runs the swap under the layer's lock;
    /// `record` keeps the size.
    init(
        contents: PathBytes, locked: @escaping @Sendable (() throws(LayerError) -> Void) throws(LayerError) -> Void,
        record: @escaping @Sendable (RecordedSize) throws(LayerError) -> Void
    ) throws(LayerError) {
        self.contents = contents
        self.locked = locked
        self.record = record
        guard let parent = contents.splitLast()?.directory, let metadata = try StoreFiles.metadata(contents) else {
            throw LayerError(.notFound, "open the layer's contents", path: contents)
        }
        building = parent.appending(Self.prefix + StoreFiles.randomText())
        do throws(LayerError) {
            try StoreFiles.makeDirectory(
                building, mode: metadata.mode & 0o7777, owner: Owner(uid: metadata.uid, gid: metadata.gid))
        } catch {
            try? StoreFiles.removeDirectory(building)
            throw error
        }
    }

    /// The directory to unpack into.
    func open() throws(LayerError) -> OwnedDescriptor {
        try attempt("open", building) { () throws(SystemCallError) in try building.open([.readOnly, .directory]) }
    }

    func keep(_ size: RecordedSize) throws(LayerError) {
        try locked { () throws(LayerError) in
            guard try StoreFiles.isEmpty(contents) else {
                throw LayerError(
                    .inUse, "apply the layer", path: contents,
                    cause: .reason("something else was written into it meanwhile"))
            }
            try StoreFiles.exchange(building, with: contents)
            do throws(LayerError) {
                try StoreFiles.removeDirectory(building)
            } catch {
                // Something was written into it at the last moment: it is the layer's content again.
                try StoreFiles.exchange(building, with: contents)
                throw error
            }
            // The layer is complete: a size that cannot be kept is counted when it is asked for.
            try? record(size)
        }
    }

    func abandon() { try? Trash.remove(building) }
}

extension ApplyTarget {
    /// A directory beside `contents`, which are empty, swapped in under the layer's lock when the layer is complete.
    static func beside(
        _ contents: PathBytes, dialect: WhiteoutDialect, lowers: [PathBytes]?, sizeRule: SizeRule,
        locked: @escaping @Sendable (() throws(LayerError) -> Void) throws(LayerError) -> Void,
        record: @escaping @Sendable (RecordedSize) throws(LayerError) -> Void = { (_) throws(LayerError) in }
    ) throws(LayerError) -> ApplyTarget {
        let swap = try ContentSwap(contents: contents, locked: locked, record: record)
        do throws(LayerError) {
            return ApplyTarget(
                root: try swap.open(), path: contents, dialect: dialect, lowers: lowers, sizeRule: sizeRule,
                outcome: swap)
        } catch {
            swap.abandon()
            throw error
        }
    }

    /// `contents` themselves, which hold something already.
    static func into(
        _ contents: PathBytes, dialect: WhiteoutDialect, lowers: [PathBytes]?
    ) throws(LayerError) -> ApplyTarget {
        let root = try attempt("open", contents) { () throws(SystemCallError) in
            try contents.open([.readOnly, .directory])
        }
        return ApplyTarget(
            root: root, path: contents, dialect: dialect, lowers: lowers, sizeRule: .walked, outcome: InPlaceApply())
    }
}

/// Unpacks into a layer that is mounted or holds something already: there is nothing to take back.
final class InPlaceApply: ApplyOutcome {
    private let mounted: Mounted?

    private final class Mounted: Sendable {
        let layer: MountedLayer
        init(_ layer: consuming MountedLayer) { self.layer = layer }
    }

    /// Into the contents themselves.
    init() { mounted = nil }

    /// Into a mounted tree, which stays mounted until this ends.
    init(_ layer: consuming MountedLayer) {
        mounted = Mounted(layer)
    }

    func keep(_ size: RecordedSize) throws(LayerError) {}
    func abandon() {}
}

extension LayerDriver {
    /// Unpacking onto the layer's mounted tree: right for every layer, whiteouts delete.
    public func mountedTarget(_ id: LayerID) throws(LayerError) -> ApplyTarget {
        let layer = try mount(id)
        let path = layer.path
        let root = try attempt("open the layer", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory])
        }
        return ApplyTarget(
            root: root, path: path, dialect: .tree, lowers: nil, sizeRule: .headerSum, outcome: InPlaceApply(layer))
    }
}
