internal import Glibc
public import LayerModel
internal import LinuxIO

/// What is tried out of the kernel; how a directory begins in which that is done, by us, Docker or containers/storage.
public enum ProbeKind: String, CaseIterable, Sendable {
    case overlay = "check-overlayfs-support"
    case opaqueBug = "opaque-bug-check"
    case metacopy = "metacopy-check"
    case fuse = "ldiff-probe"

    /// How a file begins of which the directory entry's kind is looked at.
    public static let dummyFile = "fsutils-dummy"
}

/// A directory in which something is tried out; unmounted and gone afterwards, whatever happened.
struct ProbeDirectory: ~Copyable {
    let path: PathBytes
    private let descriptor: OwnedDescriptor

    /// Makes one with the kind's name and random letters in `home`.
    init(_ kind: ProbeKind, in home: PathBytes) throws(LayerError) {
        let parent = try naming("try out mounts in", home) { () throws(SystemCallError) in
            try OwnedDescriptor.open(Terminated(home).name, [.readOnly, .directory])
        }
        // Whoever sweeps may take it in the moment before it is locked: then another is made.
        var path = home
        var made: OwnedDescriptor? = nil
        for _ in 0..<100 where made == nil {
            let name = kind.rawValue + String(UInt64.random(in: .min ... .max), radix: 36)
            path = home.appending(name)
            made = try naming("try out mounts in", path) { () throws(SystemCallError) in
                try Self.make(name, in: parent)
            }
        }
        guard let made else {
            throw LayerError(
                .inUse, "try out mounts in", path: home,
                cause: .reason("somebody removes the directories that are made for it"))
        }
        self.init(path, made)
    }

    /// Makes the directory and locks it, so that whoever looks for what ended processes left sees that this one is at work;
    /// nil where it was swept before that.
    private static func make(
        _ name: String, in parent: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> OwnedDescriptor? {
        let name = Terminated(name)
        try parent.makeDirectory(name.name, mode: ProbeLeftovers.mode)
        let opened = parent.tryOpen(name.name, [.readOnly, .directory, .noFollow])
        guard case .success(let raw) = opened else { return nil }
        let made = OwnedDescriptor(adopting: raw)
        guard try made.tryLock(.exclusive), let found = try parent.metadataIfPresent(name.name) else {
            try? parent.removeDirectory(name.name)
            return nil
        }
        let own = try made.metadata()
        guard found.inode == own.inode, found.device == own.device else { return nil }
        return made
    }

    private init(_ path: PathBytes, _ descriptor: consuming OwnedDescriptor) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit {
        // First without a look at anything: on a disk that fails, the way to the directory may not open, and the mount would stay.
        try? KernelMount.unmount(path.appending("merged"), [.detach, .noFollow])
        for _ in 0..<2 {
            guard (try? KernelMount.unmountAll(atOrBelow: path)) != nil else { continue }
            if (try? TreeRemoval.remove(path)) != nil { return }
        }
    }

    func appending(_ name: String) -> PathBytes { path.appending(name) }

    func make(_ names: String..., mode: UInt32 = 0o755) throws(LayerError) {
        for name in names {
            try naming("make", path.appending(name)) { () throws(SystemCallError) in
                try descriptor.makeDirectory(Terminated(name).name, mode: mode)
            }
        }
    }

    func write(_ name: String, mode: UInt32) throws(LayerError) {
        try naming("make", path.appending(name)) { () throws(SystemCallError) in
            let file = try descriptor.open(
                Terminated(name).name, [.writeOnly, .create, .exclusive], mode: mode)
            try file.setMode(mode)
        }
    }

    func setMode(_ name: String, _ mode: UInt32) throws(LayerError) {
        try naming("change the mode of", path.appending(name)) { () throws(SystemCallError) in
            try descriptor.open(Terminated(name).name, .readOnly).setMode(mode)
        }
    }

    func setAttribute(_ attribute: String, _ value: String, of name: String) throws(LayerError) {
        try naming("mark", path.appending(name)) { () throws(SystemCallError) in
            let file = try descriptor.open(Terminated(name).name, .readOnly)
            try file.setAttribute(Terminated(attribute).name, Array(value.utf8).rawBytes)
        }
    }

    /// The value of an attribute; nil where it is not set or cannot be.
    func attribute(_ attribute: String, of name: String) throws(LayerError) -> [UInt8]? {
        try naming("read a mark of", path.appending(name)) { () throws(SystemCallError) in
            let file = try descriptor.open(Terminated(name).name, .readOnly)
            var reader = AttributeReader()
            guard try reader.read(Terminated(attribute).name, of: file) != nil else { return nil }
            return reader.lastValue.copied()
        }
    }

    /// Renames inside the directory; the errno where it fails.
    func rename(_ name: String, to target: String) -> Int32? {
        do {
            try descriptor.rename(Terminated(name).name, to: Terminated(target).name, in: descriptor)
            return nil
        } catch {
            return error.errno
        }
    }
}

/// What probes of the kernel left whose process was killed: ours and Docker's.
///
/// A name says nothing. It must be a directory in which only that lies which probes make, down to the last file, and whose lock
/// nobody holds. An empty one must have the mode that only ours are made with, since Docker's may have been made at this moment.
public enum ProbeLeftovers {
    /// Private and sticky from the first moment on, which nobody else asks for.
    static let mode: UInt32 = 0o1700
    private static let parts: Set<String> = [
        "lower", "lower1", "lower2", "upper", "work", "merged", "l1", "l2", "l3",
    ]

    /// The paths of such directories in `home`, sorted. Changes nothing.
    public static func find(in home: PathBytes) throws(LayerError) -> [PathBytes] {
        let operation = "look for what probes left in"
        var found: [PathBytes] = []
        do {
            let opened = try OwnedDescriptor.open(Terminated(home).name, [.readOnly, .directory])
            for name in try names(in: opened) {
                if isName(name), try isLeftover(name, opened) { found.append(home.appending(name)) }
            }
            found.sort { $0.bytes.lexicographicallyPrecedes($1.bytes) }
        } catch {
            if error.errno == enoent || error.errno == enotdir { return [] }
            throw LayerError(error, operation, path: home)
        }
        var leftovers: [PathBytes] = []
        for path in found where try holdsOnlyItsUnion(path) { leftovers.append(path) }
        return leftovers
    }

    /// Unmounts and removes one that `find` found, if it is still one and nobody works in it.
    public static func remove(_ path: PathBytes) throws(LayerError) {
        guard let lock = try naming("look at", path, { () throws(SystemCallError) in try hold(path) }) else { return }
        guard try holdsOnlyItsUnion(path) else { return }
        try KernelMount.unmountAll(atOrBelow: path)
        // Once more, with what lay below the union.
        if try naming("look at", path, { () throws(SystemCallError) in try isProbe(lock) }) {
            try TreeRemoval.remove(path)
        }
        _ = consume lock
    }

    /// Whether nothing is mounted in one but the union that was tried out.
    private static func holdsOnlyItsUnion(_ path: PathBytes) throws(LayerError) -> Bool {
        let entries = try MountTable.mounts(atOrBelow: path)
        guard !entries.isEmpty else { return true }
        let union = try path.resolvedParent().appending("merged")
        return entries.allSatisfy { entry in
            entry.mountPoint == union && ["overlay", "fuse.fuse-overlayfs"].contains(entry.fileSystem)
        }
    }

    private static func hold(_ path: PathBytes) throws(SystemCallError) -> OwnedDescriptor? {
        do {
            let directory = try OwnedDescriptor.open(Terminated(path).name, [.readOnly, .directory, .noFollow])
            guard try isProbe(directory), try directory.tryLock(.exclusive) else { return nil }
            return directory
        } catch {
            if error.errno == enoent || error.errno == enotdir { return nil }
            throw error
        }
    }

    private static func isName(_ name: PathBytes) -> Bool {
        guard let kind = ProbeKind.allCases.first(where: { name.bytes.starts(with: Array($0.rawValue.utf8)) }) else {
            return false
        }
        return name.bytes.dropFirst(kind.rawValue.utf8.count).allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
        }
    }

    private static func isLeftover(
        _ name: PathBytes, _ home: borrowing OwnedDescriptor
    ) throws(SystemCallError) -> Bool {
        let number = home.tryOpen(Terminated(name).name, [.readOnly, .directory, .noFollow])
        guard case .success(let raw) = number else { return false }
        let directory = OwnedDescriptor(adopting: raw)
        guard try isProbe(directory) else { return false }
        return try directory.tryLock(.shared)
    }

    private static func isProbe(_ directory: borrowing OwnedDescriptor) throws(SystemCallError) -> Bool {
        // It may have been read before.
        _ = try directory.seek(0, .start)
        let found = try names(in: directory)
        let own = try directory.metadata()
        if found.isEmpty { return own.mode & 0o7777 == mode }
        for name in found where try !isPart(name, in: directory, own.device) { return false }
        return true
    }

    private static func isPart(
        _ name: PathBytes, in directory: borrowing OwnedDescriptor, _ device: UInt64
    ) throws(SystemCallError) -> Bool {
        let part = name.description
        guard parts.contains(part) else { return false }
        do {
            guard let found = try directory.metadataIfPresent(Terminated(name).name) else { return true }
            guard found.kind == .directory else { return false }
            // The union itself. What was below it is looked at when it is unmounted.
            if part == "merged", found.device != device { return true }
            let opened = try directory.open(Terminated(name).name, [.readOnly, .directory, .noFollow])
            return try holdsOnlyMade(opened, isWork: part == "work")
        } catch {
            // A union whose program has ended.
            return part == "merged" && error.errno == enotconn
        }
    }

    /// What probes make in their parts, ours, Docker's and containers/storage's.
    private static let made: Set<String> = ["file", "file1", "file2", "f", "new", "d", "d1", "d2"]
    /// What overlayfs keeps in its working directory.
    private static let worked: Set<String> = ["work", "index", "incompat", "volatile"]

    /// Whether only that lies here: directories, whiteouts, and files with at most the one byte that Docker writes.
    private static func holdsOnlyMade(
        _ directory: borrowing OwnedDescriptor, isWork: Bool
    ) throws(SystemCallError) -> Bool {
        for name in try names(in: directory) {
            let text = name.description
            let isTemporary = isWork && text.hasPrefix("#") || text.hasPrefix(".tmp-")
            guard made.contains(text) || isTemporary || isWork && worked.contains(text) else { return false }
            guard let found = try directory.metadataIfPresent(Terminated(name).name) else { continue }
            switch found.kind {
            case .directory:
                let opened = try directory.open(Terminated(name).name, [.readOnly, .directory, .noFollow])
                guard try holdsOnlyMade(opened, isWork: isWork) else { return false }
            case .regular: guard found.size <= 1 else { return false }
            default: guard found.isWhiteoutDevice else { return false }
            }
        }
        return true
    }
}

/// All names in a directory.
func names(in directory: borrowing OwnedDescriptor) throws(SystemCallError) -> [PathBytes] {
    var reader = DirectoryReader()
    var names: [PathBytes] = []
    while let entry = try reader.next(of: directory) { names.append(PathBytes(reader.name(of: entry).copied())) }
    return names
}
