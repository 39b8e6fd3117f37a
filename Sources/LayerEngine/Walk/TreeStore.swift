import LayerModel
import LinuxIO

/// Marks "none" where an index of a record is optional.
@usableFromInline let noIndex = UInt32.max

/// What became of one path between the two sides, and what the export does with it.
public enum ChangeKind: UInt8, Sendable, BitwiseCopyable {
    case modified = 0
    case added = 1
    case deleted = 2
    /// Equal on both sides; kept only where something needs it (a directory with changes below, a hard link).
    case unmodified = 3

    /// The letter of `docker diff`.
    public var letter: UInt8 {
        switch self {
        case .modified, .unmodified: UInt8(ascii: "C")
        case .added: UInt8(ascii: "A")
        case .deleted: UInt8(ascii: "D")
        }
    }
}

/// One name of the result: where it stands, what the inode says, and what changed.
struct EntryRecord: BitwiseCopyable, Sendable {
    var name: NameRef
    var inode: UInt64 = 0
    var device: UInt64 = 0
    var size: Int64 = 0
    var mtimeSeconds: Int64 = 0
    var mtimeNanoseconds: UInt32 = 0
    var mode: UInt32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var linkCount: UInt32 = 0
    /// Device number of device nodes, as major << 20 | minor kept apart.
    var deviceMajor: UInt32 = 0
    var deviceMinor: UInt32 = 0
    /// The physical directory the name lies in.
    var origin: UInt32 = noIndex
    /// The directory record of a directory's contents, if it has been walked.
    var directory: UInt32 = noIndex
    var kind: EntryKind = .unknown
    var change: ChangeKind = .added
    var flags: EntryFlags = []

    init(name: NameRef) { self.name = name }

    mutating func take(_ metadata: EntryMetadata) {
        inode = metadata.inode
        device = metadata.device
        size = metadata.size
        mtimeSeconds = metadata.mtimeSeconds
        mtimeNanoseconds = metadata.mtimeNanoseconds
        mode = metadata.mode
        uid = metadata.uid
        gid = metadata.gid
        linkCount = metadata.linkCount
        deviceMajor = metadata.deviceMajor
        deviceMinor = metadata.deviceMinor
        kind = metadata.kind
        // Fewer blocks than bytes, by more than rounding explains: there are holes worth skipping.
        if kind == .regular, metadata.size > 65_536, Int64(metadata.blocks) * 512 + 65_536 < metadata.size {
            flags.insert(.sparse)
        }
    }
}

struct EntryFlags: OptionSet, BitwiseCopyable, Sendable {
    let rawValue: UInt16
    /// A whiteout found on disk: the name is the deleted one.
    static let whiteout = EntryFlags(rawValue: 1 << 0)
    /// A regular file with holes.
    static let sparse = EntryFlags(rawValue: 1 << 1)
    /// A whiteout that is a `.wh.` file on disk: the on-disk name carries the prefix.
    static let prefixed = EntryFlags(rawValue: 1 << 2)
    /// A socket in the place of something else that lower directories show: the layer deletes that.
    static let replaces = EntryFlags(rawValue: 1 << 3)
    /// A file whose name spells a deletion or an opaque directory, exported as it is. No other file is a link to it.
    static let marker = EntryFlags(rawValue: 1 << 4)
}

/// One directory of the result: its place in the tree, its children, and what it merges.
struct DirectoryRecord: BitwiseCopyable, Sendable {
    /// The directory above; none for the root.
    var parent: UInt32
    /// The directory's own name; empty for the root.
    var name: NameRef
    /// Its own entry; none for the root.
    var entry: UInt32
    /// Its children, sorted by name: `first ..< first + count` of the entries.
    var first: UInt32 = 0
    var count: UInt32 = 0
    /// The upper directory in which it was found, if any.
    var upper: UInt32 = noIndex
    /// The directories merged below the upper one, nearest first.
    var rest = StackRange.empty
    /// The directories merged on the old side, nearest first.
    var base = StackRange.empty
    var flags: DirectoryFlags = []
}

struct DirectoryFlags: OptionSet, BitwiseCopyable, Sendable {
    let rawValue: UInt8
    /// Something in it, or below it, changed.
    static let changed = DirectoryFlags(rawValue: 1 << 0)
    /// An opaque marker belongs into its layer.
    static let opaque = DirectoryFlags(rawValue: 1 << 1)
    /// Files of it may be attribute-form whiteouts (`overlay.opaque` = `x`).
    static let attributeWhiteouts = DirectoryFlags(rawValue: 1 << 2)
    /// An export takes its merged contents: the directory was renamed (`overlay.redirect`).
    static let merged = DirectoryFlags(rawValue: 1 << 3)
    /// Its marks (opaque, redirect) could not be read or it vanished: it counts as empty.
    static let vanished = DirectoryFlags(rawValue: 1 << 4)
}

/// A list of physical directories: a range of the store's stacks.
struct StackRange: BitwiseCopyable, Sendable, Equatable {
    var start: UInt32
    var count: UInt32
    static let empty = StackRange(start: 0, count: 0)
    var isEmpty: Bool { count == 0 }
    func dropFirst() -> StackRange { StackRange(start: start + 1, count: count - 1) }
}

/// One real directory: a root, or a name in another one.
struct PhysicalDirectory: BitwiseCopyable, Sendable {
    /// Index of the root it lies beneath: 0 is the upper, then the lowers, nearest first.
    var layer: UInt32
    var parent: UInt32
    var name: NameRef
    var depth: UInt32
}

/// Everything a walk found, in tables that all workers share and whose records never move.
final class TreeStore: Sendable {
    let names: NameArena
    let entries: StableArray<EntryRecord>
    let directories: StableArray<DirectoryRecord>
    let physical: StableArray<PhysicalDirectory>
    let stacks: StableArray<UInt32>

    init() throws(LayerError) {
        names = try NameArena()
        entries = try StableArray(limit: 200_000_000)
        directories = try StableArray(limit: 100_000_000)
        physical = try StableArray(limit: 200_000_000)
        stacks = try StableArray(limit: 400_000_000)
        // Offset 0 of the names is the empty name.
        _ = try names.append(RawSpan())
    }

    func addPhysical(_ directory: PhysicalDirectory) throws(LayerError) -> UInt32 {
        if directory.name.length <= 2 {
            let names = names
            let isUp = bytes(names[directory.name], equal: "..")
            let isHere = bytes(names[directory.name], equal: ".")
            precondition(!isUp && !isHere, "a directory's name led out of it")
        }
        let index = try physical.reserve(1)
        physical[index] = directory
        return UInt32(index)
    }

    func addDirectory(_ directory: DirectoryRecord) throws(LayerError) -> UInt32 {
        let index = try directories.reserve(1)
        directories[index] = directory
        return UInt32(index)
    }

    /// Writes the path of a directory relative to the root, each component followed by `/`, into `path`.
    func appendPath(of directory: UInt32, to path: inout [UInt8]) {
        let start = path.count
        let total = pathByteCount(of: directory)
        path.append(contentsOf: repeatElement(UInt8(ascii: "/"), count: total))
        var end = start + total
        var current = directory
        let names = names
        while directories[Int(current)].parent != noIndex {
            let name = names[directories[Int(current)].name]
            end -= name.byteCount + 1
            for index in 0..<name.byteCount { path[end + index] = name[index] }
            current = directories[Int(current)].parent
        }
    }

    /// Bytes of a directory's path as `appendPath` writes it.
    func pathByteCount(of directory: UInt32) -> Int {
        var current = directory
        var total = 0
        while directories[Int(current)].parent != noIndex {
            total += directories[Int(current)].name.length + 1
            current = directories[Int(current)].parent
        }
        return total
    }

    /// The path of an entry, for errors.
    func path(directory: UInt32, name: NameRef) -> PathBytes {
        var bytes: [UInt8] = []
        appendPath(of: directory, to: &bytes)
        let names = names
        bytes += names[name].copied()
        return PathBytes(bytes)
    }
}
