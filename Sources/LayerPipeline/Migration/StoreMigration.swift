package import LayerDrivers
package import LayerModel
package import LinuxIO
package import Synchronization

/// One layer that is to be copied, or need not be.
package struct MigrationStep: Sendable {
    package var id: LayerID
    package var parent: LayerID?
    /// Bytes of the layer's files in the store that it comes from.
    package var size: UInt64
    /// Whether the target has a layer of this id. It is compared, and only an empty one is written to.
    package var isThere: Bool
}

/// What a migration did.
package struct MigrationReport: Sendable {
    package var copied: [LayerID] = []
    /// Layers that the target had already, found to be equal.
    package var skipped: [LayerID] = []
    /// Bytes of the tar streams of the copied layers.
    package var copiedBytes: UInt64 = 0
    package var entries: UInt64 = 0
    /// Sockets have no place in a layer and are not copied.
    package var skippedSockets = 0
    /// Nor have names that begin with `.wh.`, but in aufs and fuse-overlayfs, where nobody can have made them.
    package var reservedNames = 0
    /// Attributes that the administrator keeps out of copies, in /etc/xattr.conf.
    package var leftOutAttributes = LeftOutAttributes()
    /// Attributes whose names no layer can hold, and so none of these copies.
    package var unwritableAttributes = LeftOutAttributes()
    /// Layers that may hold as much as they like in the target, whose driver cannot limit them as the source does.
    package var lostLimits: [LayerID] = []

    package init() {}
}

/// How far a migration is, for another thread.
package final class MigrationProgress: Sendable {
    /// Bytes and entries read of layers; each layer counts once when it is copied and once when it is verified.
    package let bytes = Atomic<UInt64>(0)
    package let entries = Atomic<UInt64>(0)
    /// About as many bytes will be read.
    package let totalBytes = Atomic<UInt64>(0)
    private let current = Mutex<Progress?>(nil)

    package init() {}

    /// Bytes and entries so far, those of the layer under way included.
    package var now: (bytes: UInt64, entries: UInt64) {
        current.withLock { progress in
            (
                bytes.load(ordering: .relaxed) + (progress?.bytes.load(ordering: .relaxed) ?? 0),
                entries.load(ordering: .relaxed) + (progress?.entries.load(ordering: .relaxed) ?? 0)
            )
        }
    }

    /// Counts a job that begins.
    func begin() -> Progress {
        let progress = Progress()
        current.withLock { $0 = progress }
        return progress
    }

    /// Adds what the job did.
    func end() {
        current.withLock { progress in
            guard let done = progress else { return }
            bytes.wrappingAdd(done.bytes.load(ordering: .relaxed), ordering: .relaxed)
            entries.wrappingAdd(done.entries.load(ordering: .relaxed), ordering: .relaxed)
            progress = nil
        }
    }
}

/// Copies layers from one store to another, whatever their drivers are, through Diff and ApplyDiff.
///
/// A layer is in the target as a whole or not at all, and is compared with its source before it counts. Running it again
/// goes on where it stopped. The source is only read.
package struct StoreMigration: Sendable {
    package let source: any StoreReader
    /// Nil where there is no store yet, and a plan is all that is wanted.
    package let target: (any StoreReader)?
    package let interruption: Interruption
    package let progress: MigrationProgress
    /// Parents of layers of which the source's own files tell none.
    package let parents: [LayerID: LayerID]
    /// Whether long runs of zeros in the copies become holes.
    package var sparse = SparsePolicy.auto

    package init(
        from source: any StoreReader, to target: (any StoreReader)?, parents: [LayerID: LayerID] = [:],
        interruption: Interruption = Interruption(), progress: MigrationProgress = MigrationProgress()
    ) {
        self.source = source
        self.target = target
        self.parents = parents
        self.interruption = interruption
        self.progress = progress
    }

    /// The layers `ids` with all that they stand on, parents first; every layer of the source if none is named.
    ///
    /// Throws `notFound` for a layer that the source does not have, `alreadyExists` where the target has one of the same
    /// id on another parent.
    package func plan(_ ids: [LayerID] = []) throws(LayerError) -> [MigrationStep] {
        guard source.configuration.home != target?.configuration.home else {
            throw LayerError(
                .invalidArgument, "migrate", path: source.configuration.home,
                cause: .reason("both stores are the same directory"))
        }
        var steps: [MigrationStep] = []
        var planned: Set<LayerID> = []
        for id in ids.isEmpty ? try source.layers() : ids {
            var chain: [(LayerID, LayerID?)] = []
            var next: LayerID? = id
            while let layer = next, !planned.contains(layer) {
                guard try source.exists(layer) else { throw DriverErrors.unknownLayer("migrate", layer) }
                planned.insert(layer)
                next = try parent(of: layer)
                chain.append((layer, next))
            }
            for (layer, parent) in chain.reversed() {
                try interruption.flag.check()
                steps.append(try step(layer, parent))
            }
        }
        return steps
    }

    private func parent(of id: LayerID) throws(LayerError) -> LayerID? {
        if let parent = try source.parent(of: id) { return parent }
        guard let parent = parents[id], try source.exists(parent) else { return nil }
        return parent
    }

    private func step(_ id: LayerID, _ parent: LayerID?) throws(LayerError) -> MigrationStep {
        let isThere = try target?.exists(id) == true
        if isThere, let target {
            let found = try target.parent(of: id)
            guard found == parent else {
                throw LayerError(
                    .alreadyExists, "migrate", path: id.component,
                    cause: .reason(
                        "the target has a layer of this id on \(found?.description ?? "nothing"), not on "
                            + (parent?.description ?? "nothing")),
                    hint: "remove it from the target with ldiff layer remove, or choose another target")
            }
        }
        var options = DifferenceOptions()
        options.cancel = interruption.flag
        return MigrationStep(
            id: id, parent: parent, size: try source.diffSize(id, since: parent, options: options), isThere: isThere)
    }

    /// Does what `steps` say in `target`, the target opened for writing; `report` is called with each layer and whether it was
    /// copied, when it is done.
    ///
    /// Throws what reading, writing or the comparison failed with. Layers done before then stay.
    package func run(
        _ steps: [MigrationStep], in target: any LayerDriver,
        _ report: (MigrationStep, _ isCopied: Bool) -> Void = { _, _ in }
    ) throws(LayerError) -> MigrationReport {
        var result = MigrationReport()
        progress.totalBytes.store(steps.reduce(0) { $0 + $1.size * 2 }, ordering: .relaxed)
        for step in steps {
            try interruption.flag.check()
            let copy = LayerCopy(self, step, target)
            let isCopied = try copy.run(&result)
            if isCopied { result.copied.append(step.id) } else { result.skipped.append(step.id) }
            report(step, isCopied)
        }
        return result
    }
}
