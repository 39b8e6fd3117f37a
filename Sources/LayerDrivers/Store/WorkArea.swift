import Glibc
import LayerModel
import LayerMounts
import LinuxIO

/// The directory of a store in which layers are built and taken apart, so that a layer is either there as a whole or not at
/// all, whenever the process ends.
///
/// Who works in one of its directories holds its lock. So what a killed process left is known by its name, its form and a lock
/// that is free, and whatever else lies here is somebody else's: containers/storage keeps its own temporary directories
/// under this name, too.
struct WorkArea: Sendable {
    static let directoryName = "tempdirs"
    private static let newPrefix = Array("ldiff-new-".utf8)
    private static let oldPrefix = Array("ldiff-old-".utf8)

    let directory: PathBytes
    private let parts: LayerParts
    private let writer: StoreWriter

    init(home: PathBytes, _ parts: LayerParts, _ writer: StoreWriter) {
        directory = home.appending(Self.directoryName)
        self.parts = parts
        self.writer = writer
    }

    /// An empty directory in which a layer can be built.
    func make(mode: UInt32 = 0o700, owner: Owner = .current) throws(LayerError) -> WorkDirectory {
        let path = try newName(Self.newPrefix)
        // Between making a directory and locking it, it would look left over.
        let area = try FileLock.take(directory, .shared)
        defer { withExtendedLifetime(area) {} }
        return try WorkDirectory(making: path, mode: mode, owner: owner, writer)
    }

    /// Takes a layer out of the store in one step; its lock goes along.
    func take(_ layer: ProvenLayer, _ lock: FileLock) throws(LayerError) -> WorkDirectory {
        let path = try newName(Self.oldPrefix)
        try writer.moveAcrossProjects(layer.path, to: path)
        return WorkDirectory(path, lock, writer)
    }

    private func newName(_ prefix: [UInt8]) throws(LayerError) -> PathBytes {
        try writer.makeDirectory(directory, mode: 0o700, owner: .current)
        return directory.appending(PathBytes(prefix + Array(StoreFiles.randomText().utf8)))
    }

    /// What ended processes left half made or half removed, each locked by this one.
    func abandoned() throws(LayerError) -> [WorkDirectory] {
        guard let area = try FileLock.take(directory, .exclusive) else { return [] }
        defer { withExtendedLifetime(area) {} }
        var found: [WorkDirectory] = []
        for path in try Self.candidates(in: directory, parts) {
            guard case .taken(let lock) = try FileLock.tryTake(path, .exclusive) else { continue }
            found.append(WorkDirectory(path, lock, writer))
        }
        return found
    }

    /// One of those that `leftovers` named, locked by this process; nil where somebody is at work in it, or it is gone.
    func claim(_ path: PathBytes) throws(LayerError) -> WorkDirectory? {
        // Who makes one holds this until it is locked.
        guard let area = try FileLock.take(directory, .exclusive) else { return nil }
        defer { withExtendedLifetime(area) {} }
        return try WorkDirectory(leftAt: path, writer)
    }

    /// Removes what ended processes left, `beforehand` first. What cannot be removed is said, and stays for the next time:
    /// it keeps nobody from anything else.
    func sweep(
        _ log: (DriverConfiguration.LogLevel, String) -> Void,
        _ beforehand: (WorkDirectory) throws(LayerError) -> Void = { (_) throws(LayerError) in }
    ) {
        do throws(LayerError) {
            for left in try abandoned() {
                log(.warning, "removing what a crash left: \(left.path)")
                do throws(LayerError) {
                    try beforehand(left)
                    try left.remove(tries: 1)
                } catch {
                    log(.warning, "\(left.path) stays for now, ldiff layer check lists it: \(error)")
                }
            }
        } catch {
            log(.warning, "looking for what crashes left: \(error)")
        }
    }

    /// The same for those who only look: nothing is locked when this returns. Empty where nobody may look.
    static func leftovers(home: PathBytes, _ parts: LayerParts) throws(LayerError) -> [PathBytes] {
        let directory = home.appending(directoryName)
        var found: [PathBytes] = []
        for path in try candidates(in: directory, parts) {
            if case .taken = try FileLock.tryTake(path, .shared) { found.append(path) }
        }
        return found
    }

    /// Directories of our names in which nothing is that we would not put there.
    private static func candidates(in directory: PathBytes, _ parts: LayerParts) throws(LayerError) -> [PathBytes] {
        guard try StoreFiles.isDirectory(directory) else { return [] }
        var found: [PathBytes] = []
        for name in try StoreFiles.names(in: directory) {
            guard StoreFiles.isRandomName(name, newPrefix) || StoreFiles.isRandomName(name, oldPrefix) else { continue }
            let path = directory.appending(name)
            if try parts.describesAll(in: path) { found.append(path) }
        }
        return found
    }
}

extension StoreWriter {
    /// Renames a directory that may belong to another project than the directory it goes to, which keeps its own.
    fileprivate func moveAcrossProjects(_ path: PathBytes, to target: PathBytes) throws(LayerError) {
        do throws(LayerError) {
            return try move(path, to: target)
        } catch {
            guard case .systemCall(let cause) = error.cause, cause.errno == EXDEV,
                let from = path.splitLast()?.directory, let into = target.splitLast()?.directory
            else { throw error }
            let (own, others) = (try ProjectID.of(path), try ProjectID.of(into))
            guard own != others else { throw error }
            try ProjectID.set(path, others)
            do throws(LayerError) {
                try move(path, to: target)
            } catch let second {
                try? ProjectID.set(path, own)
                throw second
            }
            // What it had from the directory it lay in is not its own.
            if own != 0, try own != ProjectID.of(from) { try ProjectID.set(target, own) }
        }
    }
}

/// A directory that this process made, or took out of a store, and holds the lock of.
final class WorkDirectory: Sendable {
    let path: PathBytes
    let lock: FileLock
    private let writer: StoreWriter
    private let isLeft = Monitor(false)

    /// Makes the directory at `path`. The caller keeps others from taking it for a leftover before it is locked.
    init(making path: PathBytes, mode: UInt32, owner: Owner, _ writer: StoreWriter) throws(LayerError) {
        guard try writer.makeDirectory(path, mode: mode, owner: owner) else {
            throw LayerError(.alreadyExists, "make the directory", path: path)
        }
        do throws(LayerError) {
            // Who looks for leftovers holds the lock for a moment.
            guard let lock = try FileLock.take(path, .exclusive) else {
                throw LayerError(.inUse, "lock", path: path, cause: .reason("somebody else removed it at once"))
            }
            self.path = path
            self.lock = lock
            self.writer = writer
        } catch {
            // It is empty, and this call made it.
            try? writer.removeDirectory(path)
            throw error
        }
    }

    fileprivate init(_ path: PathBytes, _ lock: FileLock, _ writer: StoreWriter) {
        self.path = path
        self.lock = lock
        self.writer = writer
    }

    /// What lies at `path` if an ended process made it and holds its lock no more; nil where its maker is at work.
    convenience init?(leftAt path: PathBytes, _ writer: StoreWriter) throws(LayerError) {
        guard case .taken(let lock) = try FileLock.tryTake(path, .exclusive) else { return nil }
        self.init(path, lock, writer)
    }

    /// Gives it its name in the store, which nothing may have. It stays locked while this is held, so that nobody else can
    /// work on the layer before its maker is done with it.
    func publish(to target: PathBytes) throws(LayerError) { try writer.moveAcrossProjects(path, to: target) }

    /// Leaves it to the next sweep, which reads in it what is still to be done.
    func leave() { isLeft.change { $0 = true } }

    /// Removes it as far as that can be done; the rest is left to the next sweep.
    func discard(_ log: (DriverConfiguration.LogLevel, String) -> Void) {
        do throws(LayerError) { try remove() } catch {
            log(.warning, "taken out of the store, but it cannot be removed; ldiff layer check lists it: \(error)")
        }
    }

    /// Removes the directory with all that is in it, unless it was published. Nothing that is mounted in it is touched: that
    /// ends it with `inUse`.
    func remove(tries: Int = 50) throws(LayerError) {
        if isLeft.change({ $0 }) { return }
        for attempt in 1... {
            guard try lock.isAt(path) else { return }
            do throws(LayerError) {
                return try TreeRemoval.remove(path)
            } catch {
                // A mount that another namespace is letting go of keeps a directory busy for a moment. ENOTEMPTY: an
                // unpacking that has not heard yet that its stream broke goes on writing into it.
                guard error.code == .inUse || error.code == .alreadyExists, attempt < tries else { throw error }
                ProcessState.sleep(milliseconds: 100)
            }
        }
    }
}
