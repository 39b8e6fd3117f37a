import Foundation
import GRDB
import Glibc
import LayerModel

/// Reads databases of records, whole or in parts, from copies of their files: SQLite writes beside whatever it reads.
enum SnapshotSalvage {
    /// All that a database says. Throws what SQLite says where it is damaged, and `ServiceFailure` where it says nothing and is
    /// not believed.
    static func whole(
        _ path: String, believing: (SnapshotDatabase.Silence) throws -> Bool = { _ in false }
    ) throws -> SnapshotIndex {
        // Times of files may be too coarse to show each change: what is damaged is so every time.
        for attempt in 1..<3 {
            do { return try wholeOnce(path, believing) } catch let error as DatabaseError
                where error.resultCode == .SQLITE_CORRUPT || error.resultCode == .SQLITE_NOTADB
            {
                usleep(UInt32(attempt) * 20_000)
            }
        }
        return try wholeOnce(path, believing)
    }

    private static func wholeOnce(
        _ path: String, _ believing: (SnapshotDatabase.Silence) throws -> Bool
    ) throws -> SnapshotIndex {
        try withCopy(of: path) { copy in
            let database = try SnapshotDatabase(path: copy, name: path, believing: believing)
            defer { database.close() }
            let problems = try database.problems()
            if let first = problems.first {
                throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: first)
            }
            return try database.load().index
        }
    }

    /// Whether the last clean end left a copy that says more than a database which says nothing. One that is not there says less
    /// than any.
    static func hasCopy(of database: String, _ silence: SnapshotDatabase.Silence) -> Bool {
        let copy = SnapshotDatabase.backup(of: database)
        guard access(copy, F_OK) == 0 else { return false }
        return silence == .absent || !parts([copy]).records.isEmpty
    }

    /// What can be read of these databases; where two speak of one id or name, the earlier is believed. And the highest id that
    /// any of them gave out.
    static func parts(_ paths: [String]) -> (records: [SnapshotRecord], highest: Int64, index: SnapshotIndex) {
        var records: [Int64: SnapshotRecord] = [:]
        var names: Set<SnapshotName> = []
        var highest: Int64 = 0
        var index = SnapshotIndex()
        for path in paths where FileManager.default.fileExists(atPath: path) {
            guard let (found, store) = try? withCopy(of: path, { try parts(ofCopy: $0) }) else { continue }
            for change in store {
                if case .identify = change, index.identity != nil { continue }
                index.apply(change)
            }
            for record in found where records[record.id] == nil && names.insert(SnapshotName(record.name)).inserted {
                records[record.id] = record
                highest = max(highest, record.id)
            }
        }
        for record in records.values { index.apply(.put(record)) }
        return (records.values.sorted { $0.id < $1.id }, highest, index)
    }

    /// From the first record to where the damage begins, and from the last one back to it.
    private static func parts(ofCopy path: String) throws -> ([SnapshotRecord], store: [SnapshotChange]) {
        let queue = try DatabaseQueue(path: path)
        defer { try? queue.close() }
        return try queue.read { database in
            var (rows, labels): ([Int64: Row], [Int64: [String: String]]) = ([:], [:])
            for order in ["ASC", "DESC"] {
                try? collect(
                    database, "SELECT snapshot, name, value FROM label ORDER BY snapshot \(order), name \(order)"
                ) { labels[$0[0], default: [:]][$0[1]] = $0[2] }
                try? collect(database, "\(SnapshotDatabase.selection) ORDER BY id \(order)") { rows[$0[0]] = $0 }
            }
            let store = (try? Row.fetchOne(database, sql: "SELECT identity, settled FROM store")) ?? nil
            return (
                rows.values.compactMap { try? SnapshotDatabase.record($0, labels) },
                store.map { [.identify($0[0]), .settled(upTo: $0[1])] } ?? []
            )
        }
    }

    private static func collect(_ database: Database, _ sql: String, _ take: (Row) -> Void) throws {
        let cursor = try Row.fetchCursor(database, sql: sql)
        while let row = try cursor.next() { take(row.copy()) }
    }

    /// Copies a database and its log to a directory of its own for the time of `body`.
    private static func withCopy<Result>(of path: String, _ body: (String) throws -> Result) throws -> Result {
        let manager = FileManager.default
        let place = manager.temporaryDirectory.appending(path: "ldiff-check-\(UUID().uuidString)")
        // Not by Foundation, which makes it for everybody and then changes the mode, or does not.
        guard mkdir(place.path, 0o700) == 0 else {
            throw LayerError(
                SystemCallError("mkdir", errno: errno), "copy the records to", path: PathBytes(place.path))
        }
        defer { try? manager.removeItem(at: place) }
        let copy = place.appending(path: "records.db").path
        for attempt in 1... {
            let before = FilesState(path)
            for suffix in ["", "-wal"] {
                try? manager.removeItem(atPath: copy + suffix)
                guard manager.fileExists(atPath: path + suffix) else { continue }
                try copyFile(path + suffix, to: copy + suffix)
            }
            if FilesState(path) == before { break }
            // What stood in the log when the one was copied may have gone into the other, and both copies lack it.
            guard attempt < copyTries else {
                throw ServiceFailure(
                    .unavailable,
                    "read \(path): it changed each of the \(copyTries) times that it was copied: a daemon is at work; "
                        + "look again later, or stop it")
            }
            usleep(UInt32(attempt) * 10_000)
        }
        return try body(copy)
    }

    /// Up to the end that the file has when it is reached. Foundation's way asks for the size first, and never ends where the file
    /// became shorter meanwhile, as a log does.
    private static func copyFile(_ path: String, to target: String) throws {
        func failure(_ call: StaticCallName, _ path: String) -> LayerError {
            LayerError(SystemCallError(call, errno: errno), "copy the records", path: PathBytes(path))
        }
        let source = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard source >= 0 else {
            if errno == ENOENT { return }
            throw failure("open", path)
        }
        defer { Glibc.close(source) }
        let copy = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard copy >= 0 else { throw failure("open", target) }
        defer { Glibc.close(copy) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = read(source, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            guard count > 0 else { return }
            var done = 0
            while done < count {
                let written = buffer[done..<count].withUnsafeBytes { write(copy, $0.baseAddress, $0.count) }
                if written < 0, errno == EINTR { continue }
                guard written > 0 else { throw failure("write", target) }
                done += written
            }
        }
    }

    private static let copyTries = 12

    /// What shows that a log was written into its database, or begun anew, while both were copied. What is only added to the log
    /// does no harm: its end is told by sums.
    private struct FilesState: Equatable {
        private var numbers: [Int64] = []
        private var head: [UInt8] = []

        init(_ path: String) {
            var status = stat()
            if stat(path, &status) == 0 {
                numbers = [
                    Int64(status.st_ino), Int64(status.st_size), Int64(status.st_mtim.tv_sec),
                    Int64(status.st_mtim.tv_nsec), Int64(status.st_ctim.tv_sec), Int64(status.st_ctim.tv_nsec),
                ]
            }
            let log = open(path + "-wal", O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
            guard log >= 0 else { return }
            defer { Glibc.close(log) }
            // With the salt of its frames.
            head = [UInt8](repeating: 0, count: 32)
            head.removeLast(32 - max(0, pread(log, &head, 32, 0)))
        }
    }
}
