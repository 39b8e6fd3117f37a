import LayerModel
import LinuxIO

/// Adds names to the shared arena from one worker: whole blocks are reserved, so workers rarely meet.
struct NameWriter {
    private let arena: NameArena
    private var next = 0
    private var end = 0

    /// Bytes reserved at a time: names of a few thousand entries.
    private static let block = 64 << 10

    init(_ arena: NameArena) { self.arena = arena }

    mutating func append(_ name: RawSpan) throws(LayerError) -> NameRef {
        let needed = name.byteCount + 1
        if end - next < needed {
            let size = max(Self.block, needed)
            next = try arena.reserve(size)
            end = next + size
        }
        let reference = arena.write(name, at: next)
        next += needed
        return reference
    }
}

/// One name read from a directory, with what sorting and merging need.
struct ScannedName: BitwiseCopyable {
    var name: NameRef
    /// The first eight bytes, most significant first: decides nearly every comparison.
    var key: UInt64
    var inode: UInt64
    /// The physical directory it was read from.
    var origin: UInt32
    /// Position of that directory in a merged stack; smaller hides larger.
    var order: UInt16
    var kind: EntryKind
    var flags: EntryFlags

    static func key(_ name: RawSpan) -> UInt64 {
        var key: UInt64 = 0
        let count = min(8, name.byteCount)
        for index in 0..<count { key = key << 8 | UInt64(name[index]) }
        return count == 8 ? key : key << UInt64(8 * (8 - count))
    }
}

/// Sorts scanned names by their bytes, and equal names by the order of their directories.
func sortNames(_ scanned: inout [ScannedName], _ names: NameArena) {
    scanned.sort { left, right in
        if left.key != right.key { return left.key < right.key }
        let order = bytesCompare(names[left.name], names[right.name])
        return order != 0 ? order < 0 : left.order < right.order
    }
}

/// Compares two scanned names by their bytes.
func compareNames(_ left: ScannedName, _ right: ScannedName, _ names: NameArena) -> Int {
    if left.key != right.key { return left.key < right.key ? -1 : 1 }
    return bytesCompare(names[left.name], names[right.name])
}
