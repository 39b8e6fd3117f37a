import LayerDrivers
import LayerModel
import LinuxIO

/// What is to be made for a new snapshot.
struct NewSnapshot: Sendable {
    var kind: SnapshotKind
    var parent: Int64?
    /// The owner of its root directory, where the request maps ids; else that of the parent's, or root.
    var owner: (uid: UInt32, gid: UInt32)?
}

/// Where the snapshots of a driver lie, and how they are mounted. Calls that throw may block.
protocol SnapshotBackend: Sendable {
    var driver: DriverName { get }
    /// How its directories spell deletions.
    var dialect: WhiteoutDialect { get }
    /// Whether a parent may be named at Commit only (`rebase`).
    var takesLateParents: Bool { get }
    /// Whether `storedIDs` is quick enough to be asked at each Cleanup.
    var listsQuickly: Bool { get }

    /// Finds out, once, what mounts need here.
    ///
    /// Throws `driverUnavailable` with the reason where the driver cannot be used.
    func prepare() throws(LayerError)

    /// Makes the storage of a new snapshot, as a whole or not at all.
    func create(_ id: Int64, _ snapshot: NewSnapshot) throws(LayerError)

    /// Does what must be done before a snapshot becomes the parent of others. Called again after a failure.
    func freeze(_ id: Int64) throws(LayerError)

    /// Removes a snapshot's storage; none is fine.
    func discard(_ id: Int64) throws(LayerError)

    /// What a snapshot's own data occupies.
    func measure(_ id: Int64, cancel: CancelFlag) throws(LayerError) -> SnapshotUsage

    /// Ids that have storage, of whatever snapshots.
    func storedIDs() throws(LayerError) -> [Int64]

    /// Removes what a killed process left half made.
    func clearLeftovers() throws(LayerError)

    /// Makes the directories of new snapshots durable.
    func sync() throws(LayerError)

    /// The mounts that show a snapshot; `ancestors` are the ids below it, nearest first.
    func mounts(_ record: SnapshotRecord, ancestors: [Int64]) -> [MountSpec]

    /// Where a snapshot's own changes lie; nil where that is no directory.
    func contents(_ id: Int64) -> PathBytes?

    /// Which snapshot a mount seems to be of, by its paths or its source. Not yet compared with the metadata.
    func candidate(_ mount: MountSpec) -> Int64?
}

extension SnapshotBackend {
    var takesLateParents: Bool { true }
    var listsQuickly: Bool { true }
    func freeze(_ id: Int64) throws(LayerError) {}
    func sync() throws(LayerError) {}
    func clearLeftovers() throws(LayerError) {}
}

/// `snapshots/<id>/{fs,work}` of the overlay family: a directory a snapshot, numbered, so that many of them fit the options
/// of a mount, and all in one directory, because containerd shortens those by going there first (drop-in.md 1.6).
final class SnapshotDirectories: Sendable {
    let home: PathBytes
    private let directory: OwnedDescriptor
    private static let temporary = Array("new-".utf8)

    var path: PathBytes { home.appending("snapshots") }
    /// The lower directory of a mount whose parents come later.
    var empty: PathBytes { home.appending("empty") }

    /// Opens the directories below `home`, or makes them.
    init(_ home: PathBytes) throws(LayerError) {
        self.home = home
        try Self.make(home, mode: 0o700)
        try Self.make(home.appending("empty"), mode: 0o755)
        let path = home.appending("snapshots")
        try Self.make(path, mode: 0o700)
        directory = try attempt("open", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory, .noFollow])
        }
    }

    /// Makes a directory with exactly this mode; one that is there keeps its own.
    static func make(_ path: PathBytes, mode: UInt32) throws(LayerError) {
        guard let (above, name) = path.splitLast() else { return }
        try attempt("make the directory", path) { () throws(SystemCallError) in
            let parent = try above.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in
                do throws(SystemCallError) {
                    try parent.makeDirectory(name, mode: 0o700)
                    if mode != 0o700 { try parent.open(name, [.readOnly, .directory, .noFollow]).setMode(mode) }
                } catch {
                    guard error.errno == 17 else { throw error }
                }
            }
        }
    }

    func contents(_ id: Int64) -> PathBytes { path.appending("\(id)/fs") }
    func work(_ id: Int64) -> PathBytes { path.appending("\(id)/work") }

    /// The id in a path that is exactly `contents` or `work` of one.
    func id(_ text: String, _ part: String) -> Int64? {
        let bytes = Array(text.utf8)
        let prefix = path.bytes + [UInt8(ascii: "/")]
        let suffix = Array("/\(part)".utf8)
        guard bytes.starts(with: prefix), bytes.suffix(suffix.count).elementsEqual(suffix),
            bytes.count > prefix.count + suffix.count
        else { return nil }
        return Self.id(bytes[prefix.count..<(bytes.count - suffix.count)])
    }

    /// The number that a name spells in the only way we write it.
    private static func id(_ name: ArraySlice<UInt8>) -> Int64? {
        guard let id = Int64(String(decoding: name, as: UTF8.self)), id > 0, String(id).utf8.elementsEqual(name) else {
            return nil
        }
        return id
    }

    /// Makes the directories aside and moves them to their place.
    func create(_ id: Int64, _ snapshot: NewSnapshot) throws(LayerError) {
        let aside = PathBytes(Self.temporary + Array(String(id).utf8))
        do throws(LayerError) {
            try attempt("make the directory", path.appending(aside)) { () throws(SystemCallError) in
                let owner = try owner(snapshot)
                try aside.withName { (aside) throws(SystemCallError) in
                    try directory.makeDirectory(aside, mode: 0o700)
                    let made = try directory.open(aside, [.pathOnly, .directory, .noFollow])
                    try make(NamePointer("fs"), in: made, mode: 0o755, owner)
                    if snapshot.kind == .active { try make(NamePointer("work"), in: made, mode: 0o711, owner) }
                    try PathBytes(String(id)).withName { (name) throws(SystemCallError) in
                        try directory.rename(aside, to: name, in: directory, exclusive: true)
                    }
                }
            }
        } catch {
            try? remove(aside)
            throw error
        }
    }

    /// Makes one with exactly this mode and owner, whatever the umask.
    private func make(
        _ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor, mode: UInt32,
        _ owner: (uid: UInt32, gid: UInt32)
    ) throws(SystemCallError) {
        try parent.makeDirectory(name, mode: 0o700)
        let made = try parent.open(name, [.readOnly, .directory, .noFollow])
        if owner != (0, 0) || ProcessState.effectiveUser != 0 { try made.setOwner(uid: owner.uid, gid: owner.gid) }
        try made.setMode(mode)
    }

    private func owner(_ snapshot: NewSnapshot) throws(SystemCallError) -> (uid: UInt32, gid: UInt32) {
        if let owner = snapshot.owner { return owner }
        guard let parent = snapshot.parent else { return (ProcessState.effectiveUser, ProcessState.effectiveGroup) }
        return try PathBytes("\(parent)/fs").withName { (name) throws(SystemCallError) in
            let found = try directory.metadata(name)
            return (found.uid, found.gid)
        }
    }

    func discard(_ id: Int64) throws(LayerError) { try remove(PathBytes(String(id))) }

    private func remove(_ name: PathBytes) throws(LayerError) {
        var options = TreeRemovalOptions()
        options.path = path.appending(name)
        let terminated = name.bytes + [0]
        try TreeRemoval.remove(NamePointer(terminated: terminated.rawBytes), in: directory, options: options)
    }

    func storedIDs() throws(LayerError) -> [Int64] { try names().compactMap { Self.id($0.bytes[...]) } }

    /// Removes directories that were never moved to their place. Only while nothing is being made.
    func clearLeftovers() throws(LayerError) {
        for name in try names() where name.bytes.starts(with: Self.temporary) { try remove(name) }
    }

    private func names() throws(LayerError) -> [PathBytes] {
        try attempt("list", path) { () throws(SystemCallError) in
            let listed = try directory.open(NamePointer("."), [.readOnly, .directory])
            var reader = DirectoryReader()
            var names: [PathBytes] = []
            while let entry = try reader.next(of: listed) { names.append(PathBytes(reader.name(of: entry).copied())) }
            return names
        }
    }

    func sync() throws(LayerError) {
        try attempt("sync", path) { () throws(SystemCallError) in try directory.sync() }
    }
}
