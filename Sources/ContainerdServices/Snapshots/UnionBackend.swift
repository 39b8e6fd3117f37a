import LayerDrivers
import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO
import Synchronization

/// Snapshots as directories that a union mount puts over each other: overlay2, fuse-overlayfs, aufs; and erofs, as
/// overlay2, but some of the directories are links to where a packed snapshot is mounted.
final class UnionBackend: SnapshotBackend {
    let driver: DriverName
    private let directories: SnapshotDirectories
    private let spares: SpareDirectories
    private let facts: Mutex<Facts?>
    private let remapsIDs: Bool
    let packed: PackedContents?

    /// What is found out by trying.
    private struct Facts {
        /// Options behind the directories.
        var extra: [String] = []
        var usesUserAttributes = false
    }

    /// `background` has something done on a thread that may block.
    init(
        _ driver: DriverName, home: PathBytes, _ options: SnapshotterOptions,
        log: @escaping @Sendable (DriverConfiguration.LogLevel, String) -> Void = { _, _ in },
        background: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
    ) throws(LayerError) {
        self.driver = driver
        remapsIDs = options.remapsIDs
        if driver == .erofs, remapsIDs {
            throw LayerError(
                .driverUnavailable, "use erofs in", path: home,
                cause: .reason("remap_ids is set, and packed layers cannot be shown with other ids"),
                hint: "use overlay2, or set remap_ids = false")
        }
        directories = try SnapshotDirectories(home, holdsPacked: driver == .erofs)
        // Whether marks are a user's attributes is the same for all mounts of one process.
        packed =
            driver == .erofs
            ? PackedContents(
                PackedContentsView(layers: directories.path), form: options.packedForm, way: options.packedWay,
                userAttributes: OverlaySupport.usesUserXattr, log: log) : nil
        spares = try SpareDirectories(directories, background: background)
        facts = Mutex(nil)
    }

    var dialect: WhiteoutDialect {
        switch driver {
        case .aufs: .aufs
        case .fuseOverlayFS:
            ProcessState.lacksTrustedAttributes ? .fuseOverlayFSUserXattr : .fuseOverlayFS
        default: facts.withLock { $0?.usesUserAttributes == true } ? .overlayUserXattr : .overlay
        }
    }

    /// Whiteouts of a layer survive in an upper directory only.
    var takesLateParents: Bool { driver != .aufs }

    func prepare() throws(LayerError) {
        guard facts.withLock({ $0 == nil }) else { return }
        let found = try findFacts()
        facts.withLock { $0 = found }
    }

    private func findFacts() throws(LayerError) -> Facts {
        var found = Facts()
        switch driver {
        case .fuseOverlayFS:
            guard !directories.home.bytes.contains(UInt8(ascii: ":")) else {
                throw LayerError(
                    .driverUnavailable, "use fuse-overlayfs in", path: directories.home,
                    cause: .reason("it cannot mount directories with a colon in their path"),
                    hint: "choose another root")
            }
            try FuseOverlayHelper().check(in: directories.home)
            // Whoever mounts does it with this program.
            _ = try CommandRunner.find(PathBytes("mount.fuse3"), package: "fuse3")
        case .aufs:
            try AUFSSupport.check()
            found.extra = ["dio", "xino=/dev/shm/aufs.xino"]
        default:
            if driver == .erofs, !ErofsMount.isSupported {
                throw LayerError(
                    .driverUnavailable, "use erofs in", path: directories.home,
                    cause: .reason("this kernel has no EROFS, or does not let it be mounted here"),
                    hint: "load the module erofs and run as root, or use overlay2")
            }
            let support = OverlaySupport(home: directories.home)
            found.usesUserAttributes = support.needsUserXattr()
            let options = OverlayMountOptions(
                indexOff: OverlaySupport.hasIndex, userXattr: found.usesUserAttributes)
            do throws(LayerError) {
                try support.checkMount(options: options)
                guard try OverlaySupport.supportsDirectoryTypes(directories.home) else {
                    throw LayerError(
                        .driverUnavailable, "use \(driver.rawValue) in", path: directories.home,
                        cause: .reason("directories there do not tell the types of their entries"),
                        hint: "xfs must be made with ftype=1")
                }
            } catch  where error.code == .noSpace {
                // A full disk says nothing about overlay2, and what is there already can be mounted.
            } catch {
                throw LayerError(
                    .driverUnavailable, "use \(driver.rawValue) in", path: directories.home,
                    cause: .reason(error.description),
                    hint: "choose a root on ext4 or xfs, or the snapshotter ldiff-fuse-overlayfs")
            }
            if options.indexOff { found.extra.append("index=off") }
            if options.userXattr { found.extra.append("userxattr") }
        }
        return found
    }

    func create(_ snapshot: NewSnapshot, _ ids: SnapshotIDs, condemn: (Int64) throws(LayerError) -> Void)
        throws(LayerError) -> NewStorage
    {
        let id = try spares.take(ids)
        do throws(LayerError) {
            return NewStorage(id: id, needsSync: try directories.setOwner(id, snapshot))
        } catch {
            _ = try? directories.sweep(id)
            ids.release(id)
            throw error
        }
    }

    func discard(_ id: Int64) throws(LayerError) {
        guard let packed else { return try directories.discard(id) }
        try packed.discard(id) { () throws(LayerError) in try directories.discard(id) }
    }
    func storedIDs() throws(LayerError) -> [Int64] { try directories.storedIDs() }
    func sweep(_ id: Int64) throws(LayerError) -> Sweep { try directories.sweep(id) }
    func place(_ id: Int64) -> String { directories.path.appending(String(id)).description }

    func holdsSnapshots(_ silence: SnapshotDatabase.Silence) throws(LayerError) -> Bool {
        for id in try directories.storedIDs() {
            switch try directories.form(id) {
            case .filled: return true
            // A kill in the first Prepare leaves one beside a database that says nothing.
            case .empty: if silence == .absent { return true }
            case .absent, .foreign: continue
            }
        }
        return try !spares.filled().isEmpty
    }

    func settle(_ index: SnapshotIndex) throws(LayerError) -> [String] {
        // One that cannot be removed keeps nobody from anything.
        for left in try ProbeLeftovers.find(in: directories.home) { try? ProbeLeftovers.remove(left) }
        try packed?.settle(index.records.keys)
        return try spares.settle(index)
    }
    var settled: Int64 { spares.settled }
    func sync() throws(LayerError) { try directories.sync() }
    func contents(_ id: Int64) -> PathBytes? { directories.contents(id) }

    func measureAtOnce(_ id: Int64) throws(LayerError) -> SnapshotUsage? {
        if let usage = try packedUsage(id) { return usage }
        return try directories.emptyUsage(id)
    }

    /// Nil for one that is not packed.
    private func packedUsage(_ id: Int64) throws(LayerError) -> SnapshotUsage? {
        guard let view = packed?.view, try view.isPacked(id) else { return nil }
        let (bytes, inodes) = try view.usage(id)
        return SnapshotUsage(size: bytes, inodes: inodes)
    }

    func measure(_ id: Int64, cancel: CancelFlag) throws(LayerError) -> SnapshotUsage {
        if let usage = try packedUsage(id) { return usage }
        var source = SourceOptions(upper: directories.contents(id))
        source.cancel = cancel
        let size = try DiffEngine.size(source)
        return SnapshotUsage(size: Int64(clamping: size.allocated), inodes: Int64(clamping: size.inodes))
    }

    // MARK: mounts

    func mounts(_ record: SnapshotRecord, ancestors: [Int64]) -> [MountSpec] {
        let own = text(directories.contents(record.id))
        let isView = record.kind == .view
        if ancestors.isEmpty, !record.isRebased || isView { return [bind(own, isView)] }
        if isView, ancestors.count == 1 {
            var mount = bind(text(directories.contents(ancestors[0])), true)
            // What lies there has the image's ids; a snapshot's own directory has those of its owner.
            if driver == .overlay2, remapsIDs { mount.options.insert(contentsOf: mapping(record), at: 0) }
            return [mount]
        }
        return [driver == .aufs ? branches(record, ancestors) : overlay(record, ancestors)]
    }

    private func bind(_ path: String, _ readOnly: Bool) -> MountSpec {
        MountSpec(type: "bind", source: path, options: [readOnly ? "ro" : "rw", "rbind"])
    }

    private func overlay(_ record: SnapshotRecord, _ ancestors: [Int64]) -> MountSpec {
        var options = remapsIDs ? mapping(record) : []
        if record.kind == .active {
            options.append("workdir=\(text(directories.work(record.id)))")
            options.append("upperdir=\(text(directories.contents(record.id)))")
        }
        let lowers = ancestors.isEmpty ? [directories.empty] : ancestors.map(directories.contents)
        options.append("lowerdir=" + lowers.map(text).joined(separator: ":"))
        options += facts.withLock { $0?.extra ?? [] }
        return MountSpec(
            type: driver == .fuseOverlayFS ? "fuse3.fuse-overlayfs" : "overlay", source: "overlay", options: options)
    }

    /// What maps the ids of a snapshot: containerd's own mount code takes overlay's out again and maps the lower directories.
    private func mapping(_ record: SnapshotRecord) -> [String] {
        let maps = [("uid", record.labels[SnapshotLabel.uidMapping]), ("gid", record.labels[SnapshotLabel.gidMapping])]
        return maps.compactMap { kind, map in
            map.map { driver == .overlay2 ? "\(kind)map=\($0)" : "\(kind)mapping=\(colons($0))" }
        }
    }

    private func branches(_ record: SnapshotRecord, _ ancestors: [Int64]) -> MountSpec {
        var branches = ancestors.map { text(directories.contents($0)) + "=ro+wh" }
        if record.kind == .active { branches.insert(text(directories.contents(record.id)) + "=rw", at: 0) }
        let options = facts.withLock { $0?.extra ?? [] } + ["br:" + branches.joined(separator: ":")]
        return MountSpec(type: "aufs", source: "none", options: options)
    }

    private func colons(_ map: String) -> String { String(map.map { $0 == "," ? ":" : $0 }) }

    /// Roots are UTF-8: `SnapshotterSet` refuses others.
    private func text(_ path: PathBytes) -> String { String(decoding: path.bytes, as: UTF8.self) }

    func candidate(_ mount: MountSpec) -> Int64? {
        switch mount.type {
        case "bind": return directories.id(mount.source, "fs")
        case "aufs":
            guard let branches = mount.options.first(where: { $0.hasPrefix("br:") }) else { return nil }
            let first = branches.dropFirst(3).prefix { $0 != "=" }
            return directories.id(String(first), "fs")
        default:
            if let upper = mount.value("upperdir") { return directories.id(upper, "fs") }
            guard let lowers = mount.value("lowerdir") else { return nil }
            return directories.id(String(lowers.prefix { $0 != ":" }), "fs")
        }
    }
}

extension MountSpec {
    /// The value of an option `name=value`; nil where there is none, or more than one.
    func value(_ name: String) -> String? {
        let found = options.filter { $0.hasPrefix(name + "=") }
        return found.count == 1 ? String(found[0].dropFirst(name.count + 1)) : nil
    }
}
