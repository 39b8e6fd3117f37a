import Glibc
import LayerModel
import LinuxIO

/// Which store a driver's directories are: a number in `<driver>/identity`, which the database remembers.
///
/// A driver's directory may be a disk of its own. Where that is not mounted, or another one is, whatever is made there would be
/// taken for the snapshots of the records once it comes back.
struct StoreIdentity {
    let home: PathBytes
    /// What messages call the records.
    let database: String

    private var file: PathBytes { home.appending("identity") }

    static func new() -> String {
        (0..<2).map { _ in
            let digits = String(UInt64.random(in: .min ... .max), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    /// What the directory says; nil where it says nothing, or is not there. Changes nothing.
    func found() throws(LayerError) -> String? {
        try attempt("read", file) { () throws(SystemCallError) in
            do throws(SystemCallError) {
                guard let opened = try file.openRegular() else { return nil }
                let line = try opened.contents(limit: 1 << 12)
                return String(decoding: line, as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
            } catch {
                guard error.errno == ENOENT || error.errno == ENOTDIR else { throw error }
                return nil
            }
        }
    }

    /// Why the directories are not those of these records; nil where they are, or may be. `isPresent` says whether a snapshot's
    /// directories are there. Changes nothing.
    func problem(_ index: SnapshotIndex, isPresent: (Int64) throws(LayerError) -> Bool) throws(LayerError) -> String? {
        let (found, ids) = (try found(), index.records.keys)
        if let known = index.identity, let found, known != found {
            return mismatch("says \(found), and they are of \(known)", known)
        }
        guard !ids.isEmpty else { return nil }
        if let known = index.identity, found == nil {
            // Somebody may have copied the snapshots alone, and then all of them.
            for id in ids where try !isPresent(id) { return mismatch("is not there", known) }
            return nil
        }
        for id in ids where try isPresent(id) { return nil }
        return
            "the directories of all \(ids.count) snapshots in \(database) are missing below \(home): \(Self.advice(database))"
    }

    private func mismatch(_ what: String, _ known: String) -> String {
        "the directories in \(home) are not those of the records in \(database): \(file) \(what): "
            + "\(Self.advice(database)); if they are those all the same, have that file hold \(known)"
    }

    static func advice(_ database: String) -> String {
        "is a disk not mounted? Where they are lost for good, move \(database)* away"
    }

    /// Has both sides say the same, where `problem` finds none. Returns what the database is to remember; nil where it does.
    ///
    /// The directory says it first: records that know a store which is not there cannot be used.
    func establish(_ index: SnapshotIndex) throws(LayerError) -> String? {
        let found = try found()
        if let found { return index.identity == found ? nil : found }
        // Without records it may be that of a disk which is not mounted.
        let known = index.records.isEmpty ? nil : index.identity
        let identity = known ?? Self.new()
        try write(identity)
        return known == nil ? identity : nil
    }

    private func write(_ identity: String) throws(LayerError) {
        try attempt("write", file) { () throws(SystemCallError) in
            let place = try home.open([.readOnly, .directory])
            // Without a name until it is complete, so that a kill leaves nothing.
            let made = try place.open(NamePointer("."), [.writeOnly, .unnamed], mode: 0o600)
            try made.writeAll(Array((identity + "\n").utf8).rawBytes)
            try made.sync()
            try place.makeName(NamePointer("identity"), for: made)
            try place.sync()
        }
    }
}
