import Glibc
import LayerModel
import LinuxIO

/// `snapshots/<id>/{fs,work}` of the overlay family: a directory a snapshot, numbered, so that many of them fit the options
/// of a mount, and all in one directory, because containerd shortens those by going there first.
final class SnapshotDirectories: Sendable {
    let home: PathBytes
    /// Whether snapshots may be packed, so that there is more than two directories.
    let holdsPacked: Bool
    private let directory: OwnedDescriptor

    var path: PathBytes { home.appending("snapshots") }
    /// The lower directory of a mount whose parents come later.
    var empty: PathBytes { home.appending("empty") }

    /// Opens the directories below `home`, or makes them.
    init(_ home: PathBytes, holdsPacked: Bool = false) throws(LayerError) {
        self.home = home
        self.holdsPacked = holdsPacked
        try Self.make(home, mode: 0o700)
        try Self.make(home.appending("empty"), mode: 0o755)
        let path = home.appending("snapshots")
        try Self.make(path, mode: 0o700)
        directory = try attempt("open", path) { () throws(SystemCallError) in
            try path.open([.readOnly, .directory, .noFollow])
        }
    }

    /// Makes a directory with exactly this mode and without access lists; one that is there keeps its own.
    static func make(_ path: PathBytes, mode: UInt32) throws(LayerError) {
        guard let (above, name) = path.splitLast() else { return }
        try attempt("make the directory", path) { () throws(SystemCallError) in
            let parent = try above.open([.pathOnly, .directory])
            try name.withName { (name) throws(SystemCallError) in
                do throws(SystemCallError) { _ = try parent.makeDirectory(name, exactly: mode) } catch {
                    guard error.errno == EEXIST else { throw error }
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
    static func id(_ name: ArraySlice<UInt8>) -> Int64? {
        guard let id = Int64(String(decoding: name, as: UTF8.self)), id > 0, String(id).utf8.elementsEqual(name) else {
            return nil
        }
        return id
    }

    /// Makes the directories of a snapshot below `place`, under its id.
    func make(_ id: Int64, in place: borrowing OwnedDescriptor) throws(SystemCallError) {
        try PathBytes(String(id)).withName { (name) throws(SystemCallError) in
            try place.makeDirectory(name, mode: 0o700)
            let made = try place.open(name, [.readOnly, .directory, .noFollow])
            // What is made in a container's root must not get the modes that a list of the daemon's root says.
            try made.dropAccessLists()
            try make(NamePointer("fs"), in: made, mode: 0o755)
            try make(NamePointer("work"), in: made, mode: 0o711)
        }
    }

    /// Makes one with exactly this mode, whatever the umask.
    private func make(_ name: borrowing NamePointer, in parent: borrowing OwnedDescriptor, mode: UInt32)
        throws(SystemCallError)
    {
        try parent.makeDirectory(name, mode: 0o700)
        try parent.open(name, [.readOnly, .directory, .noFollow]).setMode(mode)
    }

    /// Moves directories from below `place` to where snapshots lie.
    func take(_ id: Int64, from place: borrowing OwnedDescriptor) throws(SystemCallError) {
        try PathBytes(String(id)).withName { (name) throws(SystemCallError) in
            try place.rename(name, to: name, in: directory, exclusive: true)
        }
    }

    /// Whether anything has this number where snapshots lie.
    func holds(_ id: Int64) throws(LayerError) -> Bool {
        try attempt("look at", path.appending(String(id))) { () throws(SystemCallError) in
            try PathBytes(String(id)).withName { (name) throws(SystemCallError) in
                try directory.metadataIfPresent(name) != nil
            }
        }
    }

    /// Gives a new snapshot the owner that it is to have; false where it has that one.
    func setOwner(_ id: Int64, _ snapshot: NewSnapshot) throws(LayerError) -> Bool {
        try attempt("set the owner of", path.appending(String(id))) { () throws(SystemCallError) in
            let owner = try owner(snapshot)
            guard owner != (ProcessState.effectiveUser, ProcessState.effectiveGroup) else { return false }
            for part in ["fs", "work"] {
                try PathBytes("\(id)/\(part)").withName { (name) throws(SystemCallError) in
                    try directory.open(name, [.readOnly, .directory, .noFollow]).setOwner(
                        uid: owner.uid, gid: owner.gid)
                }
            }
            return true
        }
    }

    private func owner(_ snapshot: NewSnapshot) throws(SystemCallError) -> (uid: UInt32, gid: UInt32) {
        if let owner = snapshot.owner { return owner }
        guard let parent = snapshot.parent else { return (ProcessState.effectiveUser, ProcessState.effectiveGroup) }
        return try PathBytes("\(parent)/fs").withName { (name) throws(SystemCallError) in
            let found = try directory.metadata(name)
            return (found.uid, found.gid)
        }
    }

    func discard(_ id: Int64) throws(LayerError) {
        for _ in 0..<100 {
            do throws(LayerError) {
                return try Self.remove(PathBytes(String(id)), in: directory, path)
            } catch {
                // Somebody else is at it: Cleanup, while a removal that is to be done at once goes on.
                guard error.code == .notFound else { throw error }
            }
        }
        try Self.remove(PathBytes(String(id)), in: directory, path)
    }

    /// Removes what has this name in `place`, which lies at `path`, with all that is in it; nothing is fine. Only for what a
    /// record, a condemnation or this very call's making says may go.
    static func remove(_ name: PathBytes, in place: borrowing OwnedDescriptor, _ path: PathBytes) throws(LayerError) {
        if (try? name.withName { (name) throws(SystemCallError) in try removeEmpty(name, in: place) }) != nil { return }
        var options = TreeRemovalOptions()
        options.path = path.appending(name)
        let terminated = name.bytes + [0]
        try TreeRemoval.remove(NamePointer(terminated: terminated.rawBytes), in: place, options: options)
    }

    /// Removes one that nothing was put into, with five calls: a removal of trees takes tables, threads and a look at the mounts
    /// for it, and while containerd collects its garbage every Prepare waits for that of all. Throws for what is not so, whatever
    /// it is; then what was removed was empty.
    private static func removeEmpty(_ name: borrowing NamePointer, in place: borrowing OwnedDescriptor)
        throws(SystemCallError)
    {
        let opened = try place.open(
            name, [.pathOnly, .directory, .noFollow], resolve: [.noSymlinks, .beneath, .noCrossing])
        try opened.removeDirectory(NamePointer("fs"))
        try opened.removeDirectory(NamePointer("work"))
        try place.removeDirectory(name)
    }

    func storedIDs() throws(LayerError) -> [Int64] {
        try Self.names(in: directory, path).compactMap { Self.id($0.bytes[...]) }
    }

    func form(_ id: Int64) throws(LayerError) -> StoredForm {
        try attempt("look at", path.appending(String(id))) { () throws(SystemCallError) in
            try Self.form(id, in: directory, holdsPacked: holdsPacked)
        }
    }

    func sweep(_ id: Int64) throws(LayerError) -> Sweep {
        try attempt("remove", path.appending(String(id))) { () throws(SystemCallError) in
            try Self.sweep(id, in: directory, holdsPacked: holdsPacked)
        }
    }

    /// What one that nothing was put into occupies; nil where something was.
    func emptyUsage(_ id: Int64) throws(LayerError) -> SnapshotUsage? {
        try attempt("measure", contents(id)) { () throws(SystemCallError) in
            try PathBytes("\(id)/fs").withName { (name) throws(SystemCallError) in
                let opened = try directory.open(name, [.readOnly, .directory, .noFollow])
                var reader = DirectoryReader(capacity: 4096)
                guard try reader.next(of: opened) == nil else { return nil }
                return SnapshotUsage(size: Int64(clamping: try opened.metadata().blocks * 512), inodes: 1)
            }
        }
    }

    /// What is in `place`, which lies at `path`.
    static func names(in place: borrowing OwnedDescriptor, _ path: PathBytes) throws(LayerError) -> [PathBytes] {
        try attempt("list", path) { () throws(SystemCallError) in
            let listed = try place.open(NamePointer("."), [.readOnly, .directory])
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

/// Looks for snapshots' directories below a driver's directory, of which nothing need be there. Changes nothing.
struct StoredSnapshots {
    let home: PathBytes
    let holdsPacked: Bool

    /// Whether a recorded snapshot's directories are where they belong, or where a power failure took them back to.
    func holds(_ id: Int64, _ index: SnapshotIndex) throws(LayerError) -> Bool {
        for part in ["snapshots", "spare"] {
            let place = home.appending(part)
            let isThere = try attempt("look into", place) { () throws(SystemCallError) -> Bool in
                do throws(SystemCallError) {
                    let opened = try place.open([.readOnly, .directory, .noFollow])
                    guard try SnapshotDirectories.holdsSnapshot(id, in: opened, holdsPacked: holdsPacked) else {
                        return false
                    }
                    guard part == "spare" else { return true }
                    let form = try SnapshotDirectories.form(id, in: opened, holdsPacked: holdsPacked)
                    return index.provesMove(of: id, form)
                } catch {
                    guard error.errno == ENOENT || error.errno == ENOTDIR else { throw error }
                    return false
                }
            }
            if isThere { return true }
        }
        return false
    }
}
