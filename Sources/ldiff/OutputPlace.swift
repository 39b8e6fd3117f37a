import Glibc
import LayerModel
import LayerPipeline
import Synchronization

/// Where a verb writes, so that an error of a full disk can name the file system: what it fails on is often a name in a layer.
enum OutputPlace {
    private static let place = Mutex<PathBytes?>(nil)

    /// Remembers the last one named: a file, a root, a store.
    static func remember(_ path: PathBytes) { place.withLock { $0 = path } }

    /// Files that this command writes, or reads while it writes.
    private static let taken = Mutex<[PathBytes]>([])

    /// Opens a file to write. Throws `invalidArgument` where another output, or the input, is the same file: one would replace the
    /// other.
    static func open(_ path: PathBytes) throws(LayerError) -> OutputFile {
        try take(path)
        return try OutputFile.file(at: path, mode: ProcessSetup.fileMode)
    }

    /// Notes a file that is read while others are written.
    static func take(_ path: PathBytes) throws(LayerError) {
        var facts = stat()
        let isThere = stat(terminated(path), &facts) == 0
        // What goes into a pipe or a device goes there one after the other.
        guard !isThere || facts.st_mode & S_IFMT == S_IFREG, let file = resolved(path) else { return }
        let isNew = taken.withLock { taken in
            defer { taken.append(file) }
            return !taken.contains(file)
        }
        guard !isNew else { return }
        throw LayerError(
            .invalidArgument, "write", path: path,
            cause: .reason("it is named twice, and what comes later would replace what was written or read before"),
            hint: "give each file a name of its own")
    }

    /// The file's own path: links followed, whether it is there or not.
    private static func resolved(_ path: PathBytes) -> PathBytes? {
        if let found = realPath(path) { return found }
        guard let parts = path.splitLast() else { return realPath(PathBytes(".")).map { $0.appending(path) } }
        return realPath(parts.directory)?.appending(parts.name)
    }

    /// The error with what helps, if the file system that it wrote to is full.
    static func explained(_ error: LayerError) -> LayerError {
        guard error.code == .noSpace, error.path != OutputFile.standardOutputName,
            let path = place.withLock({ $0 }) ?? error.path, !isDevice(path), let mount = mountPoint(path)
        else { return error }
        var result = error
        result.hint =
            "the file system at \(mount.description) is full\(isQuota(error) ? " to your quota" : size(mount)): "
            + "free some space there, or name another place"
        return result
    }

    private static func isQuota(_ error: LayerError) -> Bool {
        if case .systemCall(let failed) = error.cause { failed.errno == EDQUOT } else { false }
    }

    /// How large it is: a number that a user knows it by. What is free says nothing once the output is taken back.
    private static func size(_ path: PathBytes) -> String {
        var facts = statvfs()
        guard statvfs(terminated(path), &facts) == 0, facts.f_blocks > 0 else { return "" }
        return " (\(Human.bytes(UInt64(facts.f_blocks) * UInt64(facts.f_frsize))), or \(facts.f_files) inodes)"
    }

    /// The directory at which the file system of `path` begins; of a path that is not there, of what there is above.
    private static func mountPoint(_ path: PathBytes) -> PathBytes? {
        var current = path
        var resolved = realPath(current)
        while resolved == nil {
            guard let parts = current.splitLast() else { return nil }
            current = parts.directory
            resolved = realPath(current)
        }
        guard var found = resolved, let device = device(found) else { return nil }
        while let parts = found.splitLast(), parts.directory != found {
            guard self.device(parts.directory) == device else { break }
            found = parts.directory
        }
        return found
    }

    private static func isDevice(_ path: PathBytes) -> Bool {
        var facts = stat()
        guard stat(terminated(path), &facts) == 0 else { return false }
        return facts.st_mode & S_IFMT == S_IFBLK || facts.st_mode & S_IFMT == S_IFCHR
    }

    private static func device(_ path: PathBytes) -> UInt64? {
        var facts = stat()
        return stat(terminated(path), &facts) == 0 ? UInt64(facts.st_dev) : nil
    }

    private static func realPath(_ path: PathBytes) -> PathBytes? {
        guard let found = realpath(terminated(path), nil) else { return nil }
        defer { free(found) }
        return PathBytes((0..<strlen(found)).map { UInt8(bitPattern: found[$0]) })
    }

    private static func terminated(_ path: PathBytes) -> [CChar] { path.bytes.map { CChar(bitPattern: $0) } + [0] }
}
