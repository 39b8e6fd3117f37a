public import LayerModel
public import LinuxIO

/// What was decided while nothing was known of the lower directories.
final class StagingNotes {
    /// A name on the way of a path.
    struct Step: BitwiseCopyable {
        let record: UInt32
        /// Whether nothing of the lower directories could show there.
        let isHidden: Bool
        /// The directory that was made there then; another one may have its name now. 0 for none.
        var child: UInt32 = 0
    }

    /// Names on the way of a path at which a lower directory would have been asked, in order.
    var steps: [Step] = []
    /// Names whose deletion was written.
    var deletions: [UInt32] = []
    /// Something cannot be mended afterwards: the layer has to be unpacked anew upon its lower directories.
    var mustBeRedone = false
}

/// A layer that is unpacked into an empty upper directory before the layers below it are there, so that layers of an image need not
/// wait for each other. When they are there, `settle` makes it what it would be if it had been unpacked upon them.
///
/// What only the lower directories could tell was noted on the way. Deletions that hide nothing go, and with them directories that
/// were made for nothing else; directories that the archive does not describe get what the lower ones have. Where a path would have
/// led through a lower link, where a hard link's target lies below, and where the whole root is hidden, `settle` gives up, and the
/// layer has to be unpacked once more in the usual way: that is rare.
///
/// Used by one thread at a time.
public final class StagedApply {
    private let target: UpperTarget
    private let notes: StagingNotes
    private var isSettled = false

    private init(_ target: UpperTarget, _ notes: StagingNotes) {
        self.target = target
        self.notes = notes
    }

    /// Unpacks the stream into the empty directory `root`; `options.lowers` is not used. Threads have ended when this returns, and
    /// of descriptors only one stays open.
    ///
    /// Throws what `ApplyEngine.apply` does. An error may come of not knowing the lower directories.
    public static func unpack<Source: SlabSource & ~Copyable>(
        _ source: inout Source, root: borrowing OwnedDescriptor, options: ApplyOptions
    ) throws(LayerError) -> StagedApply {
        var options = options
        options.lowers = nil
        let (entries, share) = try ApplyEngine.prepare(root, options)
        let notes = StagingNotes()
        let target = try UpperTarget(entries, share, notes: notes)
        var job = ApplyJob(target)
        do throws(LayerError) {
            try job.readArchive(&source)
            if try !job.pause() { notes.mustBeRedone = true }
            target.files.shutDown()
            target.files.release(&source)
        } catch {
            target.files.shutDown()
            job.abandon()
            target.files.release(&source)
            throw error
        }
        target.tree.closeDirectories()
        return StagedApply(target, notes)
    }

    /// Completes the layer upon the directories `lowers`, nearest first. Nil where that cannot be done: then what was unpacked
    /// is to be thrown away. Called once.
    public func settle(over lowers: [PathBytes]) throws(LayerError) -> ApplyReport? {
        precondition(!isSettled, "a layer is settled once")
        isSettled = true
        guard try target.settle(over: lowers, notes) else { return nil }
        try target.complete()
        target.tree.closeDirectories()
        return target.log.report
    }
}

extension UpperTarget {
    /// Notes that a lower directory would have been asked for a name on the way of a path.
    func note(_ place: NamePlace, in notes: StagingNotes) throws(LayerError) {
        guard !isMark(place.name) else { return }
        let isHidden = try attempt { () throws(SystemCallError) in try marks.isBelowOpaque(place.node) }
        notes.steps.append(StagingNotes.Step(record: place.record, isHidden: isHidden))
    }

    func noteImplied(_ child: UInt32) {
        guard let notes, let last = notes.steps.indices.last,
            notes.steps[last].record == tree.nodes[Int(child)].entry
        else { return }
        notes.steps[last].child = child
    }

    /// Mends what was decided without the lower directories. False where that cannot be done.
    fileprivate func settle(over paths: [PathBytes], _ notes: StagingNotes) throws(LayerError) -> Bool {
        // A lowest layer has no marks at all.
        guard !notes.mustBeRedone, !paths.isEmpty else { return false }
        // What this layer hides now did not hide anything when it was asked for: that was noted only where nothing did.
        let below = try LowerView(paths, dialect: dialect, nil, mostOpen: 256)
        var needless: [UInt32] = []
        for step in notes.steps {
            try options.cancel.check()
            let place = NamePlace(step.record, in: tree.records)
            let child = step.child == 0 || tree.isRemoved(step.child) ? nil : step.child
            guard !step.isHidden, let found = try entry(place, in: below) else {
                if let child, tree.flags(ofDirectory: child).isDisjoint(with: .unpacked) { needless.append(child) }
                continue
            }
            guard found.metadata.kind == .directory else { return false }
            if let child, tree.flags(ofDirectory: child).contains(.implied) {
                try dress(child, as: found, isNew: false)
            }
        }
        guard try removeNeedlessDeletions(notes, below) else { return false }
        for child in needless.reversed() { try removeNeedless(child) }
        return true
    }

    private func entry(_ place: NamePlace, in below: LowerView) throws(LayerError) -> LowerEntry? {
        let tree = tree
        return try attempt { () throws(SystemCallError) in try below.entry(place.name, in: place.node, tree) }
    }

    /// Takes back deletions of names that no lower directory has. False where a directory was made opaque for one.
    private func removeNeedlessDeletions(_ notes: StagingNotes, _ below: LowerView) throws(LayerError) -> Bool {
        for record in notes.deletions {
            try options.cancel.check()
            let place = NamePlace(record, in: tree.records)
            guard !tree.isRemoved(place.node), try entry(place, in: below) == nil else { continue }
            if tree.flags(place).contains(.whiteout) {
                let isLeftOut = tree.flags(place).contains(.leftOut)
                try removeDeletion(place)
                if isLeftOut { tree.leaveOut(place) }
            } else if try kind(of: place) == .directory {
                return false
            }
        }
        return true
    }

    /// Removes a directory that was made for the deletion of something that is not there.
    private func removeNeedless(_ child: UInt32) throws(LayerError) {
        guard !tree.isRemoved(child) else { return }
        let place = tree.place(ofDirectory: child)
        let arena = tree.arena
        let handle = try entries.handle(place.node)
        try attempt { () throws(SystemCallError) in
            try handle.descriptor.removeDirectory(arena.pointer(place.name))
        }
        tree.clear(place)
    }
}
