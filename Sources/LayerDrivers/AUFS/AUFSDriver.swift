import LayerEngine
public import LayerModel
import LayerMounts
import LinuxIO

/// Unions of aufs, Docker's first driver (drivers.md 8).
///
/// Kernels with aufs have become rare, so mounting lies behind `AUFSMounts`. A store that Docker left can be read on any
/// kernel: open it with `configuration.forReading`, and differences to direct parents, sizes and files need no mount.
public final class AUFSDriver: LayerDriver {
    public let name = DriverName.aufs
    public let configuration: DriverConfiguration
    let store: AUFSStore
    let system: any AUFSMounts
    /// Why nothing can be mounted here; only where the store was opened for reading.
    let refusal: LayerError?
    let references: MountReferences
    let locks = LayerLocks<LayerID>()
    /// Nil where a store that is only read lies on a file system that cannot be written to.
    let lock: HomeLock?
    /// aufs's mounts are made one at a time: under one lock, whatever the layer.
    private let mounting = LayerLocks<PathBytes>()
    /// Whether `dirperm1` works, once it was tried.
    private let hasDirperm1 = Monitor<Bool?>(nil)
    private let mountOptions: [String]

    /// Opens the store at `configuration.home`, or makes an empty one.
    ///
    /// Throws `driverUnavailable` where the kernel has no aufs (`AUFS was not found in /proc/filesystems`), in a user
    /// namespace (`AUFS cannot be used in non-init user namespace`), and on file systems that aufs does not work over;
    /// before anything is made.
    public convenience init(_ configuration: DriverConfiguration) throws(LayerError) {
        try self.init(configuration, system: SystemAUFSMounts())
    }

    /// As the public one, with another system.
    package init(_ configuration: DriverConfiguration, system: any AUFSMounts) throws(LayerError) {
        self.configuration = configuration
        self.system = system
        mountOptions = try Self.options(configuration)
        references = MountReferences(.custom { (path) throws(LayerError) in try system.state(of: path) })
        store = AUFSStore(configuration)
        var refusal: LayerError?
        do throws(LayerError) {
            try Self.checkSystem(configuration, system)
        } catch {
            guard configuration.forReading else { throw error }
            try Self.checkReadable(store)
            refusal = error
        }
        self.refusal = refusal
        guard refusal == nil else {
            lock = try? HomeLock(configuration.home)
            try lock?.share()
            return
        }
        try store.makeHome()
        let lock = try HomeLock(configuration.home)
        self.lock = lock
        try store.sweep(lock, system)
    }

    private static func options(_ configuration: DriverConfiguration) throws(LayerError) -> [String] {
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
        let place = try StoreFiles.isDirectory(home) ? home : configuration.root
        let kind = try FileSystemKind.of(place)
        guard ![FileSystemKind.aufs, .btrfs, .ecryptfs].contains(kind) else {
            throw DriverErrors.incompatibleFileSystem(
                .aufs, home: home, found: "AUFS is not supported over \(kind.name)")
        }
    }

    /// Nothing is made where a store is only read.
    private static func checkReadable(_ store: AUFSStore) throws(LayerError) {
        for path in [store.lists, store.home.appending("diff")] {
            guard try StoreFiles.isDirectory(path) else {
                throw LayerError(
                    .notFound, "open the store", path: store.home,
                    cause: .reason("there is no directory \(path), so it is no store of aufs"),
                    hint: "name the driver's own directory, such as /var/lib/docker/aufs")
            }
        }
    }

    // MARK: layers

    public func create(_ id: LayerID, parent: LayerID?, options: CreateOptions) throws(LayerError) {
        guard options.storage.isEmpty else {
            throw DriverErrors.storageOption(id, "--storage-opt is not supported for aufs")
        }
        if let refusal { throw refusal }
        try locks.withLock(id, sharing: parent) { () throws(LayerError) in try store.create(id, parent: parent) }
    }

    public func remove(_ id: LayerID) throws(LayerError) {
        try store.validate(id)
        try locks.withLock(id) { () throws(LayerError) in
            let target = store.mountPoint(id)
            try unmount(target)
            try store.remove(id)
            references.forget(target)
        }
    }

    public func exists(_ id: LayerID) -> Bool { store.exists(id) }
    public func layers() throws(LayerError) -> [LayerID] { try store.layers() }
    public func parent(of id: LayerID) throws(LayerError) -> LayerID? { try store.ancestors(of: id).first }

    // MARK: mounting

    public func get(_ id: LayerID, options: MountOptions) throws(LayerError) -> PathBytes {
        try refuseIDMaps(options)
        try store.require(id, "mount the layer")
        return try locks.withLock(id) { () throws(LayerError) in
            let lowers = try store.lowerPaths(of: id)
            guard !lowers.isEmpty else { return store.contents(id) }
            if let refusal { throw refusal }
            let target = store.mountPoint(id)
            switch try references.acquire(target) {
            case .isMounted: return target
            case .mustReplace: try system.unmount(target)
            case .mustMount: break
            }
            do throws(LayerError) {
                try StoreFiles.makeDirectory(target, mode: 0o755, owner: configuration.rootOwner)
                try mount(store.contents(id), lowers, options.label, at: target)
            } catch {
                references.forget(target)
                throw LayerError(
                    error.code, "error creating aufs mount to", path: target, cause: .reason(error.description),
                    hint: error.hint)
            }
            return target
        }
    }

    private func mount(_ own: PathBytes, _ lowers: [PathBytes], _ label: String, at target: PathBytes)
        throws(LayerError)
    {
        try mounting.withLock(configuration.home) { () throws(LayerError) in
            let knows = usesDirperm1 ?? dirperm1Works()
            hasDirperm1.change { $0 = knows }
            let branches = AUFSBranches(
                own: own, lowers: lowers, label: label, hasDirperm1: knows, extra: mountOptions)
            let calls = try branches.calls(target: target, pageSize: KernelMount.dataLimit + 1)
            do throws(LayerError) {
                for call in calls { try system.mount(call) }
            } catch {
                try? system.unmount(target)
                throw error
            }
        }
    }

    /// Tries `dirperm1`, with which a permission changed above hides the one below, in directories of its own.
    private func dirperm1Works() -> Bool {
        let base = PathBytes("/tmp/docker-aufs-base" + StoreFiles.randomText())
        let union = PathBytes("/tmp/docker-aufs-union" + StoreFiles.randomText())
        defer { for path in [union, base] { try? StoreFiles.removeDirectory(path) } }
        do throws(LayerError) {
            for path in [base, union] { try StoreFiles.makeDirectory(path, mode: 0o700, owner: .current) }
            let data = Array("br:".utf8) + base.bytes + Array(",dirperm1,\(AUFSBranches.inodeTable)".utf8)
            try system.mount(AUFSMountCall(target: union, isRemount: false, data: data))
            try system.unmount(union)
            // The trial leaves its own files in the branch.
            try Trash.remove(base)
            return true
        } catch {
            return false
        }
    }

    /// Whether unions get `dirperm1`; nil before the first mount.
    var usesDirperm1: Bool? { hasDirperm1.change { $0 } }

    public func put(_ id: LayerID) throws(LayerError) {
        guard !AUFSStore.isReserved(id.component) else { return }
        try locks.withLock(id) { () throws(LayerError) in
            let target = store.mountPoint(id)
            guard try references.release(target) == .mustUnmount else { return }
            try unmount(target)
        }
    }

    /// Takes the union at `target` apart; nothing where none is.
    func unmount(_ target: PathBytes) throws(LayerError) {
        guard try system.state(of: target) != .notMounted else { return }
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
                return configuration.log(
                    .warning, "auplink is missing; hard links across branches of \(target) may part")
            }
            if result.succeeded { return }
            guard result.ending == .exited(22) else {
                return configuration.log(.warning, "auplink \(target) flush: \(result.errorText)")
            }
        }
    }

    /// Unmounts every union of the store, and nothing that others mounted (K7).
    public func cleanup() throws(LayerError) {
        var first: LayerError?
        for name in try StoreFiles.names(in: store.home.appending("mnt")) {
            let target = store.mountPoint(LayerID(trusted: name))
            do throws(LayerError) {
                try unmount(target)
                references.forget(target)
            } catch {
                configuration.log(.warning, "unmounting \(target): \(error)")
                if first == nil { first = error }
            }
        }
        if let first { throw first }
    }
}
