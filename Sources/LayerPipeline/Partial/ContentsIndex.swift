package import LayerModel
import LinuxIO
import Synchronization

/// A file as it was seen: what has changed is another one.
package struct ContentsKey: Hashable, Sendable {
    var device: UInt64
    var inode: UInt64
    var size: Int64
    var modified: Int64
    var changed: Int64

    init(_ metadata: EntryMetadata) {
        device = metadata.device
        inode = metadata.inode
        size = metadata.size
        modified = metadata.mtimeSeconds &* 1_000_000_000 &+ Int64(metadata.mtimeNanoseconds)
        changed = metadata.ctimeSeconds &* 1_000_000_000 &+ Int64(metadata.ctimeNanoseconds)
    }

    fileprivate init(words: [UInt64]) {
        (device, inode, size) = (words[0], words[1], Int64(bitPattern: words[2]))
        (modified, changed) = (Int64(bitPattern: words[3]), Int64(bitPattern: words[4]))
    }

    fileprivate var words: [UInt64] {
        [device, inode, UInt64(bitPattern: size), UInt64(bitPattern: modified), UInt64(bitPattern: changed)]
    }
}

/// Digests of files that were hashed before, in a file of its own: nothing is written to what was hashed.
///
/// Losing it loses time only. What it says is believed for as long as inode, size and times agree, and proved in the end.
package final class ContentsIndex: Sendable {
    private struct Table {
        var digests: [ContentsKey: Digest] = [:]
        var hasChanged = false
        /// What was asked for or added in this run.
        var used: Set<ContentsKey> = []
    }

    private let path: PathBytes
    private let table: Mutex<Table>

    private static let magic = Array("ldiffci1".utf8)
    private static let recordBytes = 72
    /// Beyond so many only those are kept that were used last: the others may be of files that are long gone.
    private static let mostRecords = 1_000_000
    /// More is no index of anybody's files.
    private static let longest = 1 << 30

    /// Reads the file at `path`, if it is there; else, or where it is empty, `save` makes it.
    ///
    /// Throws `alreadyExists` where it is another kind of file: `save` would put an index in its place.
    package init(_ path: PathBytes) throws(LayerError) {
        self.path = path
        var table = Table()
        let bytes = try attempt("read the index of contents", path) { () throws(SystemCallError) -> [UInt8] in
            guard let file = try path.openRegular() else { return [] }
            return try file.contents(limit: Self.longest)
        }
        guard bytes.isEmpty || bytes.starts(with: Self.magic) else {
            throw LayerError(
                .alreadyExists, "read the index of contents", path: path,
                cause: .reason("it is a file of another kind"),
                hint: "name one that is not there, or that an earlier run made")
        }
        if !bytes.isEmpty {
            var at = Self.magic.count
            while at + Self.recordBytes <= bytes.count {
                let words = (0..<5).map { word in
                    (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[at + word * 8 + $1]) << UInt64($1 * 8) }
                }
                if let digest = Digest(bytes: bytes[at + 40..<at + 72]) {
                    table.digests[ContentsKey(words: words)] = digest
                }
                at += Self.recordBytes
            }
        }
        self.table = Mutex(table)
    }

    func digest(_ key: ContentsKey) -> Digest? {
        table.withLock { table in
            guard let digest = table.digests[key] else { return nil }
            table.used.insert(key)
            return digest
        }
    }

    func keep(_ digest: Digest, _ key: ContentsKey) {
        table.withLock { table in
            table.used.insert(key)
            guard table.digests[key] != digest else { return }
            table.digests[key] = digest
            table.hasChanged = true
        }
    }

    /// Keeps the digest of a file as it is described.
    package func keep(_ digest: Digest, _ metadata: EntryMetadata) { keep(digest, ContentsKey(metadata)) }

    /// Writes the file, if there is something new.
    func save() throws(LayerError) {
        var table = table.withLock { $0 }
        guard table.hasChanged else { return }
        if table.digests.count > Self.mostRecords {
            let used = table.used
            table.digests = table.digests.filter { used.contains($0.key) }
        }
        let output = try OutputFile.file(at: path, mode: 0o600)
        var sink = OutputSink(output)
        try sink.write(Self.magic.rawBytes)
        for (key, digest) in table.digests {
            var record: [UInt8] = []
            for word in key.words {
                for shift in stride(from: 0, to: 64, by: 8) {
                    record.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
                }
            }
            record += digest.bytes
            try sink.write(record.rawBytes)
        }
        try sink.finish()
        try output.commit()
    }
}
