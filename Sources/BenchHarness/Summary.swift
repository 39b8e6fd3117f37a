import CBench
import Glibc
import LayerCompression
import LayerModel
import TarCodec

/// What a tree or a layer holds, in a few numbers: two with the same numbers hold the same.
///
/// Trees are walked by C code of the harness's own, so that the engine is not its own judge. Roots, sockets and
/// extended attributes are left out: not every peer's archive has them.
struct Summary: Equatable, Sendable {
    var entries: UInt64 = 0
    var directories: UInt64 = 0
    /// Bytes of regular files, each name; for a layer each header's size.
    var bytes: UInt64 = 0
    /// Names and kinds; contents, link targets and devices; modes, owners and times in whole seconds.
    var names: UInt64 = 0
    var contents: UInt64 = 0
    var metadata: UInt64 = 0
    /// Of trees only: bytes of everything but directories, each inode once; allocated blocks of 512 bytes; sizes of all inodes with
    /// the root; the number of inodes.
    var uniqueBytes: UInt64 = 0
    var blocks: UInt64 = 0
    var apparent: UInt64 = 0
    var inodes: UInt64 = 0
    /// Of layers only: the bytes of the stream as it was read, and uncompressed.
    var streamBytes: UInt64 = 0
    var plainBytes: UInt64 = 0

    private static let fields: [(String, any WritableKeyPath<Summary, UInt64> & Sendable)] = [
        ("entries", \.entries), ("directories", \.directories), ("bytes", \.bytes), ("names", \.names),
        ("contents", \.contents), ("metadata", \.metadata), ("uniqueBytes", \.uniqueBytes), ("blocks", \.blocks),
        ("apparent", \.apparent), ("inodes", \.inodes), ("streamBytes", \.streamBytes), ("plainBytes", \.plainBytes),
    ]

    /// `entries=7 bytes=12 ...`, as the probes print it.
    var line: String { Self.fields.map { "\($0)=\(self[keyPath: $1])" }.joined(separator: " ") }

    init() {}

    /// Reads what `line` wrote; nil for anything else.
    init?(line: some StringProtocol) {
        let words = line.split(whereSeparator: \.isWhitespace)
        guard words.count == Self.fields.count else { return nil }
        for (word, field) in zip(words, Self.fields) {
            let parts = word.split(separator: "=")
            guard parts.count == 2, parts[0] == field.0, let value = UInt64(parts[1]) else { return nil }
            self[keyPath: field.1] = value
        }
    }

    /// How `other` differs from this, for people; nil when it does not.
    func difference(from other: Summary, comparingMetadata: Bool = true) -> String? {
        if entries != other.entries { return "\(other.entries) entries instead of \(entries)" }
        if names != other.names { return "other names or kinds of entries" }
        if contents != other.contents { return "other contents (\(other.bytes) bytes of files, expected \(bytes))" }
        if comparingMetadata, metadata != other.metadata { return "other modes, owners or times" }
        return nil
    }

    /// Sums up a tree, in this process.
    static func tree(_ path: String) throws(BenchFailure) -> Summary {
        var tree = cbench_tree()
        let outcome = cbench_tree_summary(path, 1, &tree)
        guard outcome == 0 else { throw BenchFailure(.noInput, "read \(path): \(errorText(-outcome))") }
        var result = Summary()
        result.entries = tree.entries
        result.directories = tree.directories
        result.bytes = tree.bytes
        result.names = tree.names
        result.contents = tree.contents
        result.metadata = tree.metadata
        result.uniqueBytes = tree.unique_bytes
        result.blocks = tree.blocks
        result.apparent = tree.apparent
        result.inodes = tree.inodes
        return result
    }
}

/// Sums up a layer's stream, in any compression.
struct ArchiveSummary: ~Copyable {
    private var result = Summary()
    private var decoder = TarDecoder()
    /// What each path holds, for hard links to it.
    private var seen: [UInt64: (kind: UInt64, content: UInt64, size: UInt64)] = [:]
    private var current = Entry()
    private var isAtEnd = false

    private struct Entry {
        var path: UInt64 = 0
        var isRoot = false
        var hash = cbench_hash()
        var isFile = false
        var size: Int64 = 0
        /// Body and padding still to come.
        var remaining = 0
        var body = 0
    }

    /// Reads a descriptor to its end.
    static func read(_ descriptor: Int32) throws -> Summary {
        var reader = try LayerReader(descriptor: descriptor)
        var summary = ArchiveSummary()
        while let slab = try reader.next() {
            try summary.take(slab)
            reader.recycle(slab)
        }
        try summary.decoder.endOfInput()
        let stream = try reader.finish()
        summary.result.streamBytes = stream.compressedBytes
        summary.result.plainBytes = stream.uncompressedBytes
        return summary.result
    }

    private mutating func take(_ slab: Slab) throws {
        var position = slab.start
        while position < slab.end, !isAtEnd {
            if current.remaining > 0 {
                let count = min(current.remaining, slab.end - position)
                let body = min(current.body, count)
                Self.add(slab.span(position..<position + body), to: &current.hash)
                current.body -= body
                current.remaining -= count
                decoder.advance(count)
                position += count
                if current.remaining == 0 { finishFile() }
                continue
            }
            let (consumed, step) = try decoder.step(slab.span(position..<slab.end))
            position += consumed
            switch step {
            case .needMore: break
            case .entry: begin()
            case .end: isAtEnd = true
            }
        }
    }

    private mutating func begin() {
        let fields = decoder.fields
        let type = fields.type
        current = Entry()
        let name = Self.trimmed(decoder.name)
        current.isRoot = name.isEmpty
        current.path = Self.hash(name)
        current.remaining = Int(decoder.storedByteCount) + decoder.padding
        current.body = Int(decoder.storedByteCount)
        current.size = fields.size
        guard !current.isRoot else { return }
        let link = decoder.linkName.copied()
        result.entries += 1
        result.metadata &+= cbench_metadata(
            current.path, fields.mode, UInt64(fields.uid), UInt64(fields.gid), fields.mtimeSeconds)
        switch type {
        case UInt8(ascii: "1"): addHardLink(to: link)
        case UInt8(ascii: "2"): add(kind: 0o12, content: Self.hash(link))
        case UInt8(ascii: "3"), UInt8(ascii: "4"):
            let device = cbench_mix(UInt64(fields.deviceMajor), UInt64(fields.deviceMinor), 0, 0)
            add(kind: type == UInt8(ascii: "3") ? 0o2 : 0o6, content: device)
        case UInt8(ascii: "5"):
            result.directories += 1
            add(kind: 0o4, content: 0)
        case UInt8(ascii: "6"): add(kind: 0o1, content: 0)
        default:
            current.isFile = true
            if current.remaining == 0 { finishFile() }
        }
    }

    private mutating func finishFile() {
        guard current.isFile else { return }
        current.isFile = false
        let content = cbench_hash_end(&current.hash)
        result.bytes += UInt64(current.size)
        add(kind: 0o10, content: content, size: UInt64(current.size))
    }

    private mutating func addHardLink(to link: [UInt8]) {
        guard let target = seen[Self.hash(Self.trimmed(link.rawBytes))] else {
            // A link to nothing that came before: counted as a kind that no tree has.
            return add(kind: 0, content: 0)
        }
        if target.kind == 0o10 { result.bytes += target.size }
        add(kind: target.kind, content: target.content, size: target.size)
    }

    private mutating func add(kind: UInt64, content: UInt64, size: UInt64 = 0) {
        seen[current.path] = (kind, content, size)
        result.names &+= cbench_mix(current.path, kind, 0, 0)
        result.contents &+= cbench_mix(current.path, content, size, 1)
    }

    /// A name as the tree's walk has it: without `./` or slashes around it.
    private static func trimmed(_ name: RawSpan) -> [UInt8] {
        var bytes = name.copied()[...]
        while true {
            if bytes.first == UInt8(ascii: "/") {
                bytes = bytes.dropFirst()
            } else if bytes.starts(with: [UInt8(ascii: "."), UInt8(ascii: "/")]) {
                bytes = bytes.dropFirst(2)
            } else {
                break
            }
        }
        while bytes.last == UInt8(ascii: "/") { bytes = bytes.dropLast() }
        return bytes.elementsEqual([UInt8(ascii: ".")]) ? [] : Array(bytes)
    }

    private static func hash(_ bytes: [UInt8]) -> UInt64 {
        var hash = cbench_hash()
        cbench_hash_add(&hash, bytes, bytes.count)
        return cbench_hash_end(&hash)
    }

    private static func add(_ bytes: RawSpan, to hash: inout cbench_hash) {
        bytes.withUnsafeBytes { cbench_hash_add(&hash, $0.baseAddress, $0.count) }
    }
}
