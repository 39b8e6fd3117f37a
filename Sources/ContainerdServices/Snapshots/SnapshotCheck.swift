import Foundation
import LayerDrivers
import LayerModel
import LinuxIO

/// Compares the records of a root with its directories, and mends what can be mended. For a daemon's root while no daemon
/// runs; without mending it only looks, at copies, and a running daemon is not disturbed.
package struct SnapshotCheck {
    /// Something that is not as it should be.
    package struct Finding: Sendable, Equatable {
        package var driver: DriverName
        package var text: String
        package var isMended = false
    }

    private let root: String
    private let driver: DriverName
    private let repairs: Bool
    private var findings: [Finding] = []

    private init(_ root: String, _ driver: DriverName, repairs: Bool) {
        self.root = root
        self.driver = driver
        self.repairs = repairs
    }

    /// What is wrong in the root, driver by driver; mended where `repairs` says so. Blocks.
    ///
    /// Throws `notFound` where there is no root, `inUse` where something is to be mended and a daemon uses it.
    package static func run(root: String, repairs: Bool) throws -> [Finding] {
        guard FileManager.default.fileExists(atPath: root + "/metadata") else {
            throw LayerError(
                .notFound, "check the snapshots in", path: PathBytes(root),
                cause: .reason("it has no directory \"metadata\""), hint: "name the daemon's root with --root")
        }
        let lock = repairs ? try SnapshotterSet.lock(PathBytes(root)) : nil
        defer { withExtendedLifetime(lock) {} }
        return try SnapshotterSet.drivers.flatMap { driver in
            var check = SnapshotCheck(root, driver, repairs: repairs)
            try check.run()
            return check.findings
        }
    }

    private var database: String { "\(root)/metadata/\(driver.rawValue).db" }
    private var home: String { "\(root)/\(driver.rawValue)" }

    private mutating func run() throws {
        let manager = FileManager.default
        guard manager.fileExists(atPath: database) || manager.fileExists(atPath: SnapshotDatabase.backup(of: database))
        else { return }
        let records: [SnapshotRecord]
        do {
            records = try SnapshotSalvage.whole(database)
        } catch {
            try rebuild(SnapshotDatabase.failure(error, "read the records in", database).text)
            return
        }
        // Datasets are zfs's own to check.
        if driver != .zfs { try compare(records) }
    }

    /// Ids below a directory of the home; none where it is not there.
    private func ids(in part: String) -> Set<Int64> {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "\(home)/\(part)")) ?? []
        return Set(names.compactMap { SnapshotDirectories.id(Array($0.utf8)[...]) })
    }

    /// Those below `snapshots` that no record speaks of, and that have the form of a snapshot's.
    private func strays(_ known: [SnapshotRecord]) -> Set<Int64> {
        let place = PathBytes("\(home)/snapshots")
        guard let opened = try? place.open([.readOnly, .directory, .noFollow]) else { return [] }
        var found: Set<Int64> = []
        for id in ids(in: "snapshots").subtracting(known.map(\.id))
        where (try? SnapshotDirectories.isOwn(id, in: opened)) == true { found.insert(id) }
        return found
    }

    // MARK: records and directories

    private mutating func compare(_ records: [SnapshotRecord]) throws {
        // Where a power failure undid a move, the next start does it again.
        let stored = ids(in: "snapshots").union(ids(in: "spare"))
        var left = SnapshotIndex(records)
        // Children first, so that a whole branch that is gone goes.
        for record in records.sorted(by: { left.ancestors(of: $0).count > left.ancestors(of: $1).count })
        where !stored.contains(record.id) {
            let isLeaf = left.childCount(of: record.id) == 0
            if isLeaf { left.apply(.remove(id: record.id)) }
            findings.append(
                Finding(
                    driver: driver,
                    text: "snapshot \(quoted(record.name)) has no directory \(home)/snapshots/\(record.id)"
                        + (isLeaf ? "" : "; others are its children: remove those first")))
            guard repairs, isLeaf else { continue }
            let opened = try SnapshotDatabase(path: database)
            defer { opened.close() }
            try opened.write([.remove(id: record.id)])
            findings[findings.count - 1].isMended = true
        }
        for id in strays(records).sorted() where !repairs {
            findings.append(
                Finding(
                    driver: driver,
                    text: "\(home)/snapshots/\(id) is of no snapshot: the daemon removes it when it starts",
                    isMended: true))
        }
    }

    // MARK: a damaged database

    private mutating func rebuild(_ reason: String) throws {
        let copy = SnapshotDatabase.backup(of: database)
        let saved = SnapshotSalvage.parts([database, copy])
        findings.append(
            Finding(
                driver: driver,
                text: "\(reason); \(saved.records.count) records can be read, the copy of the last clean end included"))
        guard repairs else { return }
        let kept = consistent(saved.records)
        let stored = driver == .zfs ? [] : ids(in: "snapshots")
        try install(kept, highest: max(saved.highest, stored.max() ?? 0))
        findings[findings.count - 1].isMended = true
        try putAside(driver == .zfs ? [] : strays(kept))
    }

    /// The records whose directories and parents are there, parents first.
    private func consistent(_ records: [SnapshotRecord]) -> [SnapshotRecord] {
        let stored = ids(in: "snapshots").union(ids(in: "spare"))
        var open = records.filter { driver == .zfs || stored.contains($0.id) }
        var (kept, known): ([SnapshotRecord], Set<Int64>) = ([], [])
        while true {
            let ready = open.filter { $0.parent.map(known.contains) ?? true }
            if ready.isEmpty { return kept }
            kept += ready
            known.formUnion(ready.map(\.id))
            open.removeAll { known.contains($0.id) }
        }
    }

    /// Writes a new database and puts it in the place of the damaged one, which stays beside it.
    private func install(_ records: [SnapshotRecord], highest: Int64) throws {
        let manager = FileManager.default
        let new = database + ".new"
        for suffix in ["", "-wal", "-shm"] { try? manager.removeItem(atPath: new + suffix) }
        let made = try SnapshotDatabase(path: new)
        try made.write(records.map(SnapshotChange.put))
        try made.reserve(upTo: highest)
        try made.settle()
        made.close()
        let damaged = unused(database + ".damaged")
        for suffix in ["", "-wal", "-shm"] where manager.fileExists(atPath: database + suffix) {
            try manager.moveItem(atPath: database + suffix, toPath: damaged + suffix)
        }
        try manager.moveItem(atPath: new, toPath: database)
        try? manager.removeItem(atPath: new + "-wal")
    }

    /// Moves directories that no record speaks of any more to where no cleaning up looks: they may hold what a container wrote.
    private mutating func putAside(_ ids: Set<Int64>) throws {
        let manager = FileManager.default
        for id in ids.sorted() {
            try manager.createDirectory(
                atPath: home + "/lost", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            let place = unused("\(home)/lost/\(id)")
            try manager.moveItem(atPath: "\(home)/snapshots/\(id)", toPath: place)
            findings.append(
                Finding(
                    driver: driver,
                    text: "\(home)/snapshots/\(id) has lost its record: what it holds is in \(place) now; remove that "
                        + "when nobody needs it",
                    isMended: true))
        }
    }

    private func unused(_ path: String) -> String {
        var name = path
        var number = 1
        while FileManager.default.fileExists(atPath: name) {
            name = "\(path)-\(number)"
            number += 1
        }
        return name
    }
}
