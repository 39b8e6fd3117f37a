import Glibc
import LayerModel
import Synchronization

/// Small files as text: what /proc says, budgets, reports.
enum TextFile {
    /// A file's bytes; nil where it cannot be read.
    static func bytes(_ path: String) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(file, &block, block.count)
            if count < 0 { return nil }
            if count == 0 { return bytes }
            bytes += block.prefix(count)
        }
    }

    /// A file's text; empty where it cannot be read.
    static func read(_ path: String) -> String { bytes(path).map { String(decoding: $0, as: UTF8.self) } ?? "" }

    /// Where the results of a run lie until it has ended.
    static func unfinished(_ path: String) -> String { path + ".unfinished" }

    /// Whether a file of that name would be replaced: not a pipe or a device, which is written to as it is.
    static func isReplaceable(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG
    }

    /// Writes what a run that goes on has so far, beside the file.
    static func writeUnfinished(_ text: String, to path: String) throws(BenchFailure) {
        if isReplaceable(path) { try put(text, under: unfinished(path)) }
    }

    /// Writes what a whole run has; a pipe or device is written to as it is.
    static func write(_ text: String, to path: String) throws(BenchFailure) {
        try put(text, under: path)
        if isReplaceable(path) { unlink(unfinished(path)) }
    }

    /// Throws where `write` to `path` would fail at once; what is there stays as it is.
    static func check(_ path: String) throws(BenchFailure) {
        if !isReplaceable(path) {
            guard access(path, W_OK) == 0 else {
                throw BenchFailure(.cannotWrite, "write \(path): \(errorText(errno))")
            }
            return
        }
        let partial = "\(path).partial-\(getpid())"
        let file = open(partial, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw BenchFailure(.cannotWrite, "create \(path): \(errorText(errno))") }
        close(file)
        unlink(partial)
    }

    private static let writing = Mutex(false)

    /// Waits until a file that is being written is whole, and lets no other be begun: before the process ends at a signal.
    static func finishWriting() { writing.withLock { $0 = true } }

    /// Writes a file so that it appears under its name only when it is complete; a pipe or device is written to as it is.
    private static func put(_ text: String, under path: String) throws(BenchFailure) {
        try writing.withLock { isEnding throws(BenchFailure) in
            if !isEnding { try replace(path, by: text) }
        }
    }

    private static func replace(_ path: String, by text: String) throws(BenchFailure) {
        let replaces = isReplaceable(path)
        let partial = replaces ? "\(path).partial-\(getpid())" : path
        let file = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw BenchFailure(.cannotWrite, "create \(path): \(errorText(errno))") }
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(file, $0.baseAddress.map { $0 + done }, bytes.count - done)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            done += count
        }
        let isWhole = done == bytes.count
        let problem = errno
        guard close(file) == 0, isWhole, !replaces || rename(partial, path) == 0 else {
            if replaces { unlink(partial) }
            throw BenchFailure(.cannotWrite, "write \(path): \(errorText(isWhole ? errno : problem))")
        }
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Makes a directory and those above it that are missing.
    static func makeDirectories(_ path: String) throws(BenchFailure) {
        var partial = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            partial += part + "/"
            if mkdir(partial, 0o755) != 0, errno != EEXIST {
                throw BenchFailure(.cannotWrite, "create \(partial): \(errorText(errno))")
            }
        }
    }

    /// The value of an environment variable; nil when unset or empty.
    static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
}
