import DaemonSupport
import Glibc
import GraphDriverMessages
import LayerDrivers
import LayerEngine
import LayerModel
import LayerMounts
import LinuxIO
import Logging
import Synchronization

/// The store that Docker opened, and what is known of Docker's use of it.
///
/// All calls block; they are made on the bridge's threads.
final class PluginStore: Sendable {
    /// An open store.
    struct Opened: Sendable {
        var driver: any LayerDriver
        var profile: LayerProfile
    }

    let journal: PluginJournal
    private let standardDriver: DriverName
    private let logger: Logger
    private let opened = Mutex<Opened?>(nil)
    /// Why the store that Docker had open could not be opened again.
    private let trouble = Mutex<LayerError?>(nil)
    /// One opening at a time.
    private let opening = LayerLocks<Bool>()
    /// Layers that this process made: their repetition is no repetition of a call.
    private let madeHere = Mutex<Set<LayerID>>([])
    /// Until when a call may be one that Docker repeats, because the process before this one ended under it.
    private let repeatsUntil: Int64

    /// Opens the journal beside the socket, and the store too if Docker had opened one in an earlier process.
    init(journal path: String, driver: DriverName, logger: Logger) throws(LayerError) {
        journal = try PluginJournal(path)
        standardDriver = driver
        self.logger = logger
        repeatsUntil = journal.state.opening == nil ? 0 : Int64(time(nil)) + PluginJournal.retrySeconds
    }

    /// The store. Throws `driverUnavailable` before Docker opened it, and while it cannot be opened again.
    func current() throws(LayerError) -> Opened {
        if let found = opened.withLock({ $0 }) { return found }
        if journal.state.opening != nil {
            // It may be there again: a disk that was mounted meanwhile.
            restore()
            if let found = opened.withLock({ $0 }) { return found }
        }
        let why = trouble.withLock { $0 }
        throw LayerError(
            .driverUnavailable, "use the store",
            cause: .reason(why.map { "it cannot be opened: \($0)" } ?? "Docker has not opened it (GraphDriver.Init)"),
            hint: why == nil
                ? "restart dockerd" : "mend that, or restart dockerd, which makes a new store where there is none")
    }

    /// The open driver's name.
    var driverName: String { opened.withLock { $0?.driver.name.rawValue } ?? standardDriver.rawValue }

    /// The store, or why there is none where Docker had opened one.
    var healthSubjects: [StoreHealth.Subject] {
        if let found = opened.withLock({ $0 }) {
            return [.store(driver: found.driver.name.rawValue, home: found.driver.configuration.home)]
        }
        return trouble.withLock { $0 }.map { [.trouble("the store cannot be opened: \($0)")] } ?? []
    }

    /// Whether a call may be the repetition of one that an earlier process did.
    var mayRepeat: Bool { Int64(time(nil)) < repeatsUntil }

    // MARK: Opening

    /// Docker's Init: opens the store, or opens it again for a Docker that was restarted. What is mounted stays mounted
    /// and counts once, as for Docker's own drivers: a running container is what uses it.
    func initialize(_ request: PluginRequest) throws(LayerError) {
        try opening.withLock(true) { () throws(LayerError) in try open(for: request) }
    }

    private func open(for request: PluginRequest) throws(LayerError) {
        let opening = PluginJournal.Opening(
            home: request.home, options: request.options, userMaps: request.userMaps, groupMaps: request.groupMaps)
        let earlier = journal.state
        let held = earlier.mounts.filter { $0.value > 0 }
        if let before = earlier.opening, before.home != opening.home, !held.isEmpty,
            let mounted = try Self.firstMount(in: before.home)
        {
            throw LayerError(
                .inUse, "open the store", path: PathBytes(opening.home),
                cause: .reason("the plugin serves the store \(before.home), and \(mounted) is mounted"),
                hint: "stop the dockerd that uses it and unmount what it left, or give each dockerd a plugin with a "
                    + "socket of its own")
        }
        let new = try open(opening, .begins)
        let mounts = before(earlier.opening, is: opening) ? held.mapValues { _ in 1 } : [:]
        try journal.begin(opening, mounts: mounts, labels: mounts.isEmpty ? [:] : earlier.labels)
        opened.withLock { $0 = new }
        trouble.withLock { $0 = nil }
        logger.notice("opened the store", metadata: Self.about(new))
    }

    /// A mount below a home. The journal alone is no proof of one: who holds layers may have been killed, and its store be gone.
    private static func firstMount(in path: String) throws(LayerError) -> PathBytes? {
        let home: PathBytes
        do throws(LayerError) { home = try resolve(path) } catch {
            // Nothing is mounted below what is not there.
            guard error.code != .notFound else { return nil }
            throw error
        }
        return try MountTable.mounts(atOrBelow: home).map(\.mountPoint).first { $0 != home }
    }

    private func before(_ before: PluginJournal.Opening?, is now: PluginJournal.Opening) -> Bool {
        before?.home == now.home
    }

    /// After a restart of the plugin alone: opens the store as Docker had, with the references that Docker holds.
    ///
    /// Where it cannot be opened, or is gone, the plugin says so and waits: for a call that finds it mended, or for Docker to
    /// open a store. It never makes one here.
    func restore() {
        opening.withLock(true) {
            guard opened.withLock({ $0 == nil }) else { return }
            do throws(LayerError) {
                try takeOver()
                trouble.withLock { $0 = nil }
            } catch {
                logger.error("the store that Docker had open cannot be used", metadata: ["error": "\(error)"])
                trouble.withLock { $0 = error }
            }
        }
    }

    private func takeOver() throws(LayerError) {
        let state = journal.state
        guard let opening = state.opening else { return }
        guard access(opening.home + "/.", F_OK) == 0 else {
            throw LayerError(
                SystemCallError("access", errno: errno), "open the store", path: PathBytes(opening.home),
                hint: "is a disk not mounted?")
        }
        let restored = try open(opening, .goesOn)
        for (id, count) in state.mounts {
            do throws(LayerError) {
                if count == 0 {
                    // The process ended between mounting it and saying so; nobody uses it.
                    try restored.driver.put(id)
                }
                // A mount that is there counts as one.
                let options = MountOptions(label: state.labels[id] ?? "")
                for _ in 0..<max(0, count - 1) { _ = try restored.driver.get(id, options: options) }
            } catch {
                logger.warning("a mount of the time before the restart", metadata: ["error": "\(error)"])
            }
        }
        opened.withLock { $0 = restored }
        var about = Self.about(restored)
        about["mounts"] = "\(state.mounts.values.filter { $0 > 0 }.count)"
        logger.notice("took over the store", metadata: about)
    }

    private func open(_ opening: PluginJournal.Opening, _ filling: DriverConfiguration.LaterFilling)
        throws(LayerError) -> Opened
    {
        let options = try PluginOptions(opening.options, driver: standardDriver)
        var configuration = DriverConfiguration(home: try Self.resolve(opening.home), options: options.rest)
        configuration.uidMap = IDMap(opening.userMaps)
        configuration.gidMap = IDMap(opening.groupMaps)
        configuration.sync = options.sync ? .fileSystem : .none
        configuration.laterFilling = filling
        configuration.log = { [logger] level, line in
            logger.log(level: level == .warning ? .warning : .debug, "\(line)")
        }
        let mark = StoreMark(home: configuration.home)
        try mark.check(options.driver)
        let driver = try DriverRegistry.open(options.driver, configuration)
        try mark.keep(options.driver)
        return Opened(driver: driver, profile: options.profile)
    }

    private static func about(_ opened: Opened) -> Logger.Metadata {
        ["driver": "\(opened.driver.name.rawValue)", "home": "\(opened.driver.configuration.home)"]
    }

    /// The home without symbolic links, since mounts are known by such paths; what is missing of it is made later.
    private static func resolve(_ home: String) throws(LayerError) -> PathBytes {
        let path = PathBytes(home)
        guard home.hasPrefix("/"), !path.bytes.contains(0), var (directory, name) = path.splitLast() else {
            throw LayerError(
                .invalidArgument, "open the store", path: path, cause: .reason("the home is no absolute path"))
        }
        while true {
            if let found = realpath(directory.bytes.map { CChar(bitPattern: $0) } + [0], nil) {
                defer { free(found) }
                let bytes = UnsafeBufferPointer(start: found, count: strlen(found)).map { UInt8(bitPattern: $0) }
                return PathBytes(bytes).appending(name)
            }
            let cause = errno
            guard cause == ENOENT, let (above, next) = directory.splitLast() else {
                throw LayerError(SystemCallError("realpath", errno: cause), "open the store", path: directory)
            }
            (directory, name) = (above, next.appending(name))
        }
    }

    // MARK: Layers

    func create(_ request: PluginRequest, readWrite: Bool) throws(LayerError) {
        let driver = try current().driver
        let (id, parent) = (try request.layer(), try request.parentLayer())
        do throws(LayerError) {
            if readWrite {
                try driver.createReadWrite(id, parent: parent, options: request.createOptions)
            } else {
                // Docker makes an image's layer first and fills it then: until it is filled or used there is no such layer.
                var options = request.createOptions
                options.isUnfinished = true
                try driver.create(id, parent: parent, options: options)
            }
            madeHere.withLock { _ = $0.insert(id) }
        } catch {
            guard error.code == .alreadyExists, isRepeated(id, parent, driver) else { throw error }
            logger.info("the layer was made before the restart", metadata: ["layer": "\(id)"])
        }
    }

    /// Whether the layer is what an earlier process made for the same call: of the same parent, and still empty.
    private func isRepeated(_ id: LayerID, _ parent: LayerID?, _ driver: any LayerDriver) -> Bool {
        guard mayRepeat, !madeHere.withLock({ $0.contains(id) }), journal.state.mounts[id] == nil else { return false }
        do throws(LayerError) {
            guard try driver.parent(of: id) == parent else { return false }
            let report = try driver.changes(id, since: parent) { (_, _) throws(LayerError) in
                throw LayerError(.alreadyExists, "look whether the layer is empty")
            }
            return report.added + report.modified + report.deleted == 0
        } catch {
            return false
        }
    }

    func remove(_ request: PluginRequest) throws(LayerError) {
        let id = try request.layer()
        try current().driver.remove(id)
        madeHere.withLock { _ = $0.remove(id) }
        try journal.append(.forgotten(id))
    }

    func get(_ request: PluginRequest) throws(LayerError) -> PathBytes {
        let (driver, id) = (try current().driver, try request.layer())
        try journal.append(.mounting(id, request.mountLabel))
        let path: PathBytes
        do throws(LayerError) {
            path = try driver.get(id, options: MountOptions(label: request.mountLabel))
        } catch {
            try? journal.append(.notMounted(id))
            throw error
        }
        do throws(LayerError) {
            try journal.append(.mounted(id))
        } catch {
            try? driver.put(id)
            throw error
        }
        return path
    }

    func put(_ request: PluginRequest) throws(LayerError) {
        let id = try request.layer()
        try current().driver.put(id)
        try journal.append(.unmounted(id))
    }

    func cleanup() throws(LayerError) {
        guard let opening = journal.state.opening else { return }
        try current().driver.cleanup()
        try journal.begin(opening, mounts: [:])
    }

    // MARK: Differences

    /// Unpacks a stream as the contents of a layer.
    ///
    /// A stream of which an earlier call has read a part is refused: what is left of it could pass for a whole layer, as
    /// Docker repeats a call whose connection broke with whatever its source still gives. An empty one stands for a layer
    /// that was unpacked before its answer was lost.
    func apply(_ id: LayerID, onto parent: LayerID?, from stream: InboundStream, cancel: CancelFlag) throws(LayerError)
        -> UInt64
    {
        let driver = try current().driver
        let known = journal.state
        guard !known.begun.contains(id) else {
            throw LayerError(
                .corruptLayer, "unpack the layer", path: id.component,
                cause: .reason("an earlier call for it was cut short, and this stream may lack its beginning"),
                hint: "remove the layer and begin again")
        }
        // Before the first byte is taken: whatever ends this call, its stream will not come again as a whole.
        try journal.append(.applying(id))
        do throws(LayerError) {
            var source = stream.source
            let first = try source.next()
            let size = try first == nil ? applyNothing(id, known) : nil
            if let size {
                try journal.append(.applied(id, size))
                return size
            }
            var whole = WholeStream(first, source)
            var options = ApplyOptions()
            options.cancel = cancel
            let applied = try driver.applyDiff(id, onto: parent, from: &whole, options: options).size
            try journal.append(.applied(id, applied))
            return applied
        } catch {
            // After a broken connection the rest of the stream may come again; see above.
            if !stream.isBroken { try journal.append(.abandoned(id)) }
            throw error
        }
    }

    /// The size of a layer for which an empty stream came, if an earlier call unpacked it; nil where an empty stream is
    /// just that.
    private func applyNothing(_ id: LayerID, _ known: PluginJournal.State) throws(LayerError) -> UInt64? {
        if let done = known.applied[id], Int64(time(nil)) - done.time < PluginJournal.retrySeconds { return done.size }
        guard mayRepeat else { return nil }
        throw LayerError(
            .invalidArchive, "unpack the layer", path: id.component, cause: .reason("the stream is empty"),
            hint: "remove the layer and begin again")
    }
}

/// A stream whose first slab was looked at already.
private struct WholeStream: SlabSource, ~Copyable {
    private var first: Slab?
    private var rest: InboundStream.Source

    init(_ first: Slab?, _ rest: consuming InboundStream.Source) {
        self.first = first
        self.rest = rest
    }

    mutating func next() throws(LayerError) -> Slab? {
        if let slab = first {
            first = nil
            return slab
        }
        return try rest.next()
    }

    mutating func recycle(_ slab: consuming Slab) { rest.recycle(slab) }
}
