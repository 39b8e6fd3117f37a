import DaemonSupport
import Glibc
import LayerDrivers
import LayerModel
import LinuxIO
import Logging
import Synchronization

/// What the snapshotters of a daemon share.
package struct SnapshotSettings: Sendable {
    /// Where everything lies: `metadata/<driver>.db` and `<driver>/`. Absolute, and UTF-8 without `:` and `,`.
    package var root: String
    /// The driver of names that name none.
    package var driver: DriverName
    /// The dataset that holds those of zfs; nil takes the one that is mounted at `<root>/zfs` or above.
    package var zfsDataset: String?
    package var options: SnapshotterOptions

    package init(root: String, driver: DriverName = .overlay2) {
        self.root = root
        self.driver = driver
        options = SnapshotterOptions()
    }

    /// The root, if mounts can name what lies in it; else throws `invalidArgument`.
    package func checkedRoot() throws(LayerError) -> PathBytes {
        let path = PathBytes(root)
        guard path.bytes.first == UInt8(ascii: "/"), !path.bytes.contains(where: { Self.forbidden.contains($0) }),
            !root.contains("//"), root.utf8.count <= Self.longestRoot
        else {
            throw LayerError(
                .invalidArgument, "use the root directory", path: path,
                cause: .reason(
                    "it must be an absolute path of at most \(Self.longestRoot) bytes without colons, commas, equals "
                        + "signs and backslashes, which mount options could not name"))
        }
        return path
    }

    /// What mount options take apart.
    private static let forbidden = Array(":,\\=\0\n\"'".utf8)
    /// So that the directories of 128 layers and the two long paths beside them fit the options of a mount.
    private static let longestRoot = 512
}

/// One snapshotter for each driver, opened when it is first asked for. The name in a request selects it.
package final class SnapshotterSet: Sendable {
    private let settings: SnapshotSettings
    private let bridge: BlockingBridge
    private let logger: Logger
    private let lock: OwnedDescriptor
    private let opened = Mutex<[DriverName: Snapshotter]>([:])
    /// Why the others could not be opened, and when that was tried.
    private let failures = Mutex<[DriverName: (failure: ServiceFailure, time: ContinuousClock.Instant)]>([:])
    /// How long a driver that cannot be opened is not tried again.
    private static let pause = Duration.seconds(1)
    /// Held while a snapshotter is being opened; only threads of the bridge wait for it.
    private let opening = Mutex(())

    /// The drivers that can keep snapshots. `overlay` of Docker's drivers, with one lower directory, is overlay2 here.
    package static let drivers: [DriverName] = [.overlay2, .fuseOverlayFS, .zfs, .aufs, .erofs]

    /// Takes the root for this process alone, and opens the snapshotters that are there and the default one.
    ///
    /// One that cannot be opened keeps none of the others from their work: its calls say why, and try again.
    /// Throws `invalidArgument` for a root that mounts could not name, and `inUse` where another daemon has it. Blocks.
    package init(_ settings: SnapshotSettings, bridge: BlockingBridge, logger: Logger) throws {
        self.settings = settings
        self.bridge = bridge
        self.logger = logger
        let root = try settings.checkedRoot()
        try root.makeDirectories("make the directory")
        try Self.checkForm(root)
        try SnapshotDirectories.make(root.appending("metadata"), mode: 0o700)
        lock = try Self.lock(root)
        for driver in Self.drivers where driver == settings.driver || exists(driver) { _ = try? open(driver) }
    }

    /// Throws `invalidArgument` for a directory that others use: it is neither new nor of the form that a daemon gives it.
    private static func checkForm(_ root: PathBytes) throws(LayerError) {
        let opened = try attempt("open", root) { () throws(SystemCallError) in try root.open([.readOnly, .directory]) }
        let names = try SnapshotDirectories.names(in: opened, root)
        // What mkfs makes, what a start that was cut short did, and new disks for drivers.
        var isNew = true
        for name in names where !["lost+found", "metadata"].contains(name.description) {
            let isDriver = drivers.contains { $0.rawValue == name.description }
            guard isDriver, try isNewDisk(root.appending(name)) else {
                isNew = false
                break
            }
        }
        if isNew { return }
        let marks = ["metadata/lock"] + drivers.flatMap { ["metadata/\($0.rawValue).db", "\($0.rawValue)/snapshots"] }
        for mark in marks where (try? root.appending(mark).open(.pathOnly)) != nil { return }
        throw LayerError(
            .invalidArgument, "use the root directory", path: root,
            cause: .reason("it is not empty, and no root of this daemon"),
            hint: "name an empty directory, or one that is not there yet")
    }

    /// Whether it is a directory in which nothing is but what mkfs makes.
    private static func isNewDisk(_ path: PathBytes) throws(LayerError) -> Bool {
        let opened: OwnedDescriptor
        do throws(SystemCallError) { opened = try path.open([.readOnly, .directory, .noFollow]) } catch { return false }
        let names = try SnapshotDirectories.names(in: opened, path)
        return names.allSatisfy { $0.description == "lost+found" }
    }

    /// Two daemons would give out the same ids.
    static func lock(_ root: PathBytes) throws(LayerError) -> OwnedDescriptor {
        let path = root.appending("metadata/lock")
        var isAlone = false
        let file = try attempt("open", path) { () throws(SystemCallError) in
            let file = try path.withName { (name) throws(SystemCallError) in
                try OwnedDescriptor.open(name, [.readWrite, .create, .noFollow], mode: 0o600)
            }
            isAlone = try file.tryLock(.exclusive)
            return file
        }
        guard isAlone else {
            throw LayerError(
                .inUse, "open the root directory", path: root, cause: .reason("another daemon uses it"),
                hint: "stop that one, or choose another root with --root")
        }
        return file
    }

    private func database(_ driver: DriverName) -> String { "\(settings.root)/metadata/\(driver.rawValue).db" }

    /// Whether anything says that there are snapshots of this driver.
    private func exists(_ driver: DriverName) -> Bool {
        let database = database(driver)
        let places = [
            database, DatabaseExchange(database).repaired, SnapshotDatabase.backup(of: database),
            "\(settings.root)/\(driver.rawValue)/snapshots",
        ]
        return places.contains { (place: String) in access(place, F_OK) == 0 }
    }

    // MARK: selecting

    /// The driver that a snapshotter's name stands for: the word behind `ldiff-`, or the default.
    func driver(named name: String) -> DriverName {
        guard name.hasPrefix("ldiff-") else { return settings.driver }
        let word = name.dropFirst("ldiff-".count)
        if word == "overlay" || word == "overlayfs" { return .overlay2 }
        return Self.drivers.first { $0.rawValue == word } ?? settings.driver
    }

    func snapshotter(named name: String) async throws -> Snapshotter {
        let driver = driver(named: name)
        if let found = opened.withLock({ $0[driver] }) { return found }
        if let last = failures.withLock({ $0[driver] }), ContinuousClock.now - last.time < Self.pause {
            throw last.failure
        }
        return try await bridge.run { [self] in try open(driver) }
    }

    /// Those that are open.
    var all: [Snapshotter] { opened.withLock { Array($0.values) } }

    /// Every store that is open, and why others are not: those that are there, and the default one.
    var healthSubjects: [StoreHealth.Subject] {
        let broken = failures.withLock { $0.sorted { $0.key.rawValue < $1.key.rawValue }.map(\.value.failure.text) }
        let homes = all.map(\.backend.driver.rawValue).sorted()
        return homes.map { .store(driver: $0, home: PathBytes("\(settings.root)/\($0)")) } + broken.map { .trouble($0) }
    }

    private func open(_ driver: DriverName) throws(ServiceFailure) -> Snapshotter {
        try opening.withLock { (_) throws(ServiceFailure) in
            if let found = opened.withLock({ $0[driver] }) { return found }
            do {
                let snapshotter = try makeSnapshotter(driver)
                opened.withLock { $0[driver] = snapshotter }
                failures.withLock { $0[driver] = nil }
                return snapshotter
            } catch {
                throw keep(error, driver)
            }
        }
    }

    /// Remembers why a driver cannot be opened; logs it where that is new.
    private func keep(_ error: any Error, _ driver: DriverName) -> ServiceFailure {
        let cause = SnapshotDatabase.failure(error, "open the records in", database(driver))
        let failure = ServiceFailure(
            .unavailable,
            "the snapshots of \(driver.rawValue) cannot be used: \((error as? LayerError)?.description ?? cause.text)")
        let isNew = failures.withLock { failures in
            defer { failures[driver] = (failure, .now) }
            return failures[driver]?.failure != failure
        }
        if isNew { logger.error("\(failure.text)", metadata: ["driver": "\(driver.rawValue)"]) }
        return failure
    }

    private func makeSnapshotter(_ driver: DriverName) throws -> Snapshotter {
        let home = PathBytes("\(settings.root)/\(driver.rawValue)")
        let path = database(driver)
        let identity = driver == .zfs ? nil : StoreIdentity(home: home, database: path)
        // It makes directories: where there are records, only once it is known that they are those of what is there.
        var made: (any SnapshotBackend)?
        func backend() throws -> any SnapshotBackend {
            if let made { return made }
            let new = try makeBackend(driver, home)
            made = new
            return new
        }
        if try DatabaseExchange(path).isUnfinished {
            throw ServiceFailure(
                .dataLoss,
                "open \(path): a repair was cut short; stop the daemon, and end it with `containerd-ldiff-grpc check --repair`"
            )
        }
        if access(path, F_OK) != 0 { _ = try backend() }
        let database = try SnapshotDatabase(path: path) { silence in
            if silence == .absent, try identity?.found() != nil { return false }
            return try !SnapshotSalvage.hasCopy(of: path, silence) && !backend().holdsSnapshots(silence)
        }
        let (index, _) = try database.load()
        if let identity {
            let stored = StoredSnapshots(home: home, holdsPacked: driver == .erofs)
            let problem = try identity.problem(index) { (id) throws(LayerError) in try stored.holds(id, index) }
            if let problem { throw ServiceFailure(.unavailable, problem) }
        }
        let storage = try backend()
        let taken = storage.listsQuickly ? try storage.storedIDs().max() ?? 0 : 0
        // Without room for it, the next start does it.
        if let new = try? identity?.establish(index) { try? database.write([.identify(new)]) }
        let store = try SnapshotStore(
            database, taken: taken, bridge: bridge, settled: { storage.settled },
            syncDirectories: { () throws(LayerError) in try storage.sync() })
        // Before anything goes that has no record.
        try store.syncRemovals()
        for trouble in try storage.settle(store.index) { warn(of: trouble, driver) }
        store.noteSettled()
        return Snapshotter(storage, store, settings.options, bridge)
    }

    private func makeBackend(_ driver: DriverName, _ home: PathBytes) throws -> any SnapshotBackend {
        let log: @Sendable (DriverConfiguration.LogLevel, String) -> Void = { [logger] level, line in
            logger.log(level: level == .debug ? .debug : .warning, "\(line)")
        }
        if driver == .zfs { return try ZFSBackend(home: home, root: settings.zfsDataset, log: log) }
        return try UnionBackend(driver, home: home, settings.options, log: log) { [bridge] work in
            // Without a thread for it, whoever needs one next makes them.
            do { try bridge.start(work) } catch { work() }
        }
    }

    // MARK: start and end

    /// Removes what crashes left, in every snapshotter that is open. Failures are logged.
    func cleanUpAll() async {
        for snapshotter in all {
            let driver = snapshotter.backend.driver
            do {
                let rest = try await snapshotter.sweep(isStart: true)
                for error in rest.failures { warn(error, driver) }
                for id in rest.lost.sorted() { warn(of: snapshotter.backend.place(id) + StoredForm.isLost, driver) }
            } catch {
                warn(error, driver)
            }
        }
    }

    private func warn(_ error: any Error, _ driver: DriverName) {
        logger.warning("cleaning up after an earlier run: \(error)", metadata: ["driver": "\(driver.rawValue)"])
    }

    /// Of something that stays as it is, and should not be so.
    private func warn(of trouble: String, _ driver: DriverName) {
        logger.warning("\(trouble)", metadata: ["driver": "\(driver.rawValue)"])
    }

    /// Lets what has begun end, and closes the databases. Blocks.
    func close() {
        for snapshotter in all {
            // What fails here the next start does.
            try? snapshotter.acquitGone()
            snapshotter.backend.packed?.end()
            snapshotter.store.close { [logger] error in
                logger.warning(
                    "the copy of the records was not written: \(error)",
                    metadata: ["driver": "\(snapshotter.backend.driver.rawValue)"])
            }
        }
    }
}
