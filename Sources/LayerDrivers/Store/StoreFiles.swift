import Glibc
import LayerModel
import LayerMounts
import LinuxIO

/// Looks at the small files, links and directories of a store. Nothing here changes anything: see `StoreWriter`.
enum StoreFiles {
    /// Longest metadata file that is read: 128 lower links need 3,711 bytes, aufs's 126 ids 8,190.
    static let longestFile = 1 << 20

    /// What the regular file at `path` holds; nil where there is none, links not followed.
    static func read(_ path: PathBytes) throws(LayerError) -> [UInt8]? {
        do throws(SystemCallError) {
            guard let file = try path.openRegular() else { return nil }
            return try file.contents(limit: longestFile)
        } catch {
            throw LayerError(error, "read", path: path)
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
            if [ENOENT, ENOTDIR, EINVAL].contains(error.errno) { return nil }
            throw LayerError(error, "read the link", path: path)
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
                if error.errno == ENOENT || error.errno == ENOTDIR { return nil }
                throw error
            }
        }
    }

    /// What lies at `path`, held open and not to be read, links not followed; nil where nothing is.
    static func hold(_ path: PathBytes) throws(LayerError) -> OwnedDescriptor? {
        do throws(SystemCallError) {
            return try path.open([.pathOnly, .noFollow])
        } catch {
            // ENOTDIR: a component above is no directory.
            if error.errno == ENOENT || error.errno == ENOTDIR { return nil }
            throw LayerError(error, "look at", path: path)
        }
    }

    /// What is asked, and true where it cannot be told: whoever goes on there is told why, and takes nothing else for it.
    static func mayBe(_ body: () throws(LayerError) -> Bool) -> Bool {
        do throws(LayerError) {
            return try body()
        } catch {
            return true
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
            if error.errno == ENOENT { return [] }
            throw LayerError(error, "list", path: path)
        }
    }

    /// Runs `body` with the opened directory of `path` and its last component.
    static func withParent<Result: ~Copyable>(
        _ path: PathBytes,
        _ body: (borrowing OwnedDescriptor, borrowing NamePointer) throws(SystemCallError) -> Result
    ) throws(SystemCallError) -> Result {
        guard let (directory, name) = path.splitLast() else {
            throw SystemCallError("openat", errno: EINVAL)
        }
        let parent = try directory.open([.pathOnly, .directory])
        return try name.withName { (name) throws(SystemCallError) in try body(parent, name) }
    }

    /// Whether something is mounted on `path` itself.
    static func isMountPoint(_ path: PathBytes) throws(LayerError) -> Bool {
        do throws(LayerError) {
            return try MountTable.isMountPoint(path)
        } catch {
            guard error.code != .notFound else { return false }
            throw error
        }
    }

    /// Sixteen hexadecimal digits that nobody else uses.
    static func randomText() -> String {
        let digits = String(UInt64.random(in: .min ... .max), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Whether `name` is `prefix` and sixteen hexadecimal digits behind it.
    static func isRandomName(_ name: PathBytes, _ prefix: [UInt8]) -> Bool {
        let digits = name.bytes.dropFirst(prefix.count)
        return name.bytes.starts(with: prefix) && digits.count == 16
            && digits.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// The nearest directory that exists at or above `path`.
    static func nearestDirectory(_ path: PathBytes) throws(LayerError) -> PathBytes {
        var place = path
        while try metadata(place) == nil {
            guard let above = place.splitLast()?.directory else { break }
            place = above
        }
        return place
    }
}
