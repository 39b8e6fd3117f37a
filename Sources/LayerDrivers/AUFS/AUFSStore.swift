import LayerModel
import LayerMounts
import LinuxIO

/// The layout of `AUFSView`, changed: how layers are made and taken out.
///
/// A layer is three names in three directories, of which `layers/ID` is what makes it be there: it comes last and goes first.
/// In between a claim beside the half-made layer says which branch belongs to it.
struct AUFSStore: Sendable {
    let view: AUFSView
    let work: WorkArea
    let writer: StoreWriter
    let unfinished: UnfinishedLayers
    private let directoryOwner: Owner
    private let rootOwner: Owner
    let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void

    init(_ view: AUFSView, _ configuration: DriverConfiguration) {
        self.view = view
        writer = StoreWriter()
        work = WorkArea(home: view.home, AUFSView.parts, writer)
        unfinished = UnfinishedLayers(writer)
        directoryOwner = configuration.directoryOwner
        rootOwner = configuration.rootOwner
        log = configuration.log
    }

    /// Makes the home directory and its three parts where they are missing.
    func makeHome() throws(LayerError) {
        try writer.makeDirectory(view.home, mode: 0o710, owner: directoryOwner, parents: true)
        for name in ["mnt", "diff", "layers"] {
            try writer.makeDirectory(view.home.appending(name), mode: 0o710, owner: directoryOwner)
        }
    }

    // MARK: making

    /// A layer that is built aside.
    struct New: Sendable {
        let id: LayerID
        let parent: LayerID?
        let holder: WorkDirectory
        var branch: PathBytes { holder.path.appending("diff") }
        fileprivate var list: PathBytes { holder.path.appending("list") }
        fileprivate var mark: PathBytes { holder.path.appending(UnfinishedLayers.fileName) }
    }

    func build(_ id: LayerID, parent: LayerID?, _ options: CreateOptions) throws(LayerError) -> New {
        try view.validate(id)
        try withNames { () throws(LayerError) in try refuseTaken(id) }
        guard parent != id else { throw DriverErrors.ownParent(id) }
        var text: [UInt8] = []
        if let parent {
            try view.require(parent, "create a layer on the parent")
            for line in [parent] + (try view.ancestors(of: parent)) {
                text += line.component.bytes + [UInt8(ascii: "\n")]
            }
        }
        let new = New(id: id, parent: parent, holder: try work.make())
        do throws(LayerError) {
            try writer.makeDirectory(new.branch, mode: 0o755, owner: rootOwner)
            try writer.write(text, to: new.list, mode: 0o644, durable: true)
            if options.isUnfinished {
                try unfinished.write(new.mark)
                try unfinished.adopt(id, new.mark)
            }
            if let claim = try AUFSClaim(id, branch: new.branch) {
                try writer.write(claim.bytes, to: new.holder.path.appending(AUFSClaim.fileName), mode: 0o600)
            }
        } catch {
            abandon(new)
            throw error
        }
        return new
    }

    /// Gives a built layer its names; returns the layer's lock. The caller holds the locks of the layer and its parent.
    @discardableResult
    func publish(_ new: New) throws(LayerError) -> FileLock {
        let id = new.id
        if let parent = new.parent {
            try view.require(parent, "create a layer on the parent")
            if view.seesUnfinished { try unfinished.finish(parent, view.unfinishedMark(parent)) }
        }
        return try withNames { () throws(LayerError) in try publish(new, as: id) }
    }

    private func publish(_ new: New, as id: LayerID) throws(LayerError) -> FileLock {
        try refuseTaken(id)
        guard case .taken(let lock) = try FileLock.tryTake(new.list, .exclusive) else {
            throw LayerError(.inUse, "lock", path: new.list)
        }
        let branch = view.contents(id)
        var (hasMountPoint, hasMark) = (false, false)
        do throws(LayerError) {
            try writer.move(new.branch, to: branch)
            hasMountPoint = try writer.makeDirectory(view.mountPoint(id), mode: 0o755, owner: rootOwner)
            if try StoreFiles.metadata(new.mark) != nil {
                try writer.unlink(view.unfinishedMark(id))
                try writer.move(new.mark, to: view.unfinishedMark(id))
                hasMark = true
            }
            try writer.move(new.list, to: view.list(id))
        } catch {
            let problem = error
            // In this order: as long as the branch stays, the claim tells the next sweep whose the mount point is.
            do throws(LayerError) {
                if hasMark { try writer.move(view.unfinishedMark(id), to: new.mark) }
                if hasMountPoint { try writer.removeDirectory(view.mountPoint(id)) }
                if try AUFSClaim(in: new.holder.path)?.means(branch) == true { try writer.move(branch, to: new.branch) }
            } catch {
                new.holder.leave()
            }
            throw problem
        }
        try? new.holder.remove()
        return lock
    }

    /// Removes what was built and not published.
    func abandon(_ new: New) {
        if let state = try? view.state(of: new.id), state != .unfinished { unfinished.forget(new.id) }
        try? new.holder.remove()
    }

    /// Runs `body` while nobody else gives or takes names. A layer has three, so whoever does not hold this sees half of one that
    /// is being made or removed.
    private func withNames<Result>(_ body: () throws(LayerError) -> Result) throws(LayerError) -> Result {
        let names = try FileLock.take(view.lists, .exclusive)
        defer { withExtendedLifetime(names) {} }
        return try body()
    }

    /// Throws `alreadyExists` for a layer, and for what lies under one of its names and is none. Two empty directories are
    /// what a crash leaves: they give way. The caller holds the names.
    private func refuseTaken(_ id: LayerID) throws(LayerError) {
        let state = try view.state(of: id)
        if state == .unfinished, !view.seesUnfinished, try UnfinishedLayers.hasMaker(view.unfinishedMark(id)) {
            throw DriverErrors.beingMade(id)
        }
        if state != .absent { throw DriverErrors.exists(id) }
        if try view.isHalfMade(id) {
            log(.warning, "replacing the unfinished layer \(id)")
            try dropHalfMade(id)
        }
        for path in [view.list(id), view.contents(id), view.mountPoint(id)] where try StoreFiles.metadata(path) != nil {
            throw DriverErrors.occupied(id, "\(path) belongs to no layer")
        }
    }

    /// Removes two empty directories. The caller holds the names.
    private func dropHalfMade(_ id: LayerID) throws(LayerError) {
        for path in [view.contents(id), view.mountPoint(id)] { try writer.removeDirectory(path) }
    }

    /// Sees to what lies under a name that is no layer's: what a crash left empty goes. False where it is a layer by now.
    ///
    /// Throws `invalidArgument` for anything else.
    func clearUnproven(_ id: LayerID) throws(LayerError) -> Bool {
        try withNames { () throws(LayerError) in
            guard try view.proven(id) == nil else { return false }
            if try view.isHalfMade(id) {
                try dropHalfMade(id)
                return true
            }
            for path in [view.list(id), view.contents(id)] where try StoreFiles.metadata(path) != nil {
                throw LayerError(
                    .invalidArgument, "remove the layer", path: path,
                    cause: .reason("a layer of aufs has a list and a branch, and this one's other part is missing"),
                    hint: "ldiff layer check --repair ends what a crash left; remove anything else by hand")
            }
            return true
        }
    }

    // MARK: removing

    /// Takes an unmounted layer out of the store, its list first. The caller holds its lock.
    func take(_ layer: ProvenLayer) throws(LayerError) -> WorkDirectory {
        try withNames { () throws(LayerError) in try takeNames(layer.id) }
    }

    private func takeNames(_ id: LayerID) throws(LayerError) -> WorkDirectory {
        let holder = try work.make()
        let list = holder.path.appending("list")
        do throws(LayerError) {
            guard let claim = try AUFSClaim(id, branch: view.contents(id), isRemoved: true) else {
                throw DriverErrors.unknownLayer("remove the layer", id)
            }
            try writer.write(claim.bytes, to: holder.path.appending(AUFSClaim.fileName), mode: 0o600)
            try writer.move(view.list(id), to: list)
            try move(view.contents(id), to: holder.path.appending("diff"))
        } catch {
            // The layer stays, with what belongs to it.
            try? writer.move(list, to: view.list(id))
            try? holder.remove()
            throw error
        }
        try? unfinished.finish(id, view.unfinishedMark(id))
        // Without the claim that lies there nobody would know whose mount point it is.
        if !dropMountPoint(id) { holder.leave() }
        return holder
    }

    /// A name that another mount namespace still shows a mount on is busy for a while: tried again, then an error.
    private func move(_ path: PathBytes, to target: PathBytes) throws(LayerError) {
        for attempt in 1... {
            do throws(LayerError) {
                return try writer.move(path, to: target)
            } catch {
                guard error.code == .inUse, attempt < 5 else { throw error }
                ProcessState.sleep(milliseconds: 100)
            }
        }
    }

    /// Whether the mount point of a layer that is gone is gone too.
    private func dropMountPoint(_ id: LayerID) -> Bool {
        do throws(LayerError) { try writer.removeDirectory(view.mountPoint(id)) } catch {
            log(.warning, "the mount point of a layer that is gone stays until the store is opened again: \(error)")
            return false
        }
        return true
    }

    // MARK: what crashes leave

    /// Takes the branch of a layer that an ended process was making or removing to its other parts, unless it was complete.
    func gather(_ left: WorkDirectory) throws(LayerError) {
        guard let claim = try AUFSClaim(in: left.path) else { return }
        try withNames { () throws(LayerError) in try gather(left, claim) }
    }

    private func gather(_ left: WorkDirectory, _ claim: AUFSClaim) throws(LayerError) {
        guard try StoreFiles.metadata(view.list(claim.id)) == nil else { return }
        if try claim.means(view.contents(claim.id)) {
            try writer.move(view.contents(claim.id), to: left.path.appending("diff"))
        } else {
            // A removal that ended after it had taken the branch: of a layer that was made the mount point is ours.
            guard claim.isRemoved, try StoreFiles.metadata(view.contents(claim.id)) == nil else { return }
        }
        try? writer.unlink(view.unfinishedMark(claim.id))
        let point = view.mountPoint(claim.id)
        if try StoreFiles.isDirectory(point), try StoreFiles.isEmpty(point), !dropMountPoint(claim.id) { left.leave() }
    }
}
