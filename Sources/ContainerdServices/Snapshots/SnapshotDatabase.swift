import GRDB
import GRDBSQLite
import Glibc
import LayerModel

/// The records on disk: SQLite with a write-ahead log, each commit synced.
///
/// Used by one thread at a time: by `SnapshotStore` when it opens, then by its writer; and by this process alone, which holds
/// the root's lock. A full disk stops none of it: the log keeps its room between runs, and its index is in memory.
struct SnapshotDatabase: Sendable {
    private let queue: DatabaseQueue
    let path: String

    /// The version that this program writes, in `user_version`.
    private static let version = 1

    /// What a database does not say.
    enum Silence {
        /// There is no file, or nothing in it.
        case absent
        /// It is one, and no snapshot was ever recorded in it.
        case unused
    }

    /// Opens the file, or makes it.
    ///
    /// One that says nothing is that of a new root, or all records are lost: `believing` is asked whether there is nothing that
    /// records must have spoken of. `name` is what messages call the file.
    ///
    /// Throws `DatabaseError`, and `ServiceFailure` for a file of a later version, and for one that is not believed; of that
    /// nothing is changed.
    init(path: String, name: String? = nil, believing: (Silence) throws -> Bool) throws {
        self.path = path
        let name = name ?? path
        let isThere = try Self.holdsAnything(path, name)
        guard try isThere || believing(.absent) else { throw Self.lost(name, .absent) }
        var configuration = Configuration()
        configuration.label = "snapshots"
        configuration.prepareDatabase { database in
            // Before the first look at the log: else SQLite makes a file for the log's index, for which a full disk has no
            // room.
            try database.execute(sql: "PRAGMA locking_mode = EXCLUSIVE")
            // Else the last one to close removes the log, and with it the room in which a full disk records removals.
            var isKept: Int32 = 1
            sqlite3_file_control(database.sqliteConnection, nil, SQLITE_FCNTL_PERSIST_WAL, &isKept)
        }
        queue = try DatabaseQueue(path: path, configuration: configuration)
        try queue.writeWithoutTransaction { database in
            // Not by GRDB, which writes something where there is no log yet.
            guard try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL") == "wal" else {
                throw ServiceFailure(.failedPrecondition, "open \(name): SQLite keeps no write-ahead log there")
            }
            try database.execute(sql: "PRAGMA synchronous = FULL")
            let found = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
            guard found <= Self.version else {
                throw ServiceFailure(
                    .failedPrecondition,
                    "open \(name): it is of version \(found), this program knows \(Self.version); use a newer ldiff")
            }
            if found == 0 {
                // A file with a head and nothing else.
                guard try !isThere || believing(.absent) else { throw Self.lost(name, .absent) }
                try database.inTransaction(.immediate) {
                    try database.execute(sql: Self.schema)
                    return .commit
                }
                return
            }
            let tables = try String.fetchAll(
                database,
                sql: "SELECT name FROM sqlite_master WHERE name IN ('condemned', 'sqlite_sequence', 'store')")
            let isUnused = try tables.filter { $0 != "store" }.allSatisfy { table in
                try Row.fetchOne(database, sql: "SELECT 1 FROM \(table)") == nil
            }
            guard try !isUnused || believing(.unused) else { throw Self.lost(name, .unused) }
            // Earlier versions kept none.
            if !tables.contains("condemned") { try database.execute(sql: Self.condemnedSchema) }
            if !tables.contains("store") { try database.execute(sql: Self.storeSchema) }
        }
        Self.extendLog(path + "-wal")
    }

    /// Whether there is a file with something in it. Throws where that cannot be seen.
    private static func holdsAnything(_ path: String, _ name: String) throws(ServiceFailure) -> Bool {
        var status = stat()
        if stat(path, &status) == 0 { return status.st_size > 0 }
        guard errno == ENOENT else {
            throw ServiceFailure(
                errno == EACCES ? .permissionDenied : .internalError,
                "open \(name): \(String(cString: strerror(errno)))")
        }
        return false
    }

    private static func lost(_ name: String, _ silence: Silence) -> ServiceFailure {
        let what = silence == .absent ? "it is missing or empty" : "no snapshot is recorded in it"
        return ServiceFailure(
            .dataLoss,
            "open \(name): \(what), though there are snapshots, or a copy of their records; \(mendingAdvice)")
    }

    private static let mendingAdvice = "stop the daemon, and mend it with `containerd-ldiff-grpc check --repair`"

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
            space.f_bavail * space.f_frsize > 8 * UInt(size)
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
        \(condemnedSchema);
        \(storeSchema);
        PRAGMA user_version = \(version);
        """

    /// Ids whose storage may go, whatever is in it: of removed snapshots, and of those that are being made.
    private static let condemnedSchema = "CREATE TABLE condemned (id INTEGER PRIMARY KEY)"

    /// A row at most: whose records these are, and up to which id directories are where they belong.
    private static let storeSchema = "CREATE TABLE store (identity TEXT NOT NULL, settled INTEGER NOT NULL)"

    /// Everything, and the highest id that was ever given out.
    func load() throws -> (index: SnapshotIndex, highest: Int64) {
        try queue.read { database in
            var labels: [Int64: [String: String]] = [:]
            let rows = try Row.fetchCursor(database, sql: "SELECT snapshot, name, value FROM label")
            while let row = try rows.next() { labels[row[0], default: [:]][row[1]] = row[2] }
            var index = SnapshotIndex()
            let snapshots = try Row.fetchCursor(database, sql: Self.selection + " ORDER BY id")
            while let row = try snapshots.next() { index.apply(.put(try Self.record(row, labels))) }
            for id in try Int64.fetchAll(database, sql: "SELECT id FROM condemned") { index.apply(.condemn(id: id)) }
            if let row = try Row.fetchOne(database, sql: "SELECT identity, settled FROM store") {
                index.apply(.identify(row[0]))
                index.apply(.settled(upTo: row[1]))
            }
            let endless = index.endless
            guard endless.isEmpty else {
                throw ServiceFailure(
                    .dataLoss,
                    "read the records in \(path): snapshots have themselves among their parents (ids "
                        + "\(endless.prefix(8).map(String.init).joined(separator: ", "))); the file is damaged: "
                        + Self.mendingAdvice)
            }
            let highest = try Int64.fetchOne(database, sql: "SELECT seq FROM sqlite_sequence WHERE name = 'snapshot'")
            return (index, highest ?? 0)
        }
    }

    static let selection = "SELECT id, name, kind, parent, created, updated, size, inodes, rebased FROM snapshot"

    /// A row of `selection`, with the labels that are its snapshot's.
    static func record(_ row: Row, _ labels: [Int64: [String: String]]) throws -> SnapshotRecord {
        let id: Int64 = row[0]
        guard let kind = SnapshotKind(rawValue: row[2]) else {
            throw ServiceFailure(.dataLoss, "read the records: snapshot \(id) is of an unknown kind")
        }
        return SnapshotRecord(
            id: id, name: row[1], kind: kind, parent: row[3], created: row[4], updated: row[5],
            labels: labels[id] ?? [:],
            usage: SnapshotUsage(size: row[6], inodes: row[7]), isRebased: row[8])
    }

    /// What SQLite finds wrong in the file; empty where nothing is.
    func problems() throws -> [String] {
        try queue.read { database in
            let found = try String.fetchAll(database, sql: "PRAGMA integrity_check(20)").filter { $0 != "ok" }
            let orphans = try Row.fetchAll(database, sql: "PRAGMA foreign_key_check").count
            return orphans == 0 ? found : found + ["\(orphans) records or labels speak of snapshots that have none"]
        }
    }

    /// Whether the next one who opens the database may find a transaction that failed with this error: when its sync failed. One
    /// for which there was no room lacks a page.
    static func mayBeWritten(_ error: any Error) -> Bool { (error as? DatabaseError)?.resultCode != .SQLITE_FULL }

    /// Makes the changes in one transaction. All or none. Without changes something is written all the same.
    ///
    /// They are on disk when this returns if it `syncs`; else a kill loses nothing, and a power failure may lose it until the
    /// next transaction that syncs, or `sync`.
    ///
    /// Where the disk is full, the log may hold the room that is missing: what it says goes into the database, and all is
    /// tried again from its beginning, so that snapshots can be removed to make room. It keeps its length: what it gave back,
    /// somebody else would take.
    func write(_ changes: [SnapshotChange], syncs: Bool = true) throws {
        do {
            try writeOnce(changes, syncs)
        } catch let error as DatabaseError where error.resultCode == .SQLITE_FULL {
            _ = try? queue.writeWithoutTransaction { database in try database.checkpoint(.restart) }
            try writeOnce(changes, syncs)
        }
    }

    private func writeOnce(_ changes: [SnapshotChange], _ syncs: Bool) throws {
        try queue.writeWithoutTransaction { database in
            if !syncs { try database.execute(sql: "PRAGMA synchronous = NORMAL") }
            // It is what holds for all that does not ask for less.
            defer { if !syncs { try? database.execute(sql: "PRAGMA synchronous = FULL") } }
            try database.inTransaction(.immediate) {
                for change in changes { try write(change, database) }
                // A page, whatever is in it.
                if changes.isEmpty { try database.execute(sql: "PRAGMA user_version = \(Self.version)") }
                return .commit
            }
        }
    }

    /// Makes durable what was written without a sync. Needs no room on the disk.
    func sync() throws(LayerError) {
        let log = path + "-wal"
        func check(_ result: Int32, _ call: StaticCallName) throws(LayerError) {
            guard result < 0 else { return }
            throw LayerError(SystemCallError(call, errno: errno), "sync the records", path: PathBytes(log))
        }
        let descriptor = open(log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        // Without a log everything lies in the database, which is synced.
        if descriptor < 0, errno == ENOENT { return }
        try check(descriptor, "open")
        // No locks of SQLite's are lost with this: they lie on its other files.
        defer { Glibc.close(descriptor) }
        try check(fdatasync(descriptor), "fdatasync")
    }

    private func write(_ change: SnapshotChange, _ database: Database) throws {
        switch change {
        case .remove(let id):
            try database.cachedStatement(sql: "DELETE FROM snapshot WHERE id = ?").execute(arguments: [id])
        case .condemn(let id):
            try database.cachedStatement(sql: "INSERT OR IGNORE INTO condemned (id) VALUES (?)").execute(arguments: [id]
            )
        case .acquit(let id):
            try database.cachedStatement(sql: "DELETE FROM condemned WHERE id = ?").execute(arguments: [id])
        case .settled(let id):
            try database.cachedStatement(sql: "UPDATE store SET settled = ? WHERE settled < ?").execute(arguments: [
                id, id,
            ])
        case .identify(let identity):
            try database.execute(sql: "DELETE FROM store")
            try database.execute(sql: "INSERT INTO store (identity, settled) VALUES (?, 0)", arguments: [identity])
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

    /// What SQLite's failure means to containerd, and what to do about it.
    static func failure(_ error: any Error, _ operation: String, _ path: String) -> ServiceFailure {
        if let failure = error as? ServiceFailure { return failure }
        guard let error = error as? DatabaseError else {
            return ServiceFailure(.internalError, "\(operation) \(path): \(error)")
        }
        let (kind, remedy): (ServiceFailure.Class, String?) =
            switch error.resultCode {
            case .SQLITE_FULL:
                (.resourceExhausted, "its file system is full: remove snapshots, or other files there, or enlarge it")
            case .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
                (.permissionDenied, "make it writable for this daemon")
            case .SQLITE_CORRUPT, .SQLITE_NOTADB:
                (.dataLoss, "the file is damaged: \(mendingAdvice)")
            case .SQLITE_IOERR:
                (
                    .internalError,
                    "its file system fails, or lets nothing be written any more: look into the kernel's log (dmesg) and mend it"
                )
            default: (.internalError, nil)
            }
        let reason = "\(operation) \(path): \(error.message ?? error.description)"
        return ServiceFailure(kind, remedy.map { "\(reason); \($0)" } ?? reason)
    }

    /// Writes a copy that any program of SQLite's reads, beside the database; replaces the one of an earlier run, as a whole.
    func backUp() throws {
        let (copy, new) = (Self.backup(of: path), Self.backup(of: path) + ".new")
        unlink(new)
        do {
            try queue.writeWithoutTransaction { try $0.execute(sql: "VACUUM INTO ?", arguments: [new]) }
            let descriptor = open(new, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
            defer { if descriptor >= 0 { Glibc.close(descriptor) } }
            guard descriptor >= 0, fchmod(descriptor, 0o600) == 0, fsync(descriptor) == 0, rename(new, copy) == 0 else {
                throw ServiceFailure(.internalError, "write \(new): \(String(cString: strerror(errno)))")
            }
        } catch {
            unlink(new)
            throw error
        }
    }

    /// Where the copy of the records lies that the last clean end made.
    static func backup(of path: String) -> String { path + ".backup" }

    /// Keeps the copy as it is under another name, before records go that it may speak of: the next clean end makes a new one.
    static func keepBackup(of path: String) throws(LayerError) {
        let copy = backup(of: path)
        guard try SnapshotCheck.exists(copy) else { return }
        let kept = try DatabaseExchange.unused(copy + ".before-repair", unlessSameAs: copy)
        guard link(copy, kept) == 0 || errno == EEXIST else {
            throw LayerError(
                SystemCallError("link", errno: errno), "keep the copy of the records", path: PathBytes(kept))
        }
    }

    /// Puts all into the database's own file. For whoever moves that.
    func settle() throws { _ = try queue.writeWithoutTransaction { try $0.checkpoint(.truncate) } }

    /// No id up to this one is given out again.
    func reserve(upTo id: Int64) throws {
        try queue.write { database in
            try database.execute(
                sql: "DELETE FROM sqlite_sequence WHERE name = 'snapshot' AND seq < ?", arguments: [id])
            try database.execute(
                sql: """
                    INSERT INTO sqlite_sequence (name, seq)
                    SELECT 'snapshot', ? WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'snapshot')
                    """, arguments: [id])
        }
    }

    func close() { try? queue.close() }
}
