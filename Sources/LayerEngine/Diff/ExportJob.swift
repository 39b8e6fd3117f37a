import LayerModel
import LinuxIO
import Synchronization
import TarCodec

/// Everything the workers of one export share.
final class ExportJob: Sendable {
    let store: TreeStore
    let roots: LayerRoots
    let plan: ExportPlan
    let flow: ExportFlow
    let rules: ProfileRules
    let options: DiffOptions
    let ownerNames: OwnerNames?
    let io: IOMode
    let walk: WalkPlan
    /// Slabs of one size that go round between the encoders and the writer.
    let pool = SlabPool(slabCapacity: ExportPlan.segmentSize + 16_384, keep: ExportFlow.window)
    let largeFiles = LargeFiles()
    private let planning: Planning

    /// The planner, which belongs to the worker that got `ExportTask.plan` until it gives it back; the flow's lock lies
    /// between one turn and the next, which is what `@unchecked Sendable` stands for.
    private final class Planning: @unchecked Sendable {
        var planner: ExportPlanner
        init(_ planner: ExportPlanner) { self.planner = planner }
    }

    init(walk: WalkPlan, rules: ProfileRules, options: DiffOptions) throws(LayerError) {
        self.walk = walk
        store = walk.store
        roots = walk.roots
        plan = try ExportPlan()
        flow = ExportFlow(plansAhead: walk.purpose == .export)
        self.rules = rules
        self.options = options
        ownerNames = rules.ownerNames ? try OwnerNames() : nil
        io = walk.io
        try TreeWalk.addRoot(walk)
        planning = Planning(ExportPlanner(store, plan, rules, purpose: walk.purpose))
    }

    /// One turn of the planner.
    func decideItems() throws(LayerError) {
        let flow = flow
        let outcome = try planning.planner.advance { flow.isWalked($0) }
        if outcome.isComplete, let progress = walk.progress {
            let bytes = planning.planner.archiveBytes + UInt64(TarEncoder.trailerByteCount)
            progress.totalBytes.store(bytes, ordering: .relaxed)
        }
        flow.planned(plan.segments.count, waitingFor: outcome.wanted, isComplete: outcome.isComplete)
    }

    /// What the planner counted, once all is planned.
    var skippedSockets: Int { planning.planner.skippedSockets }
    var contentBytes: UInt64 { planning.planner.contentBytes }

    var mapsIDs: Bool {
        rules.mapsIDs && !(options.uidMap.isIdentity && options.gidMap.isIdentity)
    }

    /// Whether any item is a link to `target`, once all is planned. Slow, and asked only when a file of several names
    /// cannot be read.
    func hasLinks(to target: ExportItem) -> Bool {
        for index in 0..<plan.items.count {
            let link = plan.items[index].link
            if link != noIndex, plan.items[Int(link)].entry == target.entry { return true }
        }
        return false
    }
}

extension SegmentEncoder {
    /// Opens the file that holds the data of a metadata-only copy: the nearest lower file of its name, or of the
    /// name its redirect gives, that has data itself.
    mutating func openData(_ item: ExportItem, _ entry: EntryRecord) throws(LayerError) -> OwnedDescriptor {
        guard let data = try walker.dataFile(of: entry.name, origin: entry.origin, in: item.directory) else {
            throw LayerError(
                .notFound, "find the data of", path: fullPath(item, entry),
                cause: .reason("the file holds metadata only (metacopy), and no lower directory has its data"),
                hint: "name the lower directories with --lower, nearest first")
        }
        return data
    }
}

extension WalkWorker {
    /// Follows a metadata-only copy in the physical directory `origin` to its data; nil where no lower directory has
    /// them.
    mutating func dataFile(of name: NameRef, origin: UInt32, in directory: UInt32)
        throws(LayerError) -> OwnedDescriptor?
    {
        let stack = try restStack(of: directory)
        let redirect = try marks(of: name, in: origin, isDirectory: false, directory).redirect
        return try dataFile(of: name, origin: origin, in: stack, redirect, directory)
    }

    /// The same, given the directories that merge and the copy's own redirect.
    mutating func dataFile(
        of name: NameRef, origin: UInt32, in stack: StackRange, _ redirect: OverlayRedirect?, _ directory: UInt32
    ) throws(LayerError) -> OwnedDescriptor? {
        // The copy lies in the upper directory, or in one of those merged below it.
        var position = 0
        for index in 0..<Int(stack.count) where store.stacks[Int(stack.start) + index] == origin {
            position = index + 1
        }
        var search = LowerSearch<WalkWorker>(stack, from: position, name, for: directory)
        try take(redirect, &search, behind: behind(origin))
        guard let found = try findData(&search) else { return nil }
        return try openData(found.name, in: found.place, directory)
    }

    private mutating func openData(_ name: NameRef, in parent: UInt32, _ directory: UInt32)
        throws(LayerError) -> OwnedDescriptor?
    {
        guard let metadata = try look(atPhysical: parent, name, directory), metadata.kind == .regular else {
            return nil
        }
        return try open(SeenFile(metadata), name, parent, directory)
    }
}
