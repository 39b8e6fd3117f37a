import Foundation
import Glibc
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
        let places =
            ["\(root)/metadata", "\(root)/zfs"]
            + SnapshotterSet.drivers.map { "\(root)/\($0.rawValue)/snapshots" }
        guard try places.contains(where: { path throws in try exists(path) }) else {
            throw LayerError(
                .notFound, "check the snapshots in", path: PathBytes(root),
                cause: .reason("it has no directory \"metadata\""), hint: "name the daemon's root with --root")
        }
        if repairs { try SnapshotDirectories.make(PathBytes(places[0]), mode: 0o700) }
        let lock = repairs ? try SnapshotterSet.lock(PathBytes(root)) : nil
        defer { withExtendedLifetime(lock) {} }
        return try SnapshotterSet.drivers.flatMap { driver in
            var check = SnapshotCheck(root, driver, repairs: repairs)
            try check.run()
            return check.findings
        }
    }

    /// Throws where that cannot be seen: what is hidden is not taken for what is not there.
    static func exists(_ path: String) throws(LayerError) -> Bool {
        var status = stat()
        if stat(path, &status) == 0 { return true }
        guard errno == ENOENT else {
            throw LayerError(SystemCallError("stat", errno: errno), "check the snapshots in", path: PathBytes(path))
        }
        return false
    }

    private var database: String { "\(root)/metadata/\(driver.rawValue).db" }
    private var home: String { "\(root)/\(driver.rawValue)" }
    private var holdsPacked: Bool { driver == .erofs }

    private mutating func run() throws {
        let (snapshots, spares) = (try stored(in: "snapshots"), try stored(in: "spare"))
        if try DatabaseExchange(database).isUnfinished {
            let text = "a repair of \(database) was cut short"
            guard repairs else { return add(text + ": stop the daemon, and --repair ends it") }
            try DatabaseExchange(database).finish()
            add(text, isMended: true)
        }
        let holdsSomething = !snapshots.ids(.filled).isEmpty || !spares.ids(.filled).isEmpty
        // Of zfs nobody but the daemon knows where the datasets are; it makes its home with its records.
        let holdsAny =
            try driver == .zfs
            ? Self.exists(home) : holdsSomething || !snapshots.ids(.empty).isEmpty || identity.found() != nil
        guard try holdsAny || SnapshotSalvage.hasCopy(of: database, .absent) || Self.exists(database) else { return }
        func load() throws -> SnapshotIndex {
            try SnapshotSalvage.whole(database) { silence in
                !SnapshotSalvage.hasCopy(of: database, silence)
                    && !(silence == .absent ? holdsAny : holdsSomething)
            }
        }
        var index: SnapshotIndex
        do {
            index = try load()
            // A daemon that is at work may have removed meanwhile what the records speak of.
            for _ in 0..<3 where try !repairs && problem(index) != nil { index = try load() }
        } catch {
            let failure = SnapshotDatabase.failure(error, "read the records in", database)
            guard failure.class == .dataLoss else {
                // It may be whole: of a newer version, or on a disk that fails.
                findings.append(Finding(driver: driver, text: failure.text))
                return
            }
            try rebuild(failure.text)
            return
        }
        if let problem = try problem(index) { return add(problem) }
        // Datasets are zfs's own to check.
        if driver != .zfs { try compare(index, snapshots, spares) }
        if holdsPacked { try checkPacked(index) }
    }

    private var identity: StoreIdentity { StoreIdentity(home: PathBytes(home), database: database) }

    /// Why the directories are not those of these records, and nothing may be mended by them.
    private func problem(_ index: SnapshotIndex) throws(LayerError) -> String? {
        if driver == .zfs { return nil }
        let stored = StoredSnapshots(home: PathBytes(home), holdsPacked: holdsPacked)
        return try identity.problem(index) { (id) throws(LayerError) in try stored.holds(id, index) }
    }

    /// What lies below a directory of the home, by ids.
    private struct Stored {
        var forms: [Int64: StoredForm] = [:]
        /// Where a recorded snapshot's directories are.
        var whole: Set<Int64> = []

        func ids(_ form: StoredForm) -> [Int64] { forms.filter { $0.value == form }.keys.sorted() }
    }

    private func stored(in part: String) throws(LayerError) -> Stored {
        var stored = Stored()
        let place = PathBytes("\(home)/\(part)")
        guard try Self.exists("\(home)/\(part)") else { return stored }
        let opened = try attempt("look into", place) { () throws(SystemCallError) in
            try place.open([.readOnly, .directory, .noFollow])
        }
        for name in try SnapshotDirectories.names(in: opened, place) {
            guard let id = SnapshotDirectories.id(name.bytes[...]) else { continue }
            try attempt("look at", place.appending(name)) { () throws(SystemCallError) in
                stored.forms[id] = try SnapshotDirectories.form(id, in: opened, holdsPacked: holdsPacked)
                if try SnapshotDirectories.holdsSnapshot(id, in: opened, holdsPacked: holdsPacked) {
                    stored.whole.insert(id)
                }
            }
        }
        return stored
    }

    private mutating func add(_ text: String, isMended: Bool = false) {
        findings.append(Finding(driver: driver, text: text, isMended: isMended))
    }

    // MARK: records and directories

    private mutating func compare(_ index: SnapshotIndex, _ snapshots: Stored, _ spares: Stored) throws {
        // Where a power failure undid a move, the next start does it again.
        var stored = snapshots.whole.union(
            spares.whole.filter { index.provesMove(of: $0, spares.forms[$0] ?? .absent) })
        if !stored.isSuperset(of: index.records.keys) {
            // A daemon that is at work has made some since they were listed.
            stored.formUnion(try self.stored(in: "snapshots").whole)
        }
        var left = index
        // Children first, so that a whole branch that is gone goes.
        for record in index.records.values.sorted(by: {
            (index.ancestors(of: $0).count, $0.id) > (index.ancestors(of: $1).count, $1.id)
        }) where !stored.contains(record.id) {
            let place = "\(home)/snapshots/\(record.id)"
            if let form = snapshots.forms[record.id], form != .empty {
                add(
                    "snapshot \(quoted(record.name)): \(place) is no directory with \"fs\" in it: put that back, or move "
                        + "it away, and the record goes with --repair")
                continue
            }
            let isLeaf = left.childCount(of: record.id) == 0
            if isLeaf { left.apply(.remove(id: record.id)) }
            add(
                "snapshot \(quoted(record.name)) has no directory \(place)"
                    + (isLeaf ? "" : "; others are its children: remove those first"))
            guard repairs, isLeaf else { continue }
            try SnapshotDatabase.keepBackup(of: database)
            try change { try $0.write([.remove(id: record.id)]) }
            findings[findings.count - 1].isMended = true
        }
        for (part, found) in [("snapshots", snapshots), ("spare", spares)] {
            var lost: [Int64] = []
            for id in found.ids(.empty) + found.ids(.filled)
            where index.records[id] == nil || part == "spare" && snapshots.whole.contains(id) {
                let isFilled = found.forms[id] == .filled
                if isFilled, !index.condemned.contains(id) {
                    lost.append(id)
                } else if part == "snapshots", !repairs {
                    addSwept("\(home)/\(part)/\(id)")
                }
            }
            try report(lost, part)
        }
    }

    /// The files of packed snapshots must be those of their records. An index is made again from its tar; nothing else can be.
    private mutating func checkPacked(_ index: SnapshotIndex) throws {
        let view = PackedContentsView(layers: PathBytes("\(home)/snapshots"))
        for record in index.records.values.sorted(by: { $0.id < $1.id }) where try view.isPacked(record.id) {
            // A daemon that is at work may have removed it meanwhile.
            guard let problem = try view.problem(record.id), try view.isPacked(record.id) else { continue }
            guard problem.isIndex else {
                add("snapshot \(quoted(record.name)): \(problem.text); remove its image and pull it again")
                continue
            }
            if repairs { try PackedContents.repair(record.id, in: view) }
            add(
                "snapshot \(quoted(record.name)): \(problem.text)" + (repairs ? "" : "; --repair makes it again"),
                isMended: repairs)
        }
    }

    /// Of what the next start of the daemon removes.
    private mutating func addSwept(_ place: String) {
        if let obstacle = RemovalObstacle.first(in: PathBytes(place)) {
            add("\(place) is of no snapshot, and cannot be removed: \(obstacle)")
        } else {
            add("\(place) is of no snapshot: the daemon removes it when it starts", isMended: true)
        }
    }

    /// Of what may be all that is left of snapshots.
    private mutating func report(_ lost: [Int64], _ part: String) throws {
        guard repairs else {
            for id in lost {
                add(
                    "\(home)/\(part)/\(id) holds something, and no record speaks of it: it stays; --repair moves it to "
                        + "\(home)/lost")
            }
            return
        }
        guard let highest = lost.max() else { return }
        try change { try $0.reserve(upTo: highest) }
        try putAside(lost, part)
    }

    private func change(_ body: (SnapshotDatabase) throws -> Void) throws {
        let opened = try SnapshotDatabase(path: database) { _ in true }
        defer { opened.close() }
        try body(opened)
    }

    // MARK: a damaged database

    private mutating func rebuild(_ reason: String) throws {
        let copy = SnapshotDatabase.backup(of: database)
        let saved = SnapshotSalvage.parts([database, copy])
        add("\(reason); \(saved.records.count) records can be read, the copy of the last clean end included")
        guard repairs else { return }
        let (snapshots, spares) = (try stored(in: "snapshots"), try stored(in: "spare"))
        let found = driver == .zfs ? nil : try identity.found()
        // Records of an old copy may all have been removed since, where the store is certainly theirs.
        let isTheirs = found != nil && found == saved.index.identity && !snapshots.forms.isEmpty
        if !isTheirs, let problem = try problem(saved.index) { return add("nothing is mended: \(problem)") }
        let moved = spares.whole.filter { saved.index.provesMove(of: $0, spares.forms[$0] ?? .absent) }
        let kept = consistent(Array(saved.records), snapshots.whole.union(moved))
        // One at least, so that the new one does not look like one that lost its records.
        let highest = [1, saved.highest, snapshots.forms.keys.max() ?? 0, spares.ids(.filled).max() ?? 0].max() ?? 1
        try SnapshotDatabase.keepBackup(of: database)
        try DatabaseExchange(database).install(
            (saved.index.identity ?? found).map { [.identify($0), .settled(upTo: saved.index.settled)] } ?? [],
            kept, highest: highest)
        findings[findings.count - 1].isMended = true
        let known = Set(kept.map(\.id))
        try putAside((snapshots.ids(.empty) + snapshots.ids(.filled)).filter { !known.contains($0) }, "snapshots")
        try putAside(spares.ids(.filled).filter { !known.contains($0) || snapshots.whole.contains($0) }, "spare")
    }

    /// The records whose directories and parents are there, parents first.
    private func consistent(_ records: [SnapshotRecord], _ stored: Set<Int64>) -> [SnapshotRecord] {
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

    /// Moves directories that no record speaks of any more to where no cleaning up looks: they may hold what a container wrote.
    private mutating func putAside(_ ids: [Int64], _ part: String) throws {
        for id in ids.sorted() {
            try SnapshotDirectories.make(PathBytes(home + "/lost"), mode: 0o700)
            let place = try DatabaseExchange.unused("\(home)/lost/\(id)")
            try FileManager.default.moveItem(atPath: "\(home)/\(part)/\(id)", toPath: place)
            add(
                "\(home)/\(part)/\(id) has lost its record: what it holds is in \(place) now; remove that when nobody "
                    + "needs it",
                isMended: true)
        }
    }
}
