import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Unions of aufs, Docker's first driver.
///
/// Kernels with aufs have become rare, so mounting lies behind `AUFSMounts`. A store that Docker left can be read on any
/// kernel, see `AUFSReader`.
public final class AUFSDriver: LayerDriver {
    public let name = DriverName.aufs
    public let configuration: DriverConfiguration
    private let looking: AUFSReader
    let store: AUFSStore
    let system: any AUFSMounts
    let references: MountReferences
    let guarded: LayerGuard
    /// aufs's mounts are made one at a time: under one lock, whatever the layer.
    private let mounting = LayerLocks<PathBytes>()
    /// Whether it was said that auplink is missing.
    private let knowsOfAuplink = Monitor(false)
    /// Whether `dirperm1` works, once it was tried.
    private let hasDirperm1: Monitor<Bool?>
    private let mountOptions: [String]
    private var view: AUFSView { looking.view }

    /// Opens the store at `configuration.home` for writing, or makes an empty one.
    ///
    /// Throws `driverUnavailable` where the kernel has no aufs (`AUFS was not found in /proc/filesystems`), in a user
    /// namespace (`AUFS cannot be used in non-init user namespace`), and on file systems that aufs does not work over;
    /// before anything is made.
    public convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        try self.init(configuration, system: SystemAUFSMounts())
    }

    /// As the public one, with another system.
    public init(_ configuration: DriverConfiguration, system: any AUFSMounts) throws(LayerError) {
        self.configuration = configuration
        self.system = system
        mountOptions = try Self.options(configuration)
        references = MountReferences(.custom { (path) throws(LayerError) in try system.state(of: path) })
        let found = Monitor<Bool?>(nil)
        hasDirperm1 = found
        looking = AUFSReader(configuration) { found.change { $0 } }
        let view = looking.view
        store = AUFSStore(view, configuration)
        guarded = LayerGuard { (id) throws(LayerError) in try view.proven(id)?.path }
        try Self.checkSystem(configuration, system)
        try view.refuseForeign()
        try store.makeHome()
        let store = store
        store.work.sweep(configuration.log) { (left) throws(LayerError) in try store.gather(left) }
        guard configuration.seesUnfinished else { return }
        try store.unfinished.takeOver(StoreFiles.names(in: view.lists), in: view, configuration) {
            (id) throws(LayerError) in try remove(id)
        }
    }

    static func options(_ configuration: DriverConfiguration) throws(LayerError) -> [String] {
        var words: [String] = []
        for option in try configuration.options(for: .aufs) {
            guard option.key == "mountopt" else { throw DriverConfiguration.unknown(option.key, .aufs) }
            words += option.value.split(separator: ",").map(String.init)
        }
        return words
    }

    private static func checkSystem(_ configuration: DriverConfiguration, _ system: any AUFSMounts) throws(LayerError) {
        guard !system.isNested else {
            throw DriverErrors.notSupported(.aufs, why: "AUFS cannot be used in non-init user namespace")
        }
        guard try system.kernelHasAUFS() else {
            throw DriverErrors.notSupported(
                .aufs, why: "AUFS was not found in /proc/filesystems",
                hint: "a store that is there can be read and migrated all the same: ldiff layer migrate")
        }
        let home = configuration.home
        let place = try StoreFiles.nearestDirectory(home)
        let kind = try FileSystemKind.of(place)
        guard ![FileSystemKind.aufs, .btrfs, .ecryptfs].contains(kind) else {
            throw DriverErrors.incompatibleFileSystem(
                .aufs, home: home, found: "AUFS is not supported over \(kind.name)")
        }
    }

    public var reader: any StoreReader { looking }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        try refuse(id, options)
        try guarded.withLock(id, sharing: parent) { (_) throws(LayerError) in
            let new = try store.build(id, parent: parent, options)
            do throws(LayerError) { try store.publish(new) } catch {
                store.abandon(new)
                throw error
            }
        }
    }

    private func refuse(_ id: LayerID, _ options: CreateOptions) throws(LayerError) {
        guard options.storage.isEmpty else {
            throw DriverErrors.storageOption(id, "--storage-opt is not supported for aufs")
        }
        try view.validate(id)
    }

    public func newLayerTarget(
        _ id: LayerID, parent: LayerID?, options: CreateOptions, readWrite: Bool
    ) throws(LayerError) -> ApplyTarget {
        try refuse(id, options)
        var lowers: [PathBytes] = []
        if let parent {
            try view.require(parent, "create a layer on the parent")
            lowers = try view.stack(parent)
        }
        let new = try store.build(id, parent: parent, options)
        let (driver, lock) = (self, Monitor<FileLock?>(nil))
        let outcome = NewLayer(
            in: new.holder,
            NewLayer.Steps(
                publish: { (_) throws(LayerError) in
                    try driver.guarded.withLock(id, sharing: parent) { (_) throws(LayerError) in
                        let own = try driver.store.publish(new)
                        lock.change { $0 = own }
                    }
                    try driver.makeDurable()
                },
                takeBack: { () throws(LayerError) in
                    // Its lock is held since it was made, so it is the same layer still.
                    guard let own = lock.change({ $0 }), try own.isAt(driver.view.list(id)),
                        let layer = try driver.view.proven(id)
                    else { return }
                    try driver.store.take(layer).discard(driver.configuration.log)
                }))
        return try ApplyTarget(
            outcome,
            { () throws(LayerError) in
                try attempt("open", new.branch) { () throws(SystemCallError) in
                    try new.branch.open([.readOnly, .directory])
                }
            }, at: new.branch, .aufs, lowers, .unpacked)
    }

    private func makeDurable() throws(LayerError) {
        guard configuration.sync == .fileSystem else { return }
        for name in ["diff", "layers"] { try store.writer.sync(view.home.appending(name)) }
    }

    public func remove(_ id: LayerID) throws(LayerError) {
        try view.validate(id)
        if try view.proven(id) == nil, try store.clearUnproven(id) {
            return configuration.log(.debug, "no layer \(id) to remove")
        }
        let removed = try guarded.withLock(id) { (own) throws(LayerError) -> WorkDirectory? in
            guard own != nil, let layer = try view.proven(id) else { return nil }
            let mark = view.unfinishedMark(id)
            if view.seesUnfinished { try store.unfinished.adopt(id, mark) }
            if try store.unfinished.isOthers(id, mark) { throw DriverErrors.beingMade(id) }
            let target = view.mountPoint(id)
            try unmount(target)
            for place in [view.contents(id), target] {
                guard let other = try MountTable.mounts(atOrBelow: place).first else { continue }
                throw LayerError(
                    .inUse, "remove the layer", path: id.component,
                    cause: .reason("something is mounted in it, at \(other.mountPoint)"), hint: "unmount that first")
            }
            let removed = try store.take(layer)
            references.forget(target)
            return removed
        }
        removed?.discard(configuration.log)
    }

    public func finish(_ id: LayerID) throws(LayerError) {
        guard view.seesUnfinished else { return }
        try store.unfinished.finish(id, view.unfinishedMark(id))
    }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        try view.require(id, "mount the layer")
        return try guarded.withLock(id) { (_) throws(LayerError) in
            try view.require(id, "mount the layer")
            if !options.isForFilling { try finish(id) }
            let lowers = try view.lowerPaths(of: id)
            guard !lowers.isEmpty else {
                try options.access.requireUnprotected(id)
                return view.contents(id)
            }
            let target = view.mountPoint(id)
            try replacePart(at: target, of: lowers.count + 1)
            switch try references.acquire(target) {
            case .isMounted:
                try references.allow(options.access, target)
                return target
            case .mustReplace: try system.unmount(target)
            case .mustMount: break
            }
            do throws(LayerError) {
                try store.writer.makeDirectory(target, mode: 0o755, owner: configuration.rootOwner)
                try mount(view.contents(id), lowers, options, at: target)
            } catch {
                references.forget(target)
                // aufs says ENOSPC for more branches than it was built for, 127 unless chosen otherwise.
                let isTooDeep = error.code == .noSpace && lowers.count >= 127
                throw LayerError(
                    isTooDeep ? .limitExceeded : error.code, "error creating aufs mount to", path: target,
                    cause: .reason(error.description),
                    hint: isTooDeep ? "this kernel's aufs takes fewer than \(lowers.count + 1) branches" : error.hint)
            }
            return target
        }
    }

    /// Takes away a union that lacks branches: a process was killed between the mounts that make a long one. The caller holds
    /// the layer's lock, so nobody is in the middle of it.
    private func replacePart(at target: PathBytes, of count: Int) throws(LayerError) {
        guard try system.state(of: target) == .mounted, let shown = try system.branchCount(of: target), shown != count
        else { return }
        configuration.log(
            .warning, "the union at \(target) shows \(shown) of \(count) branches; it is mounted anew")
        try system.unmount(target)
        references.forget(target)
    }

    private func mount(_ own: PathBytes, _ lowers: [PathBytes], _ options: MountOptions, at target: PathBytes)
        throws(LayerError)
    {
        try mounting.withLock(configuration.home) { () throws(LayerError) in
            let found = usesDirperm1 ?? AUFSTrial.run(system, in: configuration.home, store.writer)
            hasDirperm1.change { $0 = found }
            let knows = found ?? false
            let branches = AUFSBranches(
                own: own, lowers: lowers, label: options.label, hasDirperm1: knows, extra: mountOptions)
            let calls = try branches.calls(target: target, pageSize: KernelMount.dataLimit + 1)
            do throws(LayerError) {
                for call in calls { try system.mount(call) }
                if options.access == .readOnly { try system.protect(target) }
            } catch {
                try? system.unmount(target)
                throw error
            }
        }
    }

    /// Whether unions get `dirperm1`; nil before the first mount, and where it could not be tried.
    var usesDirperm1: Bool? { hasDirperm1.change { $0 } }

    public func put(_ id: LayerID) throws(LayerError) {
        guard !AUFSView.isReserved(id.component) else { return }
        try guarded.withLock(id) { (_) throws(LayerError) in
            let target = view.mountPoint(id)
            if references.count(target) <= 1 { try MountTable.requireNothing(below: target, "unmount the layer") }
            guard try references.release(target) == .mustUnmount else { return }
            try unmount(target)
        }
    }

    /// Takes the union at `target` apart; nothing where none is. Throws `inUse` where others mounted something in it.
    func unmount(_ target: PathBytes) throws(LayerError) {
        guard try system.state(of: target) != .notMounted else { return }
        try MountTable.requireNothing(below: target, "unmount the layer")
        try flushLinks(target)
        for attempt in 0... {
            do throws(LayerError) {
                return try system.unmount(target)
            } catch {
                guard error.code == .inUse, attempt < 5 else { throw error }
                ProcessState.sleep(milliseconds: 100)
            }
        }
    }

    /// Status 22 is EINVAL: the mount table changed while the program read it.
    private func flushLinks(_ target: PathBytes) throws(LayerError) {
        for _ in 0..<5 {
            guard let result = try system.flushLinks(target) else {
                let wasSaid = knowsOfAuplink.change { knows in
                    defer { knows = true }
                    return knows
                }
                if wasSaid { return }
                return configuration.log(
                    .warning, "auplink is missing, of the package aufs-tools; hard links across branches may part")
            }
            if result.succeeded { return }
            guard result.ending == .exited(22) else {
                return configuration.log(.warning, "auplink \(target) flush: \(result.errorText)")
            }
        }
    }

    /// More unions than this at one point are nobody's intention.
    private static let maximumStack = 64

    /// Unmounts every union of the store's layers, and nothing that others mounted (K7).
    public func cleanup() throws(LayerError) {
        var first: LayerError?
        for name in try StoreFiles.names(in: view.home.appending("mnt")) {
            let id = LayerID(trusted: name)
            // What nobody can look at is not proven ours.
            guard ((try? view.state(of: id)) ?? .absent) != .absent else { continue }
            let target = view.mountPoint(id)
            do throws(LayerError) {
                // One union may lie on another.
                for _ in 0..<Self.maximumStack where try system.state(of: target) != .notMounted { try unmount(target) }
                references.forget(target)
            } catch {
                configuration.log(.warning, "unmounting \(target): \(error)")
                if first == nil { first = error }
            }
        }
        if let first { throw first }
    }

    // MARK: differences

    public func applyTarget(for id: LayerID, onto parent: LayerID?) throws(LayerError) -> ApplyTarget {
        try view.require(id, "apply the layer")
        if let parent { try view.require(parent, "apply the layer onto") }
        let own = try guarded.withLock(id) { (_) throws(LayerError) -> ApplyTarget? in
            if view.seesUnfinished { try store.unfinished.beginFilling(id, view.unfinishedMark(id)) }
            guard try view.ancestors(of: id).first == parent, try system.state(of: view.mountPoint(id)) == .notMounted
            else { return nil }
            let (contents, lowers) = (view.contents(id), try view.lowerPaths(of: id))
            guard try StoreFiles.isEmpty(contents) else {
                return try store.writer.target(into: contents, dialect: .aufs, lowers: lowers) {
                    () throws(LayerError) in try self.finish(id)
                }
            }
            return try swapTarget(id, contents, lowers)
        }
        if let own { return own }
        return try mountedTarget(id, isFilled: !StoreFiles.isEmpty(view.contents(id)))
    }

    /// Beside the layer's empty branch: where layers are made, since in `diff` every name is a layer's.
    private func swapTarget(_ id: LayerID, _ contents: PathBytes, _ lowers: [PathBytes]) throws(LayerError)
        -> ApplyTarget
    {
        let (driver, holder) = (self, try store.work.make())
        let building = holder.path.appending("diff")
        do throws(LayerError) {
            _ = try store.writer.twin(of: contents) { (mode, owner) throws(LayerError) in
                try store.writer.makeDirectory(building, mode: mode, owner: owner)
            }
        } catch {
            try? holder.remove()
            throw error
        }
        let swap = ContentSwap(
            contents, building, in: holder, store.writer,
            ContentSwap.Steps(
                locked: { (swap) throws(LayerError) in
                    try driver.guarded.withLock(id) { (_) throws(LayerError) in
                        guard try driver.system.state(of: driver.view.mountPoint(id)) == .notMounted else {
                            throw LayerError(
                                .inUse, "apply the layer", path: id.component,
                                cause: .reason("it was mounted meanwhile"))
                        }
                        try swap()
                        // Until the mark is gone the layer is swept with its maker: nothing may be reported as done.
                        try driver.finish(id)
                    }
                    try driver.makeDurable()
                },
                finished: { _ in }))
        return try ApplyTarget(swap, swap.open, at: contents, .aufs, lowers, .unpacked)
    }

    public func repair() throws(LayerError) -> [Finding] {
        var check = AUFSCheck(view, AUFSMender(store: store, system: system, guarded: guarded))
        return try check.run()
    }
}
