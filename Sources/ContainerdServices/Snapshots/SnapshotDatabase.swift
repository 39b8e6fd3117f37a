import GRDB
import Glibc

/// The records on disk: SQLite with a write-ahead log, each commit synced.
///
/// Used by one thread at a time: by `SnapshotStore` when it opens, then by its writer.
struct SnapshotDatabase: Sendable {
    private let queue: DatabaseQueue

    /// The version that this program writes, in `user_version`.
    private static let version = 1

    /// Opens the file, or makes it.
    ///
    /// Throws `DatabaseError`, and `ServiceFailure` for a file of a later version.
    init(path: String) throws {
        var configuration = Configuration()
        configuration.journalMode = .wal
        configuration.label = "snapshots"
        queue = try DatabaseQueue(path: path, configuration: configuration)
        try queue.writeWithoutTransaction { database in
            // GRDB sets NORMAL for this journal, with which the last answers could be lost in a power failure.
            try database.execute(sql: "PRAGMA synchronous = FULL")
            let found = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
            guard found <= Self.version else {
                throw ServiceFailure(
                    .failedPrecondition,
                    "open \(path): it is of version \(found), this program knows \(Self.version); use a newer ldiff")
            }
            if found == 0 {
                try database.inTransaction(.immediate) {
                    try database.execute(sql: Self.schema)
                    return .commit
                }
            }
        }
        Self.extendLog(path + "-wal")
    }

    /// Gives the log the size that it grows to, so that commits write where there is something already: to sync a file that
    /// grew, the file system commits its journal. SQLite stops at the first frame that is none, and these zeros are none.
    ///
    /// What fails only makes the first commits slower.
    private static func extendLog(_ path: String) {
        let size = 1100 * (4096 + 24)
        let descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return }
        // No locks of SQLite's are lost with this: they lie on its other files.
        defer { Glibc.close(descriptor) }
        var (status, space) = (stat(), statvfs())
        guard fstat(descriptor, &status) == 0, status.st_size < size, fstatvfs(descriptor, &space) == 0,
            space.f_bavail * space.f_frsize > 64 * UInt(size)
        else { return }
        let zeros = [UInt8](repeating: 0, count: size - Int(status.st_size))
        _ = pwrite(descriptor, zeros, zeros.count, status.st_size)
        fdatasync(descriptor)
    }

    /// AUTOINCREMENT, so that no id is ever given out twice.
    private static let schema = """
        CREATE TABLE snapshot (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            kind INTEGER NOT NULL,
            parent INTEGER REFERENCES snapshot(id),
            created INTEGER NOT NULL,
            updated INTEGER NOT NULL,
            size INTEGER NOT NULL,
            inodes INTEGER NOT NULL,
            rebased INTEGER NOT NULL
        );
        CREATE INDEX child ON snapshot(parent) WHERE parent IS NOT NULL;
        CREATE TABLE label (
            snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (snapshot, name)
        ) WITHOUT ROWID;
        PRAGMA user_version = \(version);
        """

    /// Everything, and the highest id that was ever given out.
    func load() throws -> (records: [SnapshotRecord], highest: Int64) {
        try queue.read { database in
            var labels: [Int64: [String: String]] = [:]
            let rows = try Row.fetchCursor(database, sql: "SELECT snapshot, name, value FROM label")
            while let row = try rows.next() { labels[row[0], default: [:]][row[1]] = row[2] }
            var records: [SnapshotRecord] = []
            let snapshots = try Row.fetchCursor(
                database,
                sql: "SELECT id, name, kind, parent, created, updated, size, inodes, rebased FROM snapshot ORDER BY id")
            while let row = try snapshots.next() {
                let id: Int64 = row[0]
                guard let kind = SnapshotKind(rawValue: row[2]) else {
                    throw ServiceFailure(.dataLoss, "read the metadata: snapshot \(id) is of an unknown kind")
                }
                records.append(
                    SnapshotRecord(
                        id: id, name: row[1], kind: kind, parent: row[3], created: row[4], updated: row[5],
                        labels: labels[id] ?? [:], usage: SnapshotUsage(size: row[6], inodes: row[7]),
                        isRebased: row[8]))
            }
            let highest = try Int64.fetchOne(database, sql: "SELECT seq FROM sqlite_sequence WHERE name = 'snapshot'")
            return (records, highest ?? 0)
        }
    }

    /// Makes the changes in one transaction; they are on disk when this returns. All or none.
    ///
    /// Where the disk is full, the log may hold the room that is missing: it is emptied into the database, and all tried
    /// again, so that snapshots can be removed to make room.
    func write(_ changes: [SnapshotChange]) throws {
        do {
            try writeOnce(changes)
        } catch let error as DatabaseError where error.resultCode == .SQLITE_FULL {
            _ = try? queue.writeWithoutTransaction { database in try database.checkpoint(.truncate) }
            try writeOnce(changes)
        }
    }

    private func writeOnce(_ changes: [SnapshotChange]) throws {
        try queue.writeWithoutTransaction { database in
            try database.inTransaction(.immediate) {
                for change in changes { try write(change, database) }
                return .commit
            }
        }
    }

    private func write(_ change: SnapshotChange, _ database: Database) throws {
        switch change {
        case .remove(let id):
            try database.cachedStatement(sql: "DELETE FROM snapshot WHERE id = ?").execute(arguments: [id])
        case .put(let record):
            try database.cachedStatement(
                sql: """
                    INSERT INTO snapshot (id, name, kind, parent, created, updated, size, inodes, rebased)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind,
                        parent = excluded.parent, created = excluded.created, updated = excluded.updated,
                        size = excluded.size, inodes = excluded.inodes, rebased = excluded.rebased
                    """
            ).execute(arguments: [
                record.id, record.name, record.kind.rawValue, record.parent, record.created, record.updated,
                record.usage.size, record.usage.inodes, record.isRebased,
            ])
            try database.cachedStatement(sql: "DELETE FROM label WHERE snapshot = ?").execute(arguments: [record.id])
            for (name, value) in record.labels {
                try database.cachedStatement(sql: "INSERT INTO label (snapshot, name, value) VALUES (?, ?, ?)")
                    .execute(arguments: [record.id, name, value])
            }
        }
    }

    /// What SQLite's failure means to containerd.
    static func failure(_ error: any Error) -> ServiceFailure {
        if let failure = error as? ServiceFailure { return failure }
        guard let error = error as? DatabaseError else {
            return ServiceFailure(.internalError, "write the metadata: \(error)")
        }
        let kind: ServiceFailure.Class =
            switch error.resultCode {
            case .SQLITE_FULL: .resourceExhausted
            case .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH: .permissionDenied
            case .SQLITE_CORRUPT, .SQLITE_NOTADB: .dataLoss
            default: .internalError
            }
        return ServiceFailure(kind, "write the metadata: \(error.message ?? error.description)")
    }

    func close() { try? queue.close() }
}
