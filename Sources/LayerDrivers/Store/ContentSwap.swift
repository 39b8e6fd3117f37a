public import LayerModel
import LinuxIO

/// Unpacks a layer beside its contents and swaps the two when it is complete, so that a layer has all of its archive or
/// nothing of it, whenever the process ends.
final class ContentSwap: ApplyOutcome {
    static let prefix = TemporaryName.prefix + "contents-"

    /// What a store adds to the swap.
    struct Steps: Sendable {
        /// Runs its body under the layer's lock, if the layer may be written to still.
        let locked: @Sendable (() throws(LayerError) -> Void) throws(LayerError) -> Void
        /// Runs under the lock when the layer is complete: what it fails with is too late to count.
        let finished: @Sendable (RecordedSize) -> Void
    }

    private let contents: PathBytes
    /// Takes the contents' place; lies in `holder`, or is it.
    private let building: PathBytes
    private let holder: WorkDirectory
    private let steps: Steps
    private let writer: StoreWriter

    init(
        _ contents: PathBytes, _ building: PathBytes, in holder: WorkDirectory, _ writer: StoreWriter, _ steps: Steps
    ) {
        self.contents = contents
        self.building = building
        self.holder = holder
        self.steps = steps
        self.writer = writer
    }

    /// A new place beside a layer's contents for what is to take their place.
    static func place(beside contents: PathBytes) -> PathBytes {
        let name = PathBytes(prefix + StoreFiles.randomText())
        return contents.splitLast()?.directory.appending(name) ?? name
    }

    /// The directory to unpack into.
    func open() throws(LayerError) -> OwnedDescriptor {
        try attempt("open", building) { () throws(SystemCallError) in try building.open([.readOnly, .directory]) }
    }

    func keep(_ size: RecordedSize) throws(LayerError) {
        try steps.locked { () throws(LayerError) in
            guard try StoreFiles.isEmpty(contents) else {
                throw LayerError(
                    .inUse, "apply the layer", path: contents,
                    cause: .reason("something else was written into it meanwhile"))
            }
            do throws(LayerError) {
                try writer.exchange(building, with: contents)
            } catch {
                // Without an exchange: over an empty directory, and only over that, another can be renamed.
                guard error.code == .unsupported else { throw error }
                try writer.move(building, over: contents)
                try? holder.remove()
                return steps.finished(size)
            }
            do throws(LayerError) {
                try writer.removeDirectory(building)
            } catch {
                // Something was written into it at the last moment: it is the layer's content again.
                try writer.exchange(building, with: contents)
                throw error
            }
            try? holder.remove()
            steps.finished(size)
        }
    }

    /// Makes a packed layer the layer's contents, which stay empty.
    func keep(_ packed: WorkDirectory) throws(LayerError) {
        guard let layer = contents.splitLast()?.directory else { return }
        try steps.locked { () throws(LayerError) in
            guard try StoreFiles.isEmpty(contents) else {
                throw LayerError(
                    .inUse, "apply the layer", path: contents,
                    cause: .reason("something else was written into it meanwhile"))
            }
            try writer.move(packed.path, to: layer.appending(OverlayView.packedName))
        }
        try? holder.remove()
    }

    func abandon() { try? holder.remove() }
}

extension StoreWriter {
    /// An empty directory like `contents`, made by `make` with their mode and owner.
    func twin<Result>(
        of contents: PathBytes, _ make: (_ mode: UInt32, _ owner: Owner) throws(LayerError) -> Result
    ) throws(LayerError) -> Result {
        guard let found = try StoreFiles.metadata(contents) else {
            throw LayerError(.notFound, "open the layer's contents", path: contents)
        }
        return try make(found.mode & 0o7777, Owner(uid: found.uid, gid: found.gid))
    }

    /// Where a layer is unpacked beside its empty `contents`, to be swapped in when it is complete. The caller holds the
    /// layer's lock.
    func target(
        beside contents: PathBytes, dialect: WhiteoutDialect, lowers: [PathBytes]?, sizeRule: ApplyTarget.SizeRule,
        _ steps: ContentSwap.Steps
    ) throws(LayerError) -> ApplyTarget {
        let building = ContentSwap.place(beside: contents)
        let holder = try twin(of: contents) { (mode, owner) throws(LayerError) in
            try WorkDirectory(making: building, mode: mode, owner: owner, self)
        }
        let swap = ContentSwap(contents, building, in: holder, self, steps)
        return try ApplyTarget(swap, swap.open, at: contents, dialect, lowers, sizeRule)
    }

    /// The contents themselves, which hold something already. `begin` runs before anything is unpacked, `finish` at the end.
    func target(
        into contents: PathBytes, dialect: WhiteoutDialect, lowers: [PathBytes]?,
        begin: @escaping @Sendable () throws(LayerError) -> Void = {},
        finish: @escaping @Sendable () throws(LayerError) -> Void
    ) throws(LayerError) -> ApplyTarget {
        let root = try attempt("open", contents) { () throws(SystemCallError) in
            try contents.open([.readOnly, .directory])
        }
        return ApplyTarget(
            root: root, path: contents, dialect: dialect, lowers: lowers, sizeRule: .walked, isFilled: true,
            outcome: InPlaceApply(begin: begin, finish: finish))
    }
}

extension ApplyTarget {
    /// A target whose root is opened by `open`; if that fails nothing of it is left.
    init(
        _ outcome: any ApplyOutcome, _ open: () throws(LayerError) -> OwnedDescriptor, at path: PathBytes,
        _ dialect: WhiteoutDialect, _ lowers: [PathBytes]?, _ sizeRule: SizeRule
    ) throws(LayerError) {
        do throws(LayerError) {
            self.init(
                root: try open(), path: path, dialect: dialect, lowers: lowers, sizeRule: sizeRule, outcome: outcome)
        } catch {
            outcome.abandon()
            throw error
        }
    }
}

/// Unpacks into a layer that is mounted or holds something already: there is nothing to take back. Where it was unfinished it
/// stays so until all is there.
final class InPlaceApply: ApplyOutcome {
    private let mounted: Mounted?
    private let beginning: @Sendable () throws(LayerError) -> Void
    private let finish: @Sendable () throws(LayerError) -> Void

    private final class Mounted: Sendable {
        let layer: MountedLayer
        init(_ layer: consuming MountedLayer) { self.layer = layer }
    }

    /// Into the contents themselves.
    init(
        begin: @escaping @Sendable () throws(LayerError) -> Void,
        finish: @escaping @Sendable () throws(LayerError) -> Void
    ) {
        mounted = nil
        beginning = begin
        self.finish = finish
    }

    /// Into a mounted tree, which stays mounted until this ends.
    init(_ layer: consuming MountedLayer, finish: @escaping @Sendable () throws(LayerError) -> Void) {
        mounted = Mounted(layer)
        beginning = {}
        self.finish = finish
    }

    func begin() throws(LayerError) { try beginning() }
    func keep(_ size: RecordedSize) throws(LayerError) { try finish() }
    func abandon() {}
}

extension LayerDriver {
    /// Unpacking onto the layer's mounted tree: right for every layer, whiteouts delete. `isFilled`: the layer holds
    /// something of its own.
    public func mountedTarget(_ id: LayerID, isFilled: Bool) throws(LayerError) -> ApplyTarget {
        var options = MountOptions()
        options.isForFilling = true
        let layer = try mount(id, options: options)
        let path = layer.path
        let root = try attempt("open the layer", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory])
        }
        return ApplyTarget(
            root: root, path: path, dialect: .tree, lowers: nil, sizeRule: .headerSum, isFilled: isFilled,
            outcome: InPlaceApply(layer) { () throws(LayerError) in try self.finish(id) })
    }
}
