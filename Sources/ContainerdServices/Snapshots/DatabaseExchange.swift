import Glibc
import LayerModel
import LinuxIO

/// Puts a new database in the place of a damaged one, which stays beside it. A kill at any moment loses nothing: the new one has its
/// second name once it is complete, and whoever finds that name ends what was begun, before anything else.
struct DatabaseExchange {
    private let database: String

    init(_ database: String) { self.database = database }

    /// A complete database that is to take the place of the other one.
    var repaired: String { database + ".repaired" }

    var isUnfinished: Bool { get throws(LayerError) { try SnapshotCheck.exists(repaired) } }

    private static let parts = ["", "-wal", "-shm"]

    /// Makes a database of these records, and puts it in the other one's place.
    func install(_ store: [SnapshotChange], _ records: [SnapshotRecord], highest: Int64) throws {
        let new = database + ".new"
        for part in Self.parts { unlink(new + part) }
        let made = try SnapshotDatabase(path: new) { _ in true }
        try made.write(store + records.map(SnapshotChange.put))
        try made.reserve(upTo: highest)
        try made.settle()
        made.close()
        unlink(new + "-wal")
        try sync(new)
        try rename(new, repaired)
        try finish()
    }

    /// Ends what `install` began.
    func finish() throws(LayerError) {
        // A log that lies beside the wrong database would be read into it: the database goes first, and its log to the same name.
        let damaged = try Self.exists(database) ? Self.unused(database + ".damaged") : lastDamaged()
        for part in Self.parts where try Self.exists(database + part) {
            try rename(database + part, try Self.unused(damaged + part))
        }
        try rename(repaired, database)
    }

    /// Where a kill left the log behind.
    private func lastDamaged() throws(LayerError) -> String {
        var last = database + ".damaged"
        var number = 1
        while try Self.exists("\(database).damaged-\(number)") {
            last = "\(database).damaged-\(number)"
            number += 1
        }
        return last
    }

    private func rename(_ old: String, _ new: String) throws(LayerError) {
        guard Glibc.rename(old, new) == 0 else {
            throw LayerError(SystemCallError("rename", errno: errno), "repair the records in", path: PathBytes(old))
        }
        // What comes next needs this.
        try sync(PathBytes(database).splitLast().map(\.directory.description) ?? "/")
    }

    private func sync(_ path: String) throws(LayerError) {
        try attempt("sync", PathBytes(path)) { () throws(SystemCallError) in
            try PathBytes(path).open([.readOnly]).sync()
        }
    }

    private static func exists(_ path: String) throws(LayerError) -> Bool { try SnapshotCheck.exists(path) }

    /// The path, or the first with a number behind it, where nothing is; or where the very file of `other` is already.
    static func unused(_ path: String, unlessSameAs other: String? = nil) throws(LayerError) -> String {
        var name = path
        var number = 1
        while try exists(name) {
            if let other, isSame(name, other) { return name }
            name = "\(path)-\(number)"
            number += 1
        }
        return name
    }

    private static func isSame(_ one: String, _ other: String) -> Bool {
        var (first, second) = (stat(), stat())
        return stat(one, &first) == 0 && stat(other, &second) == 0 && first.st_ino == second.st_ino
            && first.st_dev == second.st_dev
    }
}
