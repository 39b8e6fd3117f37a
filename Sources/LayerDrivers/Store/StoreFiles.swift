import LayerModel
import LinuxIO

/// Small files, links and directories of a store, written so that a crash leaves the old state or the new one.
enum StoreFiles {
    /// Longest metadata file that is read: 128 lower links need 3,711 bytes, aufs's 126 ids 8,190.
    static let longestFile = 1 << 20

    /// What the file at `path` holds; nil where there is none.
    static func read(_ path: PathBytes) throws(LayerError) -> [UInt8]? {
        do throws(SystemCallError) {
            let file = try path.open([.readOnly, .noFollow, .nonBlocking])
            let slab = Slab(capacity: 64 << 10)
            var bytes: [UInt8] = []
            while bytes.count < longestFile {
                let count = try file.read(into: slab, 0..<slab.capacity)
                if count == 0 { break }
                bytes += slab.span(0..<count).copied()
            }
            return bytes
        } catch {
            if error.errno == 2 || error.errno == 20 { return nil }
            throw LayerError(error, "read", path: path)
        }
    }

    /// Gives `path` the contents `bytes` in one step, with exactly `mode`, whatever the umask.
    ///
    /// Durable files are on disk when this returns, their name included.
    static func write(
        _ bytes: [UInt8], to path: PathBytes, mode: UInt32, owner: Owner? = nil, durable: Bool = false
    ) throws(LayerError) {
        let (directory, name) = try parts(path)
        try attempt("write", path) { () throws(SystemCallError) in
            let parent = try directory.open([.readOnly, .directory])
            let temporary = PathBytes(".tmp-\(randomText())")
            try temporary.withName { (temporary) throws(SystemCallError) in
                let file = try parent.open(temporary, [.writeOnly, .create, .exclusive], mode: 0o600)
                do throws(SystemCallError) {
                    try file.writeAll(bytes.rawBytes)
                    if let owner, owner != .current { try file.setOwner(uid: owner.uid, gid: owner.gid) }
                    try file.setMode(mode)
                    if durable { try file.sync() }
                    try name.withName { (name) throws(SystemCallError) in
                        try parent.rename(temporary, to: name, in: parent)
                    }
                } catch {
                    try? parent.unlink(temporary)
                    throw error
                }
            }
            if durable { try parent.sync() }
        }
    }

    /// Makes the directory `path` with exactly this mode and owner; one that exists is given both (drivers.md 1.7).
    ///
    /// With `parents` missing directories above it are made alike. Throws ENOTDIR where something else is there.
    static func makeDirectory(_ path: PathBytes, mode: UInt32, owner: Owner, parents: Bool = false) throws(LayerError) {
        let (directory, name) = try parts(path)
        if parents, try metadata(directory) == nil {
            try makeDirectory(directory, mode: mode, owner: owner, parents: true)
        }
        try attempt("make the directory", path) { () throws(SystemCallError) in
            let parent = try directory.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in
                do throws(SystemCallError) {
                    try parent.makeDirectory(name, mode: 0o700)
                } catch {
                    guard error.errno == 17 else { throw error }
                }
                let made = try parent.open(name, [.readOnly, .directory, .noFollow])
                let found = try made.metadata()
                if found.uid != owner.uid || found.gid != owner.gid {
                    try made.setOwner(uid: owner.uid, gid: owner.gid)
                }
                if found.mode & 0o7777 != mode { try made.setMode(mode) }
            }
        }
    }

    /// Makes a symbolic link; one that is there already is an error.
    static func makeLink(_ path: PathBytes, to target: PathBytes) throws(LayerError) {
        let (directory, name) = try parts(path)
        try attempt("make the link", path) { () throws(SystemCallError) in
            let parent = try directory.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in
                try target.withName { (target) throws(SystemCallError) in
                    try parent.makeSymbolicLink(name, target: target)
                }
            }
        }
    }

    /// The text of the symbolic link at `path`; nil where there is none.
    static func readLink(_ path: PathBytes) throws(LayerError) -> PathBytes? {
        do throws(SystemCallError) {
            let (directory, name) = (path.splitLast()?.directory ?? PathBytes("/"), path.splitLast()?.name ?? path)
            let parent = try directory.open([.pathOnly, .directory])
            let slab = Slab(capacity: 4096)
            let count = try name.withName { (name) throws(SystemCallError) in
                try parent.readLink(name, into: slab, 0..<4096)
            }
            return PathBytes(slab.span(0..<count).copied())
        } catch {
            // EINVAL: it is there and no link.
            if [2, 20, 22].contains(error.errno) { return nil }
            throw LayerError(error, "read the link", path: path)
        }
    }

    /// Gives a name another owner, links not followed.
    static func setOwner(_ path: PathBytes, _ owner: Owner) throws(LayerError) {
        try attempt("change the owner of", path) { () throws(SystemCallError) in
            try withParent(path) { (parent, name) throws(SystemCallError) in
                try parent.setOwner(name, uid: owner.uid, gid: owner.gid)
            }
        }
    }

    /// Removes one name that is no directory; an absent one is fine.
    static func unlink(_ path: PathBytes) throws(LayerError) {
        do throws(SystemCallError) {
            try withParent(path) { (parent, name) throws(SystemCallError) in try parent.unlink(name) }
        } catch {
            guard error.errno != 2 else { return }
            throw LayerError(error, "remove", path: path)
        }
    }

    /// Removes an empty directory; an absent one is fine.
    static func removeDirectory(_ path: PathBytes) throws(LayerError) {
        do throws(SystemCallError) {
            try withParent(path) { (parent, name) throws(SystemCallError) in try parent.removeDirectory(name) }
        } catch {
            guard error.errno != 2 else { return }
            throw LayerError(error, "remove", path: path)
        }
    }

    /// Renames `path` to `target`, which must not exist.
    static func move(_ path: PathBytes, to target: PathBytes) throws(LayerError) {
        try attempt("rename", path) { () throws(SystemCallError) in
            try withParent(path) { (parent, name) throws(SystemCallError) in
                try withParent(target) { (targetParent, targetName) throws(SystemCallError) in
                    try parent.rename(name, to: targetName, in: targetParent, exclusive: true)
                }
            }
        }
    }

    /// Swaps what two paths name, in one step.
    static func exchange(_ path: PathBytes, with target: PathBytes) throws(LayerError) {
        try attempt("swap", path) { () throws(SystemCallError) in
            try withParent(path) { (parent, name) throws(SystemCallError) in
                try withParent(target) { (targetParent, targetName) throws(SystemCallError) in
                    try parent.exchange(name, with: targetName, in: targetParent)
                }
            }
        }
    }

    /// What the inode at `path` says, links not followed; nil where nothing is.
    static func metadata(_ path: PathBytes) throws(LayerError) -> EntryMetadata? {
        try attempt("look at", path) { () throws(SystemCallError) in
            do throws(SystemCallError) {
                return try withParent(path) { (parent, name) throws(SystemCallError) in
                    try parent.metadataIfPresent(name)
                }
            } catch {
                if error.errno == 2 || error.errno == 20 { return nil }
                throw error
            }
        }
    }

    /// Whether `path` is a directory, links not followed.
    static func isDirectory(_ path: PathBytes) throws(LayerError) -> Bool {
        try metadata(path).map { EntryKind(mode: $0.mode) == .directory } ?? false
    }

    /// Whether nothing lies in the directory.
    static func isEmpty(_ path: PathBytes) throws(LayerError) -> Bool {
        try attempt("read", path) { () throws(SystemCallError) in
            try TreeRemoval.isEmpty(path.open([.pathOnly, .directory]))
        }
    }

    /// The names in a directory, sorted; none where there is no such directory.
    static func names(in path: PathBytes) throws(LayerError) -> [PathBytes] {
        do throws(SystemCallError) {
            let directory = try path.open([.readOnly, .directory])
            var reader = DirectoryReader()
            var names: [PathBytes] = []
            while let entry = try reader.next(of: directory) {
                names.append(PathBytes(reader.name(of: entry).copied()))
            }
            return names.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
        } catch {
            if error.errno == 2 { return [] }
            throw LayerError(error, "list", path: path)
        }
    }

    /// Runs `body` with the opened directory of `path` and its last component.
    private static func withParent<Result: ~Copyable>(
        _ path: PathBytes,
        _ body: (borrowing OwnedDescriptor, borrowing NamePointer) throws(SystemCallError) -> Result
    ) throws(SystemCallError) -> Result {
        guard let (directory, name) = path.splitLast() else {
            throw SystemCallError("openat", errno: 22)
        }
        let parent = try directory.open([.pathOnly, .directory])
        return try name.withName { (name) throws(SystemCallError) in try body(parent, name) }
    }

    private static func parts(_ path: PathBytes) throws(LayerError) -> (directory: PathBytes, name: PathBytes) {
        guard let parts = path.splitLast() else {
            throw LayerError(.invalidArgument, "use the path", path: path, cause: .reason("it has no last component"))
        }
        return parts
    }

    /// Sixteen hexadecimal digits that nobody else uses.
    static func randomText() -> String {
        let digits = String(UInt64.random(in: .min ... .max), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
